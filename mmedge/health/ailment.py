"""What can be wrong with a sensor, noticed and forgotten with hysteresis."""

from collections import deque
from dataclasses import dataclass

from mmedge.types import NS

__all__ = ["Ailment", "Alarm", "History"]

KEPT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Ailment:
    """Something that is wrong.

    Attributes:
        name: "disconnected", "black", "covered", "frozen", "muted", "clipped" or "unusual".
        since_ns: When it began, which is before it was noticed.
        sick: Whether the data is worth nothing; if not, it is used and what is wrong is said.
    """

    name: str
    since_ns: int
    sick: bool = True

    def describe(self, t_ns: int) -> str:
        """For ``prediction.degraded``."""
        return f"{self.name} for {max(0, t_ns - self.since_ns) / NS:.1f} s"


class Alarm:
    """One condition with two thresholds and two hold times.

    Args:
        name: Of the ailment.
        enter_ms: How long the condition must hold without a break before it is one.
        leave_ms: How long all must be well before it is over.
        sick: See :class:`Ailment`.

    Attributes:
        ailment: What is wrong, None if nothing is.
    """

    def __init__(self, name: str, *, enter_ms: int, leave_ms: int, sick: bool = True) -> None:
        self.ailment: Ailment | None = None
        self._name, self._sick = name, sick
        self._enter_ns, self._leave_ns = enter_ms * 1_000_000, leave_ms * 1_000_000
        self._began_ns: int | None = None
        self._well_ns: int | None = None

    def update(self, t_ns: int, *, bad: bool, well: bool) -> None:
        """Take in what was found at a time, later than the one before.

        Args:
            t_ns: The time.
            bad: The threshold to enter is crossed.
            well: The threshold to leave is crossed; between the two, nothing changes.
        """
        if self.ailment is None:
            if not bad:
                self._began_ns = None
                return
            if self._began_ns is None:
                self._began_ns = t_ns
            if t_ns - self._began_ns >= self._enter_ns:
                self.ailment = Ailment(name=self._name, since_ns=self._began_ns, sick=self._sick)
                self._well_ns = None
        elif not well:
            self._well_ns = None
        else:
            if self._well_ns is None:
                self._well_ns = t_ns
            if t_ns - self._well_ns >= self._leave_ns:
                self.ailment = self._began_ns = None


class History:
    """What was wrong when, so that a tick in the past is told what was known at its time."""

    def __init__(self) -> None:
        self._changes: deque[tuple[int, Ailment | None]] = deque(maxlen=KEPT)

    def note(self, t_ns: int, ailment: Ailment | None) -> None:
        """What is wrong from a time on."""
        if ailment != self.at(t_ns):
            self._changes.append((t_ns, ailment))

    def at(self, t_ns: int) -> Ailment | None:
        """What was known to be wrong at a time."""
        for noticed_ns, ailment in reversed(self._changes):
            if noticed_ns <= t_ns:
                return ailment
        return None

    @property
    def changed_ns(self) -> int:
        """When that changed last, 0 if it never did."""
        return self._changes[-1][0] if self._changes else 0
