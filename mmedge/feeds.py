"""Between a sensor's packets and a stage graph's buffers: one feed for each port, with the time its data stands for."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from mmedge.features.audio import AudioFrontEnd
from mmedge.features.camera import CameraFrontEnd
from mmedge.manifest import Port
from mmedge.stages import StageGraph
from mmedge.types import NS, Array

__all__ = ["AudioFeed", "CameraFeed", "Feed", "front_end"]

GAP_TOLERANCE_NS = 5_000_000  # a chunk this far from where the count of samples says is still the next one
SLOT_SLACK = 0.25  # of a frame period: how early a picture may come and still be the next one


def front_end(port: Port) -> CameraFrontEnd | AudioFrontEnd:
    """The front end of a port."""
    if port.camera is not None:
        return CameraFrontEnd(port.camera)
    assert port.audio is not None  # a port has one of the two
    return AudioFrontEnd(port.audio)


class Feed(Protocol):
    """What a stream asks of each port."""

    @property
    def ready(self) -> bool:
        """A whole window has been seen."""

    @property
    def newest_ns(self) -> int:
        """The end of the data that the window holds."""

    def load(self) -> bool:
        """Bring the graph's buffers up to date; whether anything was new."""


class CameraFeed:
    """Pictures of one port.

    Attributes:
        skipped: Pictures left out because the port's rate is lower than the camera's.
        late: Pictures older than the one before, left out.
    """

    def __init__(self, name: str, port: Port, graph: StageGraph) -> None:
        assert port.camera is not None  # the caller chose this feed for a camera port
        self.name = name
        self._settings = port.camera
        self._front = CameraFrontEnd(port.camera)
        self._graph = graph
        self._time_axis = port.camera.layout.find("T")
        self._period_ns = int(NS / port.camera.rate_hz) if port.camera.rate_hz else 0
        self._first_ns: int | None = None
        self._slot = -1
        self._seen = 0
        self._new = False
        self.newest_ns = 0
        self.skipped = 0
        self.late = 0

    @property
    def ready(self) -> bool:
        """A whole window of pictures has been seen."""
        return self._seen >= self._settings.frames

    def push(self, pixels: npt.NDArray[np.uint8], t_ns: int) -> bool:
        """Take in one [H, W, 3] uint8 RGB picture; whether it became part of the window."""
        if self._first_ns is None:
            self._first_ns = t_ns
        elif t_ns <= self.newest_ns:
            self.late += 1
            return False
        if self._period_ns:
            slot = int((t_ns - self._first_ns) / self._period_ns + SLOT_SLACK)
            if slot == self._slot:
                self.skipped += 1
                return False
            self._slot = slot
        if self.name in self._graph.items:
            item = self._graph.items[self.name][0]
            self._front.write(pixels, _without_axis(item, self._time_axis))
            self._graph.push_item(self.name)
        else:
            self._front.push(pixels)
        self.newest_ns = t_ns
        self._seen += 1
        self._new = True
        return True

    def load(self) -> bool:
        """See :class:`Feed`."""
        new, self._new = self._new, False
        if new and self.name not in self._graph.items:
            self._front.write_window(self._graph.tensors[self.name][0])
            self._graph.mark([self.name])
        return new


class AudioFeed:
    """Sound of one port; its time is the count of samples since the first chunk.

    Attributes:
        lost_samples: Samples that never came and were taken as silence.
        late_samples: Samples that had been seen, or taken as silence, before they came.
    """

    def __init__(self, name: str, port: Port, graph: StageGraph) -> None:
        assert port.audio is not None  # the caller chose this feed for an audio port
        self.name = name
        self._settings = port.audio
        self._front = AudioFrontEnd(port.audio)
        self._graph = graph
        self._first_ns: int | None = None
        self._loaded = -1
        self.lost_samples = 0
        self.late_samples = 0

    @property
    def ready(self) -> bool:
        """A whole window of sound has been seen."""
        return self._front.ready

    @property
    def newest_ns(self) -> int:
        """Where the window ends."""
        return self.time_of(self._front.window_end)

    @property
    def seen(self) -> int:
        """Samples taken in so far."""
        return self._front.seen

    def time_of(self, sample: int) -> int:
        """When a sample was taken, by its number since the first one."""
        return (self._first_ns or 0) + sample * NS // self._settings.rate_hz

    def samples_until(self, t_ns: int) -> int:
        """How many samples since the first one were complete at a time."""
        return (t_ns - (self._first_ns or 0)) * self._settings.rate_hz // NS

    def align(self, samples: npt.NDArray[np.float32], t_ns: int) -> npt.NDArray[np.float32]:
        """Samples as the next ones to push: silence put where some were lost, cut where some had been seen before.

        Args:
            samples: [N] of a chunk.
            t_ns: Time of its first sample.
        """
        if self._first_ns is None:
            self._first_ns = t_ns
        offset_ns = t_ns - self.time_of(self.seen)
        if abs(offset_ns) <= GAP_TOLERANCE_NS:
            return samples
        offset = offset_ns * self._settings.rate_hz // NS
        if offset < 0:
            self.late_samples += min(-offset, len(samples))
            return samples[-offset:]
        self.lost_samples += offset
        if offset >= self._settings.window_samples:  # nothing of the old window is left: begin anew
            self._front.reset()
            self._first_ns, self._loaded = t_ns, -1
            return samples
        return np.concatenate([np.zeros(offset, np.float32), samples])

    def push(self, samples: npt.NDArray[np.float32]) -> None:
        """Take in the next samples."""
        self._front.push(samples)

    def load(self) -> bool:
        """See :class:`Feed`."""
        if not self.ready or self._front.window_end == self._loaded:
            return False
        self._front.write(self._graph.tensors[self.name][0])
        self._graph.mark([self.name])
        self._loaded = self._front.window_end
        return True


def _without_axis(array: Array, axis: int) -> npt.NDArray[np.float32]:
    view: npt.NDArray[np.float32] = array if axis < 0 else np.moveaxis(array, axis, 0)[0]
    return view
