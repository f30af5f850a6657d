"""Tensors and texts, each of which stands until the next one comes."""

from threading import Lock

import numpy as np

from mmedge.errors import InputError
from mmedge.feeds.front import FrontEnd
from mmedge.manifest import Port
from mmedge.pace import Pace
from mmedge.stages import StageGraph
from mmedge.types import Array, TensorReading, TextMessage

__all__ = ["ValueFeed"]


class ValueFeed:
    """Tensors or texts of one port; see :class:`~mmedge.feeds.feed.Feed`.

    A value that equals the one before is newer and not computed again. One value waits; a newer one takes its place.
    """

    def __init__(self, name: str, port: Port, front: FrontEnd, graph: StageGraph, *, live: bool = False) -> None:
        self.name = name
        self.accepted = 0
        self.ingested = 0
        self.waits = 1
        self._front = front
        self._graph = graph
        self._live = live
        self._pace = Pace(port.tensor.rate_hz if port.tensor else 0)
        self._lock = Lock()
        self._waiting: tuple[Array, int] | None = None
        self._room: Array = np.zeros(port.shape, port.dtype)
        self._dropped = 0
        self._invalid = 0
        self.newest_ns = 0
        self.ready = False
        self._new = False

    @property
    def step(self) -> int:
        """See :class:`~mmedge.feeds.feed.Feed`."""
        return self.accepted

    @property
    def counts(self) -> dict[str, int]:
        """See :class:`~mmedge.feeds.feed.Feed`."""
        live = {"dropped": self._dropped, "invalid": self._invalid} if self._live else {}
        return self._pace.counts | live

    def accept(self, packet: TensorReading | TextMessage) -> bool:
        """See :class:`~mmedge.feeds.feed.Feed`."""
        if isinstance(packet, TextMessage):
            window = self._window(packet.text)
        elif self._live and not _is_finite(packet.values):
            self._invalid += 1
            return False
        else:
            window = self._window(packet.values)
        if not self._pace.wants(packet.t_ns):
            return False
        with self._lock:
            self._dropped += self._waiting is not None
            self._room[...] = window
            self._waiting = self._room, packet.t_ns
            self.accepted += 1
        self._pace.take(packet.t_ns)
        return True

    def ingest(self, until: int | None = None) -> None:
        """See :class:`~mmedge.feeds.feed.Feed`; the only value that waits is taken whatever its number."""
        del until
        with self._lock:
            if self._waiting is None:
                return
            (values, self.newest_ns), self._waiting = self._waiting, None
            self.ingested = self.accepted
            if not self.ready or not np.array_equal(values, self._graph.tensors[self.name][0]):
                self._graph.load_window(self.name, values)
        self.ready = self._new = True

    def fill(self) -> bool:
        """See :class:`~mmedge.feeds.feed.Feed`."""
        new, self._new = self._new, False
        return new

    def _window(self, value: Array | str) -> Array:
        try:
            return self._front.window(value)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error


def _is_finite(values: object) -> bool:
    """Whether there is no NaN and no infinity; what is no array of floats is for the front end to judge."""
    return not isinstance(values, np.ndarray) or values.dtype.kind != "f" or bool(np.isfinite(values).all())
