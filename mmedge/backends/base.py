"""The seam between stages and the libraries that compute them."""

from collections.abc import Callable, Mapping
from types import EllipsisType
from typing import Any, Protocol, TypeAlias

from mmedge.types import Array

__all__ = ["Buffers", "DeviceTensor", "Memory", "Session", "Tensor", "memory_of"]


class DeviceTensor(Protocol):
    """An array on a device; ``one[...] = other`` takes in all of another one, or of a numpy array of the same shape.

    What is done with it is started in order, and waited for only where the host reads.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""

    def __setitem__(self, key: EllipsisType, values: Any, /) -> None:
        """Take in the values of another tensor; an array may be written to again when this returns."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:  # noqa: FBT001 - numpy's signature
        """The values in a new array on the host, when all that makes them is done."""

    def shift_in(self, item: "DeviceTensor", axis: int) -> None:
        """Take the newest item of a window; the oldest goes.

        Args:
            item: Of the same memory.
            axis: Along which the window is made of items.
        """

    def wait(self) -> None:
        """Wait until all that makes it is done."""


Tensor: TypeAlias = Array | DeviceTensor


class Memory(Protocol):
    """Where sessions of one model keep tensors that the host has no need to see.

    Attributes:
        moves: Tensors can be copied on the device, and windows shifted there. Otherwise they only go from a session
            that makes them to one that reads them.
    """

    moves: bool

    def tensor(self, shape: tuple[int, ...], dtype: str) -> DeviceTensor:
        """A new one, all zeros."""


Buffers: TypeAlias = Mapping[str, Any]
"""By name, a contiguous array, or a :class:`DeviceTensor` of the session's own memory."""


class Session(Protocol):
    """One loaded graph; bound runs of the same session may go on in several threads.

    What computes on a device may have an attribute ``memory``, a :class:`Memory` that all sessions of a model share.
    """

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors it reads."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the tensors it makes."""

    def bind(self, buffers: Buffers) -> Callable[[], None]:
        """Tie the graph to memory.

        Args:
            buffers: For every input and output; the caller keeps them alive and fills the inputs.

        Returns:
            What computes the outputs from the inputs when it is called, without allocating either.
        """


def memory_of(sessions: Mapping[str, Session]) -> Memory | None:
    """The memory that all sessions of a model share; None where any of them computes in arrays."""
    found: list[Memory | None] = [getattr(session, "memory", None) for session in sessions.values()]
    return found[0] if found and all(memory is found[0] for memory in found) else None
