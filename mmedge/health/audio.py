"""Whether a microphone hears: muted or clipped, from the level of every 20 ms, looked at ten times a second."""

from collections.abc import Mapping
from math import log10, sqrt

import numpy as np

from mmedge.health.ailment import Ailment, Alarm
from mmedge.health.usual import Usual
from mmedge.types import NS, AudioChunk

__all__ = ["AudioHealth"]

BLOCKS_PER_SECOND = 50
AT_ONCE = 5  # blocks; numpy takes hardly longer for five than for one, and nothing is wrong for less than 200 ms
SILENT, AUDIBLE = 2 / 32768, 6 / 32768  # from peak to peak: two and six steps of 16 bits
QUIETER, QUIET_NO_MORE = 0.01, 0.03  # of the usual level, 40 dB and 30 dB below
FULL_SCALE = 0.999
CLIPPED, CLEAN = 0.02, 0.002  # share of samples
FOLLOW = 12  # blocks over which that share is averaged
TINY = 1e-9


class AudioHealth:
    """Facts of one microphone, block by block, so that they do not depend on how the sound is cut into chunks.

    Attributes:
        ailment: What is wrong.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._size = max(1, rate_hz // BLOCKS_PER_SECOND)
        self._blocks = np.zeros((AT_ONCE, self._size), np.float32)
        self._samples = self._blocks.reshape(-1)  # a view
        self._filled = 0
        self._muted = Alarm("muted", enter_ms=500, leave_ms=200)
        self._clipped = Alarm("clipped", enter_ms=400, leave_ms=1000, sick=False)
        self._usual = Usual()
        self._level = self._clipped_share = 0.0
        self.ailment: Ailment | None = None

    @property
    def facts(self) -> Mapping[str, float]:
        """Level and usual level in dB of full scale, and the share of samples at full scale of late."""
        return {
            "level_db": 20 * log10(self._level + TINY),
            "usual_level_db": 20 * log10(self._usual.value + TINY),
            "clipped": self._clipped_share,
        }

    def see(self, packet: AudioChunk) -> list[tuple[int, Ailment | None]]:
        """Take in a chunk; returns what is wrong from when on."""
        samples, begun = packet.samples, 0
        found: list[tuple[int, Ailment | None]] = []
        while begun < len(samples):
            taken = min(len(self._samples) - self._filled, len(samples) - begun)
            self._samples[self._filled : self._filled + taken] = samples[begun : begun + taken]
            self._filled, begun = self._filled + taken, begun + taken
            if self._filled == len(self._samples):
                self._filled = 0
                found += self._look(packet.t_ns + begun * NS // self._rate_hz)
        return found

    def _look(self, end_ns: int) -> list[tuple[int, Ailment | None]]:
        """At all blocks; the last one ends at a time."""
        blocks, found = self._blocks, []
        highs, lows = np.maximum.reduce(blocks, axis=1).tolist(), np.minimum.reduce(blocks, axis=1).tolist()
        means = (np.add.reduce(blocks, axis=1) / self._size).tolist()
        powers = (np.einsum("bn,bn->b", blocks, blocks) / self._size).tolist()
        for number, block in enumerate(blocks):
            high, low = highs[number], lows[number]
            self._level = sqrt(max(0.0, powers[number] - means[number] ** 2))
            loud = max(high, -low) >= FULL_SCALE
            share = float(np.count_nonzero(np.abs(block) >= FULL_SCALE)) / self._size if loud else 0.0
            t_ns = end_ns - (AT_ONCE - 1 - number) * self._size * NS // self._rate_hz
            self._update(t_ns, high - low, share)
            found.append((t_ns, self.ailment))
        return found

    def _update(self, t_ns: int, span: float, share: float) -> None:
        usual = self._usual.value
        muted = span <= SILENT or self._level < QUIETER * usual
        self._muted.update(t_ns, bad=muted, well=span > AUDIBLE and self._level > QUIET_NO_MORE * usual)
        if not muted and self._muted.ailment is None:
            self._usual.add(t_ns, self._level)
        self._clipped_share += (share - self._clipped_share) / FOLLOW
        self._clipped.update(t_ns, bad=self._clipped_share > CLIPPED, well=self._clipped_share < CLEAN)
        self.ailment = self._muted.ailment or self._clipped.ailment
