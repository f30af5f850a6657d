"""What a stream asks of each port, whatever its sensor is."""

from typing import Any, Protocol

from mmedge.feeds.audio import AudioFeed
from mmedge.feeds.camera import CameraFeed
from mmedge.feeds.front import FrontEnd
from mmedge.feeds.value import ValueFeed
from mmedge.manifest import Port
from mmedge.stages import StageGraph

__all__ = ["Feed", "open_feed"]


class Feed(Protocol):
    """One port's data on its way into the buffers of a graph.

    One thread at a time accepts packets, one at a time ingests and fills; these may be two. Packets are numbered, sound
    by its samples, as they are accepted. What waits between the two threads is bounded: the oldest makes room.
    """

    name: str

    @property
    def ready(self) -> bool:
        """A whole window was ingested."""

    @property
    def newest_ns(self) -> int:
        """The end of the data that :meth:`fill` wrote last."""

    @property
    def accepted(self) -> int:
        """Number of the newest packet, or sample, that was accepted."""

    @property
    def ingested(self) -> int:
        """Number of the newest packet, or sample, that was ingested."""

    @property
    def waits(self) -> int:
        """How many packets can wait to be ingested one by one."""

    @property
    def step(self) -> int:
        """The number up to which a port that brings no ticks is ingested: for sound, the newest whole hop."""

    @property
    def counts(self) -> dict[str, int]:
        """What was left out or made up so far; may be read from any thread."""

    def accept(self, packet: Any, /) -> bool:
        """Take in a packet of this port, which is not kept; whether it becomes part of a window.

        Raises:
            InputError: It does not fit. A live feed counts a NaN instead, and leaves that packet out.
        """

    def ingest(self, until: int | None = None) -> None:
        """Bring what was accepted, up to a number, into the window; stages that take single items run here."""

    def fill(self) -> bool:
        """Write the newest window to the graph's buffers; whether there is one, and anything in it new, or newer."""


def open_feed(name: str, port: Port, front: FrontEnd, graph: StageGraph, *, live: bool) -> Feed:
    """The feed of one port that is no state.

    Args:
        name: Of the port.
        port: The port.
        front: Its front end; cameras and microphones make one of their own, with a memory.
        graph: Whose buffers it fills.
        live: Accepting and ingesting are done by different threads, and a NaN is counted instead of refused.
    """
    if port.camera is not None:
        return CameraFeed(name, port, graph, live=live)
    if port.audio is not None:
        return AudioFeed(name, port, graph, live=live)
    return ValueFeed(name, port, front, graph, live=live)
