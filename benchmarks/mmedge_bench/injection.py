"""Stages made slower on purpose: how the suite proves that it would have noticed."""

from collections.abc import Callable
from dataclasses import dataclass
from time import sleep, thread_time_ns

from mmedge.backends.base import Buffers, Session

__all__ = ["Injection", "SlowedSession"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """What is done to one stage.

    Attributes:
        stage: Its name.
        slower: Share of its own processor time that every run takes longer, by computing.
        sleep_ms: How much longer every run takes by sleeping, without holding the interpreter.
        stall_at: Number of the run that stalls; -1 for none.
        stall_ms: For how long.
    """

    stage: str
    slower: float = 0.0
    sleep_ms: float = 0.0
    stall_at: int = -1
    stall_ms: float = 0.0


class SlowedSession:
    """A session with an injection.

    Args:
        session: The real one.
        injection: What is done to it.
    """

    def __init__(self, session: Session, injection: Injection) -> None:
        self._session, self._injection = session, injection
        self.inputs, self.outputs = session.inputs, session.outputs

    def bind(self, buffers: Buffers) -> Callable[[], None]:
        """See :meth:`mmedge.backends.base.Session.bind`."""
        run, told, runs = self._session.bind(buffers), self._injection, 0

        def call() -> None:
            nonlocal runs
            begin = thread_time_ns()
            run()
            end = thread_time_ns()
            until = end + int(told.slower * (end - begin))
            while thread_time_ns() < until:
                pass
            if extra_ms := told.sleep_ms + (told.stall_ms if runs == told.stall_at else 0):
                sleep(extra_ms / 1e3)
            runs += 1

        return call
