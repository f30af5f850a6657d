"""Where things are, and when their sound arrives."""

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["SPEED_OF_SOUND_MPS", "Track", "doppler_factor", "emission_times"]

Floats = npt.NDArray[np.float64]

SPEED_OF_SOUND_MPS = 343.0
GRID_S = 0.001
LONGEST_DELAY_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """A path relative to the camera, linear between its knots and continued beyond them.

    Attributes:
        t_s: Times of the knots, rising.
        x_m: To the right of the camera at each knot.
        z_m: Ahead of the camera at each knot; negative is behind.
    """

    t_s: tuple[float, ...]
    x_m: tuple[float, ...]
    z_m: tuple[float, ...]

    def at(self, t_s: Floats) -> tuple[Floats, Floats]:
        """Right of and ahead of the camera, in metres, at each time."""
        return _extended(t_s, self.t_s, self.x_m), _extended(t_s, self.t_s, self.z_m)

    def now(self, t_s: float) -> tuple[float, float]:
        """Right of and ahead of the camera, in metres, at one time."""
        knot = min(max(bisect_right(self.t_s, t_s) - 1, 0), len(self.t_s) - 2)
        share = (t_s - self.t_s[knot]) / (self.t_s[knot + 1] - self.t_s[knot])
        x, z = (v[knot] + share * (v[knot + 1] - v[knot]) for v in (self.x_m, self.z_m))
        return x, z

    def distance_m(self, t_s: Floats) -> Floats:
        """Distance from the camera at each time."""
        return np.hypot(*self.at(t_s))

    @classmethod
    def straight(cls, *, x_m: float, z_m: float, at_s: float, speed_mps: float) -> "Track":
        """Along the road at a constant speed relative to the camera, at ``z_m`` at time ``at_s``."""
        return cls(t_s=(at_s, at_s + 1.0), x_m=(x_m, x_m), z_m=(z_m, z_m + speed_mps))


def _extended(t_s: Floats, knots: tuple[float, ...], values: tuple[float, ...]) -> Floats:
    inside = np.interp(t_s, knots, values)
    first = (values[1] - values[0]) / (knots[1] - knots[0])
    last = (values[-1] - values[-2]) / (knots[-1] - knots[-2])
    before, after = np.minimum(t_s - knots[0], 0), np.maximum(t_s - knots[-1], 0)
    result: Floats = inside + first * before + last * after
    return result


def emission_times(t_s: Floats, track: Track, ego_mps: float) -> Floats:
    """When the sound that is heard at each time left its source: the whole of the Doppler effect.

    The microphone moves forward at a constant speed. A sound emitted from (x, z) meets it after the delay d that solves
    ``x² + (z - ego d)² = (c d)²``.

    Args:
        t_s: [N] rising times at the microphone.
        track: The source relative to the microphone.
        ego_mps: Speed of the microphone through the air.

    Returns:
        [N] times at the source.
    """
    emitted = np.arange(t_s[0] - LONGEST_DELAY_S, t_s[-1] + GRID_S, GRID_S)
    x, z = track.at(emitted)
    spread = SPEED_OF_SOUND_MPS**2 - ego_mps**2
    delay = (np.sqrt((z * ego_mps) ** 2 + spread * (x**2 + z**2)) - z * ego_mps) / spread
    return np.interp(t_s, emitted + delay, emitted)


def doppler_factor(*, toward_source_mps: float, toward_listener_mps: float) -> float:
    """Heard frequency over emitted frequency, both moving on the line between them.

    Source: any acoustics textbook, e.g. Kinsler et al., Fundamentals of Acoustics: (c + v_listener) / (c - v_source).
    """
    return (SPEED_OF_SOUND_MPS + toward_source_mps) / (SPEED_OF_SOUND_MPS - toward_listener_mps)
