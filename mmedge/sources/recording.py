"""What every file source does alike: one pass over its packets, a name, notes, close()."""

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

from mmedge.errors import ClosedError

__all__ = ["Recording"]

PacketT = TypeVar("PacketT", covariant=True)


class Recording(Generic[PacketT]):
    """One pass over the packets of a file: an iterator and a context manager, for one thread.

    Attributes:
        name: The file's name, for messages.
        notes: Facts worth reporting, one line each; may grow until the end is reached.

    Raises:
        ClosedError: Iterated after close().
    """

    def __init__(self, name: str, release: Callable[[], object]) -> None:
        self.name = name
        self.notes: list[str] = []
        self._packets: Iterator[PacketT] = iter(())  # what the reader of a format puts in its place
        self._release, self._closed = release, False

    def __iter__(self) -> Iterator[PacketT]:
        return self

    def __next__(self) -> PacketT:
        if self._closed:
            raise ClosedError(f"{self.name} is closed")
        return next(self._packets)

    def __enter__(self: "SelfT") -> "SelfT":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file and its decoder; further calls do nothing."""
        if not self._closed:
            self._closed = True
            self._release()


SelfT = TypeVar("SelfT", bound=Recording[object])
