"""The seam between stages and the libraries that compute them."""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from mmedge.types import Array

__all__ = ["Buffers", "Session"]

Buffers = Mapping[str, Array]


class Session(Protocol):
    """One loaded graph; bound runs of the same session may go on in several threads."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors it reads."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the tensors it makes."""

    def bind(self, buffers: Buffers, resident: Collection[str] = ()) -> Callable[[], None]:
        """Tie the graph to memory.

        Args:
            buffers: A contiguous array for every input and output; the caller keeps them alive and fills the inputs.
            resident: Names of tensors that only sessions of the same model read and write, each through this very
                array object: what computes on a device may keep them there, and leave the array as it is.

        Returns:
            What computes the outputs from the inputs when it is called, without allocating either.
        """
