"""Lamps that flash: beacons of emergency vehicles, direction indicators, warning lamps of road works.

Source: UN Regulation No. 65, special warning lamps: 2 to 4 flashes per second, where a train of short pulses counts as
one flash. SAE J845: 1.0 to 4.0 Hz. Direction indicators: UN Regulation No. 48, 90 ± 30 per minute.
"""

from dataclasses import dataclass

import numpy as np

from mmedge_export.reference.scene.optics import Color

__all__ = ["BEACON_HZ", "INDICATOR_HZ", "WARNING_HZ", "Flasher", "draw_beacons"]

BEACON_HZ = (2.0, 4.0)
WARNING_HZ = (1.0, 4.0)
INDICATOR_HZ = (1.0, 2.0)
EXPOSURE_S = 1 / 40
BLUE: Color = (0.10, 0.25, 1.0)
RED: Color = (1.0, 0.08, 0.06)
PULSES = {
    "single": ((0.0, 0.44),),
    "double": ((0.0, 0.18), (0.24, 0.42)),
    "triple": ((0.0, 0.11), (0.16, 0.27), (0.32, 0.43)),
}
"""Short gaps: at 3.75 flashes a second, 15 pictures a second could meet the same long gap every time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flasher:
    """A lamp that flashes.

    Attributes:
        rate_hz: Flashes per second; a train of pulses is one flash.
        phase: Where the flash stands at time 0, 0..1.
        pulses: When the lamp is on within a flash, as pairs of shares 0..1.
        color: RGB, 0..1.
    """

    rate_hz: float
    phase: float
    pulses: tuple[tuple[float, float], ...]
    color: Color

    def power(self, t_s: float) -> float:
        """How much of an exposure that ends at ``t_s`` the lamp is on, 0..1."""
        cycles = [((t_s - EXPOSURE_S * step / 4) * self.rate_hz + self.phase) % 1.0 for step in range(4)]
        return sum(start <= cycle < end for cycle in cycles for start, end in self.pulses) / 4


def draw_beacons(random: np.random.Generator) -> tuple[Flasher, Flasher]:
    """The left and right beacon of an emergency vehicle; they take turns."""
    rate, phase = random.uniform(*BEACON_HZ), random.uniform()
    pulses = PULSES[str(random.choice(list(PULSES)))]
    left, right = ((BLUE, BLUE), (BLUE, BLUE), (BLUE, BLUE), (RED, BLUE), (RED, RED))[random.integers(5)]
    return (
        Flasher(rate_hz=rate, phase=phase, pulses=pulses, color=left),
        Flasher(rate_hz=rate, phase=(phase + 0.5) % 1, pulses=pulses, color=right),
    )
