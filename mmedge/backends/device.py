"""Tensors that stay on an NVIDIA device: copied there, and put in order with what reads and writes them.

Every tensor knows the last run of each of its readers and writers as an event. Who reads waits for the writers, who
writes for readers and writers too, all of it on the device: so nothing is overwritten that is still to be read, and the
host waits only where it looks.
"""

from functools import cached_property
from math import prod
from types import EllipsisType
from typing import Any

import numpy as np

from mmedge.backends.base import DeviceTensor
from mmedge.backends.cuda import Device, DeviceBuffer, Event, Rows, Stream, find_device, pinned_like
from mmedge.errors import InputError
from mmedge.types import Array

__all__ = ["CudaMemory", "CudaTensor"]


class CudaTensor(DeviceBuffer):
    """A :class:`mmedge.backends.base.DeviceTensor`; two threads may use it if each use is ordered by a lock.

    Attributes:
        shape: Of the array.
        dtype: Of its elements.
        reads: The last run of everything that reads it.
        writes: The last run of everything that writes it.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.nbytes = prod(shape) * self.dtype.itemsize
        super().__init__(self.nbytes)
        self.reads: list[Event] = []
        self.writes: list[Event] = []

    def __setitem__(self, key: EllipsisType, values: Any) -> None:
        """Start to take in another tensor, or an array, which may be written to when this returns."""
        if isinstance(values, CudaTensor):
            self._check(values.shape == self.shape and values.dtype == self.dtype, values)
            stream = self._begin(values)
            stream.copy(Rows(self.address, self.nbytes), Rows(values.address, self.nbytes), self.nbytes, 1)
        else:
            self._done.synchronize()  # the copy before may still read the pinned memory
            np.copyto(self._pinned, values)
            stream = self._begin()
            stream.upload(self, self._pinned)
        stream.record(self._done)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:  # noqa: FBT001 - numpy's signature
        """The values in a new array, once all that makes them is done."""
        del copy  # it always is one
        stream = self._stream
        for event in self.writes:
            stream.wait(event)
        stream.download(self._pinned, self)
        stream.record(self._done)
        self._done.synchronize()
        return np.array(self._pinned, dtype=dtype)

    def shift_in(self, item: DeviceTensor, axis: int) -> None:
        """See :class:`mmedge.backends.base.DeviceTensor`."""
        assert isinstance(item, CudaTensor)  # of the same memory
        self._check(item.shape[:axis] == self.shape[:axis] and item.shape[axis + 1 :] == self.shape[axis + 1 :], item)
        count = prod(self.shape[:axis])
        window, new = self.nbytes // count, item.nbytes // count
        kept = window - new
        stream = self._begin(item)
        if kept:  # by way of other memory: copies must not overlap
            aside = Rows(self._aside.address, kept)
            stream.copy(aside, Rows(self.address + new, window), kept, count)
            stream.copy(Rows(self.address, window), aside, kept, count)
        stream.copy(Rows(self.address + kept, window), Rows(item.address, new), new, count)
        stream.record(self._done)

    def wait(self) -> None:
        """See :class:`mmedge.backends.base.DeviceTensor`."""
        for event in self.writes:
            event.synchronize()

    @cached_property
    def _stream(self) -> Stream:
        """Where it is copied to and from; what never is needs none."""
        self.writes.append(self._done)
        return Stream()

    @cached_property
    def _done(self) -> Event:
        return Event()

    @cached_property
    def _pinned(self) -> Array:
        return pinned_like(np.empty(self.shape, self.dtype))

    @cached_property
    def _aside(self) -> DeviceBuffer:
        return DeviceBuffer(self.nbytes)

    def _begin(self, source: "CudaTensor | None" = None) -> Stream:
        """This tensor's stream, after all that must be done before it is written to, and before its source is read."""
        stream, own = self._stream, self._done
        for event in (*self.reads, *self.writes):
            if event is not own:
                stream.wait(event)
        if source is not None:
            for event in source.writes:
                stream.wait(event)
            if own not in source.reads:
                source.reads.append(own)
        return stream

    def _check(self, fits: bool, other: "CudaTensor") -> None:  # noqa: FBT001 - what it checks
        if not fits:
            raise InputError(f"{list(other.shape)} {other.dtype} cannot be put into {list(self.shape)} {self.dtype}")


class CudaMemory:
    """A :class:`mmedge.backends.base.Memory` on the first GPU."""

    moves = True

    @cached_property
    def device(self) -> Device:
        """The GPU that it is on.

        Raises:
            BackendError: There is none.
        """
        return find_device()

    def tensor(self, shape: tuple[int, ...], dtype: str) -> CudaTensor:
        """See :class:`mmedge.backends.base.Memory`.

        Raises:
            BackendError: There is not so much memory.
        """
        return CudaTensor(shape, dtype)
