"""Predictions on their way from the thread that decides to those that fetch and observe them."""

from collections import deque
from collections.abc import Callable, Iterator
from threading import Condition, Lock
from typing import Protocol

from mmedge.types import Prediction

__all__ = ["Observe", "Outlet", "Predictions", "Valve"]

Observe = Callable[[Prediction], None]


class Outlet(Protocol):
    """Where predictions go."""

    def put(self, prediction: Prediction) -> None:
        """Take one."""

    def close(self, error: BaseException | None = None) -> None:
        """There will be no more, because of an error or not."""


class Valve:
    """An outlet that leads to another one, which may be changed at any time.

    Args:
        outlet: Where it leads at first.

    Attributes:
        outlet: Where it leads.
        seam_ns: A swap's: the newest tick that was told before this one's predictions were; None when that is past.
    """

    def __init__(self, outlet: Outlet) -> None:
        self.outlet = outlet
        self.seam_ns: int | None = None

    def put(self, prediction: Prediction) -> None:
        """See :class:`Outlet`."""
        self.outlet.put(prediction)

    def close(self, error: BaseException | None = None) -> None:
        """See :class:`Outlet`."""
        self.outlet.close(error)


class Predictions:
    """A bounded queue; the oldest are dropped and counted when nobody fetches them.

    Args:
        limit: How many may wait.

    Attributes:
        observers: Called with every prediction, in the thread that decided; must not wait for anything.
        taken: How many there were.
        dropped: How many had to make room.
        closed: Nothing more comes.
    """

    def __init__(self, limit: int) -> None:
        self.observers: list[Observe] = []
        self.taken = 0
        self.dropped = 0
        self.closed = False
        self._waiting: deque[Prediction] = deque()
        self._limit = limit
        self._fetching = 0  # threads that wait in :meth:`__iter__`
        self._lock = Lock()
        self._changed = Condition(self._lock)
        self._error: BaseException | None = None

    def put(self, prediction: Prediction) -> None:
        """Add one; after :meth:`close`, it goes nowhere."""
        with self._lock:
            if self.closed:
                return
            self.taken += 1
            if len(self._waiting) >= self._limit:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(prediction)
            if self._fetching:
                self._changed.notify()
        for observe in self.observers:
            observe(prediction)

    def poll(self) -> list[Prediction]:
        """Those that are ready, oldest first, without waiting.

        Raises:
            BaseException: What :meth:`close` was given, once, when nothing is left to fetch.
        """
        with self._lock:
            if not self._waiting:
                self._raise()
            ready = list(self._waiting)
            self._waiting.clear()
            return ready

    def __iter__(self) -> Iterator[Prediction]:
        while True:
            with self._lock:
                while not self._waiting and not self.closed:
                    self._fetching += 1
                    self._changed.wait()
                    self._fetching -= 1
                if not self._waiting:
                    self._raise()
                    return
                prediction = self._waiting.popleft()
            yield prediction

    def close(self, error: BaseException | None = None) -> None:
        """Take no more; who waits is woken, and raises the error after what is ready was fetched."""
        with self._lock:
            if not self.closed:
                self.closed, self._error = True, error
            self._changed.notify_all()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error
