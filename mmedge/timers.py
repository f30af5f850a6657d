"""What makes a live stream decide by the clock: ticks of a grid, and ticks whose own data is not ready in time."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter_ns

from mmedge.decide import Decider, Moment
from mmedge.pace import JUMP_NS
from mmedge.ticks import Tick
from mmedge.types import NS

__all__ = ["CATCH_UP_NS", "Deadlines", "Grid", "Timing"]

CATCH_UP_NS = NS // 10  # ticks further behind than this are passed over, so that decisions do not age with a backlog


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a live stream decides.

    Attributes:
        tick: The rule.
        deadline_ns: How long after its data was pushed a tick is decided at the latest; None waits for its own encode.
        clock: What tells the time of a grid, in nanoseconds.
    """

    tick: Tick
    deadline_ns: int | None
    clock: Callable[[], int]


class Grid:
    """Ticks at a rate, whatever comes; worked on in a thread of its own.

    Attributes:
        passed_over: Ticks that were left out because the machine was that far behind.
        jumps: How often the clock was set.
        late: Decisions that came after their deadline.
    """

    def __init__(self, timing: Timing, decider: Decider) -> None:
        self._tick, self._clock, self._deadline_ns = timing.tick, timing.clock, timing.deadline_ns
        self._decider = decider
        self._next: int | None = None
        self._catch_up_ns = max(CATCH_UP_NS, self._tick.at(1))
        self.passed_over = self.jumps = self.late = 0

    def work(self) -> float:
        """Decide the next tick if it is due; returns the seconds until the one after it.

        One at a time: where decisions take longer than a tick, a loop over what is due would not end.
        """
        number, now_ns = self._following(self._clock()), self._clock()
        t_ns = self._tick.at(number)
        if t_ns <= now_ns:
            due_ns = perf_counter_ns() - (now_ns - t_ns)
            if self._decider.decide(Moment(t_ns=t_ns, pushed_ns=due_ns)) and self._deadline_ns is not None:
                self.late += perf_counter_ns() - due_ns > self._deadline_ns
            number, now_ns = number + 1, self._clock()
        self._next = number
        return max(0, self._tick.at(number) - now_ns) / NS

    def _following(self, now_ns: int) -> int:
        """The number of the next tick, which may be late already."""
        if self._next is None or abs(self._tick.at(self._next) - now_ns) > JUMP_NS + self._catch_up_ns:
            self.jumps += self._next is not None
            return self._tick.first_from(now_ns)
        oldest = self._tick.first_from(now_ns - self._catch_up_ns)
        if self._next < oldest and self._decider.ticks:
            self.passed_over += oldest - self._next
        return max(self._next, oldest)


class Deadlines:
    """Ticks whose own encode may not be ready in time; worked on in a thread of its own.

    Args:
        deadline_ns: From the push of what completed a tick.
        decider: Asked for the ticks that are not decided by then.
        in_order: See :meth:`mmedge.decide.Decider.decide`.

    Attributes:
        late: Ticks that were decided on older data because their own was not ready, or that were decided late.
    """

    def __init__(self, deadline_ns: int, decider: Decider, *, in_order: bool) -> None:
        self.late = 0
        self._deadline_ns = deadline_ns
        self._decider = decider
        self._in_order = in_order
        self._pending: deque[tuple[Moment, str]] = deque()

    def add(self, moment: Moment, port: str) -> None:
        """Watch a tick that a port brings."""
        self._pending.append((moment, port))

    def work(self) -> float | None:
        """Decide what is overdue; returns the seconds until something may be."""
        while self._pending:
            moment, port = self._pending[0]
            left_ns = moment.pushed_ns + self._deadline_ns - perf_counter_ns()
            if left_ns > 0 and not moment.done:
                return left_ns / NS
            self._pending.popleft()
            if not moment.done:
                self.late += self._decider.decide(moment, [port], in_order=self._in_order)
        return None

    def note(self, moment: Moment) -> None:
        """Count a tick that was decided by its port's own thread, if that was late."""
        self.late += perf_counter_ns() - moment.pushed_ns > self._deadline_ns
