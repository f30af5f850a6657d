"""Sirens: wail, yelp and hi-lo, with the sweeps and rates of real ones.

Source: Wail and yelp are "slow" and "rapid, continuous automatic cycling of increasing and decreasing frequencies",
hi-lo alternates "between a fixed high and a fixed low frequency" (California Code of Regulations, Title 13, § 1021).
Cycle rates of 10 to 30 (wail) and 150 to 250 (yelp) per minute: SAE J1849, Emergency Vehicle Sirens. Hi-lo: DIN 14610,
two tones a perfect fourth apart (4:3) between 360 and 630 Hz.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmedge_export.reference.scene.motion import Floats

__all__ = [
    "CYCLES_PER_MINUTE",
    "HARMONICS",
    "LIMITS_HZ",
    "Siren",
    "SirenKind",
    "draw_siren",
    "frequency_hz",
    "siren_wave",
]

SirenKind = Literal["wail", "yelp", "hi-lo"]

LIMITS_HZ: dict[SirenKind, tuple[float, float]] = {"wail": (500, 1800), "yelp": (500, 1800), "hi-lo": (360, 630)}
CYCLES_PER_MINUTE: dict[SirenKind, tuple[float, float]] = {"wail": (10, 30), "yelp": (150, 250), "hi-lo": (30, 60)}
PERFECT_FOURTH = 4 / 3
HARMONICS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Siren:
    """One siren.

    Attributes:
        kind: What it plays.
        low_hz: Lowest fundamental.
        high_hz: Highest fundamental.
        cycles_per_minute: How often it goes up and down.
        rise: Share of the cycle that goes up, 0..1; the high tone's share for hi-lo.
        phase: Where the cycle stands at time 0, 0..1.
        roll_off: Amplitude of harmonic k is k ** -roll_off.
    """

    kind: SirenKind
    low_hz: float
    high_hz: float
    cycles_per_minute: float
    rise: float
    phase: float
    roll_off: float


def draw_siren(random: np.random.Generator, kind: SirenKind | None = None) -> Siren:
    """A siren of a given kind, or of any."""
    kinds: tuple[SirenKind, ...] = ("wail", "yelp", "hi-lo")
    kind = kind or kinds[random.integers(3)]
    if kind == "hi-lo":
        low = random.uniform(LIMITS_HZ[kind][0], LIMITS_HZ[kind][1] / PERFECT_FOURTH)
        high, rise = low * PERFECT_FOURTH, 0.5
    else:
        low, high, rise = random.uniform(500, 750), random.uniform(1250, 1800), random.uniform(0.3, 0.6)
    return Siren(
        kind=kind,
        low_hz=low,
        high_hz=high,
        cycles_per_minute=random.uniform(*CYCLES_PER_MINUTE[kind]),
        rise=rise,
        phase=random.uniform(),
        roll_off=random.uniform(0.7, 2.0),
    )


def frequency_hz(siren: Siren, t_s: Floats) -> Floats:
    """The fundamental at each time at the source; sweeps are straight lines on a logarithmic scale."""
    cycle = (t_s * siren.cycles_per_minute / 60 + siren.phase) % 1.0
    if siren.kind == "hi-lo":
        return np.where(cycle < siren.rise, siren.high_hz, siren.low_hz)
    height = np.where(cycle < siren.rise, cycle / siren.rise, (1 - cycle) / (1 - siren.rise))
    result: Floats = siren.low_hz * (siren.high_hz / siren.low_hz) ** height
    return result


def siren_wave(siren: Siren, emitted_s: Floats) -> Floats:
    """What the siren sends out, at mean square 1.

    Args:
        siren: The siren.
        emitted_s: [N] rising times at the source, one for each sample; their uneven steps carry the Doppler effect.
    """
    steps = np.diff(emitted_s, prepend=2 * emitted_s[0] - emitted_s[1])
    angle = 2 * np.pi * np.cumsum(frequency_hz(siren, emitted_s) * steps)
    amplitudes = np.arange(1, HARMONICS + 1) ** -siren.roll_off
    wave = sum(a * np.sin(k * angle) for k, a in enumerate(amplitudes, start=1))
    result: Floats = np.asarray(wave) / np.sqrt(np.sum(amplitudes**2) / 2)
    return result
