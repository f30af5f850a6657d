"""A named thread that works whenever it is woken, or when it said it wanted to."""

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread, current_thread
from typing import Literal

__all__ = ["Worker"]

Token = Literal["work", "end"]
WORK: Token = "work"
END: Token = "end"


class Worker:
    """One thread, from :meth:`start` to :meth:`join`.

    Args:
        name: Of the thread.
        work: Called once at the start, after every :meth:`wake` (once for all of those that came while it was at work),
            and so many seconds later as it returned, unless that is None.
        failed: Called with whatever ``work`` raises; the thread ends then.
    """

    def __init__(self, name: str, work: Callable[[], float | None], failed: Callable[[BaseException], None]) -> None:
        self._work = work
        self._failed = failed
        self._awake = True
        self._tokens: SimpleQueue[Token] = SimpleQueue()  # its get() is woken by the operating system, without polling
        self._tokens.put(WORK)
        # A daemon, so that a stream that nobody closed cannot keep the interpreter from ending.
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Let it work, now or again after what it is at."""
        if not self._awake:
            self._awake = True
            self._tokens.put(WORK)

    def stop(self) -> None:
        """Let it end after what it is at."""
        self._tokens.put(END)

    def join(self) -> None:
        """Wait until it has ended; returns at once in the thread itself."""
        if self._thread is not current_thread() and self._thread.ident is not None:
            self._thread.join()
            self._work = self._failed = _nothing  # what it held of its stream is free at once, without the collector

    def _run(self) -> None:
        try:
            wait_s: float | None = None
            while self._is_wanted(wait_s):
                self._awake = False  # before the work, so that what comes from now on wakes it again
                wait_s = self._work()
        except BaseException as error:  # noqa: BLE001 whatever ends a thread is raised where predictions are fetched
            self._failed(error)

    def _is_wanted(self, wait_s: float | None) -> bool:
        try:
            return self._tokens.get(timeout=wait_s) is WORK
        except Empty:
            return True


def _nothing(*_: object) -> None:
    pass
