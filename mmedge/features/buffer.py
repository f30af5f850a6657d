"""The newest samples of a stream, or rows of them, always in one piece."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["SampleBuffer"]

Samples = npt.NDArray[Any]


class SampleBuffer:
    """Keeps at least the last ``keep`` samples.

    Twice as many are held, so that old ones are moved out of the way only once in ``keep`` samples.

    Args:
        keep: As below.
        dtype: Of the samples that it gives, float32 or float64.
        shape: Of one sample; a row of features counts as one.
        order: "F" lays the first values of all samples side by side.

    Attributes:
        keep: How many samples are kept, and how many can be pushed at once.
        seen: How many samples were pushed so far.
    """

    def __init__(
        self,
        keep: int,
        dtype: npt.DTypeLike = np.float32,
        shape: tuple[int, ...] = (),
        order: Literal["C", "F"] = "C",
    ) -> None:
        self.keep = keep
        self.seen = 0
        self._data = np.zeros((2 * keep, *shape), dtype, order)
        self._first = 0  # number of the sample that comes first in it

    def push(self, samples: Samples) -> None:
        """Copy in at most ``keep`` samples."""
        start = self.seen
        self.seen = start + len(samples)
        self.room(start, self.seen)[...] = samples

    def room(self, start: int, stop: int) -> Samples:
        """A view of the samples numbered start..stop since the first one, to be read or written.

        It is valid until the next call; samples before ``stop - keep`` are lost.
        """
        first = self._first
        if stop - first > 2 * self.keep:
            self._first = stop - self.keep
            kept = self._data[self._first - first :]
            self._data[: len(kept)] = kept
            first = self._first
        return self._data[start - first : stop - first]

    def between(self, start: int, stop: int) -> Samples:
        """A view of the samples numbered start..stop since the first one, valid until the next push."""
        first = self._first
        return self._data[start - first : stop - first]
