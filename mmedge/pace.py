"""Which packets of a sensor are taken: in the order of time, and no more of them than the model was trained on."""

from mmedge.types import NS

__all__ = ["JUMP_NS", "Pace"]

JUMP_NS = 5 * NS  # a clock that moves further than this in one step was set, or its sensor was away
EARLY = 4  # a packet may come a quarter of a period early and still be the next one
FOLLOW = 4  # the expected time follows a quarter of each deviation, so that jitter of the first packet does not stay
GAP = 1.5  # periods without a packet are a hole in the window


class Pace:
    """The packets of one port so far.

    Args:
        rate_hz: How many a second are wanted; 0 takes every one.

    Attributes:
        newest_ns: Time of the last one that was taken.
        taken: How many were taken since the clock last jumped.
        skipped: Left out because the sensor is faster than the rate.
        late: Left out because they are not newer than the one before.
        gaps: Taken more than one and a half periods after the one before.
        jumps: Taken so far from the one before that what was seen until then no longer counts.
    """

    def __init__(self, rate_hz: float) -> None:
        self._period_ns = int(NS / rate_hz) if rate_hz else 0
        self._due_ns = 0
        self.newest_ns = 0
        self.taken = 0
        self.skipped = 0
        self.late = 0
        self.gaps = 0
        self.jumps = 0

    @property
    def counts(self) -> dict[str, int]:
        """What was left out or missing."""
        return {"skipped": self.skipped, "late": self.late, "gaps": self.gaps, "jumps": self.jumps}

    def wants(self, t_ns: int) -> bool:
        """Whether the next packet is to be taken; it is counted if not."""
        if not self.taken or self.jumped(t_ns):
            return True
        if t_ns <= self.newest_ns:
            self.late += 1
            return False
        if self._period_ns and t_ns < self._due_ns - self._period_ns // EARLY:
            self.skipped += 1
            return False
        return True

    def jumped(self, t_ns: int) -> bool:
        """Whether a packet is so far from the one before that a window may not hold both."""
        return self.taken > 0 and abs(t_ns - self.newest_ns) > max(JUMP_NS, 4 * self._period_ns)

    def take(self, t_ns: int) -> None:
        """Say that the packet was taken."""
        jumped = self.jumped(t_ns)
        if jumped:
            self.jumps += 1
            self.taken = 0
        elif self.taken and self._period_ns and t_ns - self.newest_ns > GAP * self._period_ns:
            self.gaps += 1
        off_ns = t_ns - self._due_ns
        if not self.taken or abs(off_ns) > self._period_ns:
            self._due_ns, off_ns = t_ns, 0
        self._due_ns += self._period_ns + off_ns // FOLLOW
        self.newest_ns = t_ns
        self.taken += 1
