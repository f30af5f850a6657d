"""What is usual of a sensor: the median of the last seconds in which it was well."""

from collections import deque
from statistics import median

from mmedge.types import NS

__all__ = ["Usual"]

SECONDS = 10
FIRST = 2  # seconds, before anything is usual


class Usual:
    """Slow memory of one number.

    Attributes:
        value: The median of the means of the last seconds, the one that is under way left out; 0 before there are any.
    """

    def __init__(self) -> None:
        self.value = 0.0
        self._means: deque[float] = deque(maxlen=SECONDS)
        self._began_ns: int | None = None
        self._sum, self._count = 0.0, 0

    def add(self, t_ns: int, value: float) -> None:
        """Take in a value of a sensor that is well."""
        if self._began_ns is None or t_ns < self._began_ns:
            self._began_ns = t_ns
        if t_ns - self._began_ns >= NS and self._count:
            self._means.append(self._sum / self._count)
            self._began_ns, self._sum, self._count = t_ns, 0.0, 0
            if len(self._means) >= FIRST:
                self.value = median(self._means)
        self._sum += value
        self._count += 1
