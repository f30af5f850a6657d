"""The newest samples of a stream, or rows of them, always in one piece."""

from typing import Any

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

    Attributes:
        keep: How many samples are kept, and how many can be pushed at once.
        seen: How many samples came in so far; set to a higher number, it says that those in between never come.
    """

    def __init__(self, keep: int, dtype: npt.DTypeLike = np.float32, shape: tuple[int, ...] = ()) -> None:
        self.keep = keep
        self.seen = 0
        self._data = np.zeros((2 * keep, *shape), dtype)
        self._end = 0

    def push(self, samples: Samples) -> None:
        """Copy in at most ``keep`` samples."""
        count = len(samples)
        end = self._end + count
        if end > 2 * self.keep:
            self._data[: self.keep] = self._data[self._end - self.keep : self._end]
            end = self.keep + count
        self._data[end - count : end] = samples
        self._end = end
        self.seen += count

    def between(self, start: int, stop: int) -> Samples:
        """A view of the samples numbered start..stop since the first one, valid until the next push."""
        shift = self._end - self.seen
        return self._data[start + shift : stop + shift]
