"""Which packets of a sensor are taken: in the order of time, and no more of them than the model was trained on."""

from mmedge.types import NS

__all__ = ["Pace"]

SLOT_SLACK = 0.25  # of a period: how early a packet may come and still be the next one


class Pace:
    """The packets of one port so far.

    Args:
        rate_hz: How many a second are wanted; 0 takes every one.

    Attributes:
        newest_ns: Time of the last one that was taken.
        taken: How many were.
        skipped: Left out because the sensor is faster than the rate.
        late: Left out because they are not newer than the one before.
    """

    def __init__(self, rate_hz: float) -> None:
        self._period_ns = int(NS / rate_hz) if rate_hz else 0
        self._first_ns: int | None = None
        self._slot = -1
        self.newest_ns = 0
        self.taken = 0
        self.skipped = 0
        self.late = 0

    @property
    def counts(self) -> dict[str, int]:
        """What was left out."""
        return {"skipped": self.skipped, "late": self.late}

    def wants(self, t_ns: int) -> bool:
        """Whether the next packet is to be taken; it is counted if not."""
        if self._first_ns is None:
            self._first_ns = t_ns
        elif t_ns <= self.newest_ns:
            self.late += 1
            return False
        if self._period_ns:
            slot = int((t_ns - self._first_ns) / self._period_ns + SLOT_SLACK)
            if slot == self._slot:
                self.skipped += 1
                return False
            self._slot = slot
        return True

    def take(self, t_ns: int) -> None:
        """Say that the packet was taken."""
        self.newest_ns = t_ns
        self.taken += 1
