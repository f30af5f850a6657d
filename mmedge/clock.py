"""The clock of a sound card, fitted to when its samples arrive.

A callback comes late, never early, and by a different amount every time; counting samples is exact but the card's
crystal is not the computer's. So samples are counted, and the earliest arrival of each block of them is laid on a line.
"""

from collections import deque

from mmedge.types import NS

__all__ = ["SampleClock"]

BLOCK_NS = NS // 4  # of sound; its least delayed arrival stands for it
BLOCKS = 240  # a minute is fitted: long enough for single ppm, short enough to follow a card that warms up
SPREAD_MS, DRIFT_MS_PER_S = 1.0, 0.1  # what arrivals scatter by, and cards err by (100 ppm), before anything is known


class SampleClock:
    """When each sample of one sensor was taken, from the times at which they arrived.

    With few arrivals the declared rate is believed; the longer the line, the more the fit is (ridge regression with the
    prior that crystals err by 100 ppm). For one thread.

    >>> clock = SampleClock(16000)
    >>> for second in range(60):
    ...     clock.observe(second * 16000, second * 1_000_050_000)  # a card 50 ppm slow
    >>> round(clock.ppm)
    -50

    Args:
        rate_hz: What the card declares.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._first: tuple[int, int] | None = None
        self._blocks: deque[tuple[float, float]] = deque(maxlen=BLOCKS)  # seconds of sound, least delay in ms
        self._block = 0
        self._offset_ms = self._slope = self._mean_s = 0.0

    @property
    def ppm(self) -> float:
        """How much faster than declared the card counts, in millionths; negative when it is slow."""
        return -self._slope * 1e3 / (1 + self._slope / 1e3)

    @property
    def residual_ms(self) -> float:
        """Standard deviation of the blocks around the line."""
        if not self._blocks:
            return 0.0
        squares = [(late - self._line(at)) ** 2 for at, late in self._blocks]
        return float((sum(squares) / len(squares)) ** 0.5)

    def observe(self, sample: int, t_ns: int) -> None:
        """Say that a sample, by its number, had been taken by a time, or a little before.

        Args:
            sample: Never smaller than the one before.
            t_ns: When it was there.
        """
        if self._first is None:
            self._first = (sample, t_ns)
        since_ns = self._since_ns(sample)
        at, late = since_ns / NS, (t_ns - self._first[1] - since_ns) / 1e6
        block = since_ns // BLOCK_NS
        if self._blocks and block == self._block:
            if late >= self._blocks[-1][1]:
                return
            self._blocks[-1] = (at, late)
        else:
            self._blocks.append((at, late))
            self._block = block
        self._fit()

    def time_of(self, sample: int) -> int:
        """When a sample was taken, as far as is known now.

        Args:
            sample: Its number; it may lie ahead.
        """
        if self._first is None:
            raise ValueError("time_of() before observe(): nothing has arrived yet")
        since_ns = self._since_ns(sample)
        return self._first[1] + since_ns + round(self._line(since_ns / NS) * 1e6)

    def _since_ns(self, sample: int) -> int:
        first = self._first[0] if self._first else sample
        return (sample - first) * NS // self._rate_hz

    def _line(self, at: float) -> float:
        return self._offset_ms + self._slope * (at - self._mean_s)

    def _fit(self) -> None:
        """A line through all blocks, then through the lower half of them: on a busy machine whole blocks are late."""
        self._lay(list(self._blocks))
        lowest = sorted(self._blocks, key=lambda block: block[1] - self._line(block[0]))
        self._lay(lowest[: (len(lowest) + 1) // 2])

    def _lay(self, blocks: list[tuple[float, float]]) -> None:
        count = len(blocks)
        mean_s = sum(at for at, _ in blocks) / count
        mean_ms = sum(late for _, late in blocks) / count
        spread = sum((at - mean_s) ** 2 for at, _ in blocks)
        product = sum((at - mean_s) * (late - mean_ms) for at, late in blocks)
        self._slope = product / (spread + (SPREAD_MS / DRIFT_MS_PER_S) ** 2)
        self._mean_s, self._offset_ms = mean_s, mean_ms
