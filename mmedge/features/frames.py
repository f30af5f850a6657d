"""Which samples of a window each frame is made of, padding included."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mmedge.errors import InputError
from mmedge.features.mel import MelSettings
from mmedge.features.settings import AudioSettings

__all__ = ["FramePlan", "frame_plan", "lead", "source_samples", "unlike_columns"]

Samples = npt.NDArray[np.float64]
Positions = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FramePlan:
    """The frames of a window: those inside it, and those at its edges that padding completes.

    Attributes:
        frames: How many there are.
        first: The first frame that lies inside the window.
        last: The frame after the last one inside.
        origin: Sample at which frame 0 starts; negative where padding comes first.
        width: Samples that a frame depends on.
        edges: [E] int, the frames at the edges: those at the end, then those at the start.
        positions: [E, width] int, samples of the window that these are made of.
        inside: [E, width] float64, 0 where such a sample is padding by zeros; None where none is.
    """

    frames: int
    first: int
    last: int
    origin: int
    width: int
    edges: npt.NDArray[np.intp]
    positions: npt.NDArray[np.intp]
    inside: Samples | None

    def inner_frames(self, samples: Samples, hop: int) -> Samples:
        """Frames inside a window, from the start of the first one: contiguous [N] to [T, width], a view."""
        if len(samples) == self.width:  # the usual case in a stream
            return samples[None]
        step = samples.itemsize
        frames = (len(samples) - self.width) // hop + 1
        return np.ndarray((frames, self.width), samples.dtype, samples, 0, (hop * step, step))

    def edge_frames(self, window: npt.NDArray[np.float32]) -> Samples:
        """[N] to the [E, width] frames at its edges."""
        frames = window[self.positions].astype(np.float64)
        return frames if self.inside is None else frames * self.inside


def lead(settings: MelSettings) -> int:
    """How many samples before a frame its values depend on: pre-emphasis of the whole window needs one."""
    return int(settings.preemphasis > 0 and settings.preemphasis_over == "window")


def unlike_columns(settings: AudioSettings) -> str:
    """Why the columns of a window are others than those of the same sound in the next window, or ""."""
    mel = settings.mel
    if mel is None:
        return ""
    if mel.top_db > 0:
        return f"its values are raised to {mel.top_db:g} dB below the loudest one of each window (top_db)"
    plan = frame_plan(mel, settings.window_samples)
    if len(plan.edges):
        return (
            f"{len(plan.edges)} of its {plan.frames} columns are completed at the ends of each window, as "
            f"{mel.convention} does it"
        )
    return ""


@lru_cache(maxsize=32)
def frame_plan(settings: MelSettings, samples: int) -> FramePlan:
    """The frames of a window of so many samples.

    Raises:
        InputError: The window is too short to be reflected at its ends.
    """
    reflects = settings.center and settings.pad_mode == "reflect"
    if reflects and samples <= settings.padding:
        raise InputError(f"{samples} samples are too few to reflect {settings.padding} of them at each end")
    frames, hop = settings.frames_in(samples), settings.hop_length
    origin = -settings.padding - lead(settings)
    width = settings.span + lead(settings)
    first = min(frames, -(origin // hop))
    last = max(first, min(frames, (samples - width - origin) // hop + 1))
    edges = np.array([*range(last, frames), *range(first)], np.intp)
    positions, inside = source_samples(settings, samples, (origin + hop * edges)[:, None] + np.arange(width))
    return FramePlan(
        frames=frames,
        first=first,
        last=last,
        origin=origin,
        width=width,
        edges=edges,
        positions=positions,
        inside=None if inside.all() else inside.astype(np.float64),
    )


def source_samples(
    settings: MelSettings, samples: int, positions: Positions
) -> tuple[Positions, npt.NDArray[np.bool_]]:
    """Which samples of a window stand at positions that may lie before or after it.

    Args:
        settings: They say how a window is padded.
        samples: Of the window.
        positions: Counted from its first sample.

    Returns:
        The samples' numbers, 0 where a zero stands; and bool, False there. Both as ``positions``.
    """
    inside = (positions >= 0) & (positions < samples)
    if settings.center and settings.pad_mode == "reflect":
        return samples - 1 - np.abs(samples - 1 - np.abs(positions)), np.ones_like(inside)
    return np.where(inside, positions, 0), inside
