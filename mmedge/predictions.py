"""Predictions on their way from the thread that decides to the one that fetches them."""

from collections import deque
from collections.abc import Iterator
from threading import Condition

from mmedge.types import Prediction

__all__ = ["Predictions"]


class Predictions:
    """A bounded queue; the oldest are dropped and counted when nobody fetches them.

    Args:
        limit: How many may wait.

    Attributes:
        dropped: How many had to make room.
        closed: Nothing more comes.
    """

    def __init__(self, limit: int) -> None:
        self.dropped = 0
        self.closed = False
        self._waiting: deque[Prediction] = deque()
        self._limit = limit
        self._changed = Condition()
        self._error: BaseException | None = None

    def put(self, prediction: Prediction) -> None:
        """Add one; after :meth:`close`, it goes nowhere."""
        with self._changed:
            if self.closed:
                return
            if len(self._waiting) >= self._limit:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(prediction)
            self._changed.notify()

    def poll(self) -> list[Prediction]:
        """Those that are ready, oldest first, without waiting.

        Raises:
            BaseException: What :meth:`close` was given, once, when nothing is left to fetch.
        """
        with self._changed:
            if not self._waiting:
                self._raise()
            ready = list(self._waiting)
            self._waiting.clear()
            return ready

    def __iter__(self) -> Iterator[Prediction]:
        while True:
            with self._changed:
                while not self._waiting and not self.closed:
                    self._changed.wait()
                if not self._waiting:
                    self._raise()
                    return
                prediction = self._waiting.popleft()
            yield prediction

    def close(self, error: BaseException | None = None) -> None:
        """Take no more; who waits is woken, and raises the error after what is ready was fetched."""
        with self._changed:
            if not self.closed:
                self.closed, self._error = True, error
            self._changed.notify_all()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error
