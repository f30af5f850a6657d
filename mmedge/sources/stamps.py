"""From the times that a driver stamps its pictures with to the monotonic clock."""

from collections import Counter

from mmedge.clock import SampleClock
from mmedge.types import NS

__all__ = ["StampClock"]

SAME_NS = NS  # stamps this close before their arrival are of the monotonic clock itself, as V4L2 promises
STEP_NS = NS
EARLY_NS = 20_000_000


class StampClock:
    """Puts stamps of an unknown clock on the monotonic one.

    A stamp that lies less than a second before its arrival is taken as it is. Others, of the wall clock, of a network
    camera's own, are fitted to their arrivals; a step of that clock is noticed, counted as ``clock_steps``, and begins
    a new fit. What a network camera had kept back when it was opened comes at once, and is dated by its arrival until
    pictures come at their own pace. A picture without a stamp that moves on gets its
    time of arrival, counted as ``unstamped``.

    Source: Linux kernel documentation, "Buffers: timestamps" of the V4L2 API (V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC).

    Args:
        counts: Where to count.
    """

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._fit: SampleClock | None = None
        self._same = False
        self._last_ns: int | None = None

    def to_monotonic(self, stamp_ns: int, arrival_ns: int) -> int:
        """When a picture was taken; never after it arrived.

        Args:
            stamp_ns: What the driver says.
            arrival_ns: When it was there, on the monotonic clock.
        """
        last_ns, self._last_ns = self._last_ns, stamp_ns
        if stamp_ns < 0 or stamp_ns == last_ns:
            self._counts["unstamped"] += 1
            return arrival_ns
        if last_ns is None or self._stepped(stamp_ns, arrival_ns):
            self._counts["clock_steps"] += last_ns is not None
            self._same, self._fit = 0 <= arrival_ns - stamp_ns < SAME_NS, None
        if self._same:
            return stamp_ns
        if self._fit is None or arrival_ns - self._fit.time_of(stamp_ns) < -EARLY_NS:
            self._fit = SampleClock(NS)  # a backlog is read faster than it was taken: the fit was too late
        self._fit.observe(stamp_ns, arrival_ns)
        return min(self._fit.time_of(stamp_ns), arrival_ns)

    def _stepped(self, stamp_ns: int, arrival_ns: int) -> bool:
        expected_ns = stamp_ns if self._same or self._fit is None else self._fit.time_of(stamp_ns)
        return not -STEP_NS < arrival_ns - expected_ns < STEP_NS
