"""Pictures: preprocessed when they come, so that only what the model reads is kept."""

from collections import deque
from threading import Lock

import numpy as np
import numpy.typing as npt

from mmedge.errors import InputError
from mmedge.features.camera import CameraFrontEnd
from mmedge.manifest import Port
from mmedge.pace import Pace
from mmedge.stages import StageGraph
from mmedge.types import Array, VideoFrame

__all__ = ["CameraFeed"]

ITEMS_WAITING = 2  # pictures that are encoded one by one: enough for one late encode, never a backlog that ages


class CameraFeed:
    """Pictures of one port; see :class:`~mmedge.feeds.feed.Feed`.

    Single pictures, and those of windows that are encoded item by item, wait as the tensors they become: two at most,
    or one if it is all that the model sees. Windows that are encoded as a whole are put together from a ring that
    always holds the newest pictures, so that nothing waits and nothing is dropped.
    """

    def __init__(self, name: str, port: Port, graph: StageGraph, *, live: bool = False) -> None:
        assert port.camera is not None  # the caller chose this feed for a camera port
        self.name = name
        self.accepted = 0
        self.ingested = 0
        self.newest_ns = 0
        self._frames = port.camera.frames
        self._front = CameraFrontEnd(port.camera)
        self._graph = graph
        self._live = live
        self._pace = Pace(port.camera.rate_hz)
        self._lock = Lock()
        self._by_item = name in graph.items
        self.waits = ITEMS_WAITING if self._by_item else 1
        self._in_ring = self._frames > 1 and not self._by_item
        self._new = False
        self._dropped = 0
        self._run = 0  # how often the window began anew
        self._taken = 0, 0  # the run that is ingested, and how many pictures of it
        # number, time and run of a picture and the tensor it became, None if that lies in the graph already
        self._waiting: deque[tuple[int, int, int, Array | None]] = deque()
        self._free: list[Array] = []
        if not self._in_ring:
            target = graph.items[name][0] if self._by_item else graph.tensors[name][0]
            self._target = _without_axis(target, port.camera.layout.find("T"))
            if live:  # one more than can wait, for the one that is being ingested
                self._free = [np.zeros(self._target.shape, np.float32) for _ in range(self.waits + 1)]

    @property
    def ready(self) -> bool:
        """See :class:`~mmedge.feeds.feed.Feed`."""
        return self._front.ready if self._in_ring else self._taken[1] >= self._frames

    @property
    def step(self) -> int:
        """See :class:`~mmedge.feeds.feed.Feed`."""
        return self.accepted

    @property
    def counts(self) -> dict[str, int]:
        """See :class:`~mmedge.feeds.feed.Feed`."""
        return self._pace.counts | ({"dropped": self._dropped} if self._live else {})

    def accept(self, packet: VideoFrame) -> bool:
        """See :class:`~mmedge.feeds.feed.Feed`."""
        pixels, t_ns = packet.pixels, packet.t_ns
        if 0 in pixels.shape:
            raise InputError(f"{self.name}: a picture of {list(pixels.shape)} has no pixels")
        if not self._pace.wants(t_ns):
            return False
        self._run += self._pace.jumped(t_ns)
        if self._in_ring:
            self._push_ring(pixels, t_ns)
        else:
            self._put(pixels, t_ns)
        self._pace.take(t_ns)
        return True

    def ingest(self, until: int | None = None) -> None:
        """See :class:`~mmedge.feeds.feed.Feed`."""
        while True:
            with self._lock:
                if not self._waiting or (until is not None and self._waiting[0][0] > until):
                    return
                number, t_ns, run, tensor = self._waiting.popleft()
            if tensor is not None:
                self._target[...] = tensor
                with self._lock:
                    self._free.append(tensor)
            if self._by_item:
                self._graph.push_item(self.name)
            else:
                self._graph.mark([self.name])
            self._taken = (run, self._taken[1] + 1) if run == self._taken[0] else (run, 1)
            self.ingested, self.newest_ns, self._new = number, t_ns, True

    def fill(self) -> bool:
        """See :class:`~mmedge.feeds.feed.Feed`."""
        if self._in_ring:
            return self._fill_from_ring()
        if not self._new or not self.ready:
            return False
        self._new = False
        return True

    def _put(self, pixels: npt.NDArray[np.uint8], t_ns: int) -> None:
        if not self._live:
            self._front.write(pixels, self._target)
            self._append(t_ns, None)
            return
        with self._lock:
            full = len(self._waiting) >= self.waits
            self._dropped += full
            tensor = self._waiting.popleft()[-1] if full else self._free.pop()
        assert tensor is not None  # a live feed keeps them apart from the graph
        try:
            self._front.write(pixels, tensor)
        except BaseException:
            with self._lock:
                self._free.append(tensor)
            raise
        self._append(t_ns, tensor)

    def _append(self, t_ns: int, tensor: Array | None) -> None:
        with self._lock:
            self.accepted += 1
            self._waiting.append((self.accepted, t_ns, self._run, tensor))

    def _push_ring(self, pixels: npt.NDArray[np.uint8], t_ns: int) -> None:
        with self._lock:
            if self._run != self._taken[0]:
                self._taken = self._run, 0
                self._front.reset()
            self._front.push(pixels)
            self.accepted += 1
            self.ingested, self._ring_ns, self._new = self.accepted, t_ns, True

    def _fill_from_ring(self) -> bool:
        with self._lock:
            if not self._new or not self._front.ready:
                return False
            self._new = False
            self._front.write_window(self._graph.tensors[self.name][0])
            self.newest_ns = self._ring_ns
        self._graph.mark([self.name])
        return True


def _without_axis(array: Array, axis: int) -> npt.NDArray[np.float32]:
    view: npt.NDArray[np.float32] = array if axis < 0 else np.moveaxis(array, axis, 0)[0]
    return view
