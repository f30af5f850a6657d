"""Between a sensor's packets and a stage graph's buffers: one feed for each port, with the time its data stands for."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mmedge.errors import InputError
from mmedge.features.audio import AudioFrontEnd
from mmedge.features.camera import CameraFrontEnd
from mmedge.features.tensor import TensorFrontEnd
from mmedge.features.text import TextFrontEnd
from mmedge.manifest import Port
from mmedge.pace import JUMP_NS, Pace
from mmedge.stages import StageGraph
from mmedge.types import NS, Array

__all__ = ["AudioFeed", "CameraFeed", "Feed", "FrontEnd", "ValueFeed", "front_end"]

GAP_TOLERANCE_NS = 5_000_000  # a chunk this far from where the count of samples says is still the next one


class FrontEnd(Protocol):
    """What makes a port's tensor, without the batch axis, from one window of raw sensor data."""

    def window(self, data: Any, /) -> Array:
        """The tensor; raises InputError for data that does not fit."""


def front_end(port: Port, read: Callable[[str], bytes] | None = None) -> FrontEnd:
    """The front end of a port.

    Args:
        port: The port.
        read: Gives the bytes of a file of the bundle; text needs its tokenizer from there.

    Raises:
        InputError: It is a text port, and read is not given.
        MissingLibraryError: It is a text port, and tokenizers is not installed.
        SpecError: The tokenizer cannot be used.
    """
    if port.camera is not None:
        return CameraFrontEnd(port.camera)
    if port.audio is not None:
        return AudioFrontEnd(port.audio)
    if port.text is not None:
        if read is None:
            raise InputError(f"{port.text.tokenizer} is needed to read text; give front_end() a way to read it")
        return TextFrontEnd(port.text, read(port.text.tokenizer))
    values = port.tensor or port.state
    assert values is not None  # a port has one of them
    return TensorFrontEnd(values)


class Feed(Protocol):
    """What a stream asks of each port."""

    @property
    def ready(self) -> bool:
        """A whole window has been seen."""

    @property
    def newest_ns(self) -> int:
        """The end of the data that the window holds."""

    @property
    def counts(self) -> dict[str, int]:
        """What was left out or made up so far."""

    def load(self) -> bool:
        """Bring the graph's buffers up to date; whether anything was new."""


class CameraFeed:
    """Pictures of one port."""

    def __init__(self, name: str, port: Port, graph: StageGraph) -> None:
        assert port.camera is not None  # the caller chose this feed for a camera port
        self.name = name
        self._settings = port.camera
        self._front = CameraFrontEnd(port.camera)
        self._graph = graph
        self._time_axis = port.camera.layout.find("T")
        self._pace = Pace(port.camera.rate_hz)
        self._new = False

    @property
    def ready(self) -> bool:
        """A whole window of pictures has been seen."""
        return self._pace.taken >= self._settings.frames

    @property
    def newest_ns(self) -> int:
        """When the newest picture was taken."""
        return self._pace.newest_ns

    @property
    def counts(self) -> dict[str, int]:
        """See :class:`Feed`."""
        return self._pace.counts

    def push(self, pixels: npt.NDArray[np.uint8], t_ns: int) -> bool:
        """Take in one [H, W, 3] uint8 RGB picture; whether it became part of the window."""
        if not self._pace.wants(t_ns):
            return False
        if self._pace.jumped(t_ns):
            self._front.reset()
        if self.name in self._graph.items:
            item = self._graph.items[self.name][0]
            self._front.write(pixels, _without_axis(item, self._time_axis))
            self._graph.push_item(self.name)
        else:
            self._front.push(pixels)
        self._pace.take(t_ns)
        self._new = True
        return True

    def load(self) -> bool:
        """See :class:`Feed`."""
        new, self._new = self._new, False
        if new and self.name not in self._graph.items:
            self._front.write_window(self._graph.tensors[self.name][0])
            self._graph.mark([self.name])
        return new


class ValueFeed:
    """Tensors or texts of one port, each of which stands until the next one comes.

    A value that equals the one before is newer and not computed again.
    """

    def __init__(self, name: str, port: Port, front: FrontEnd, graph: StageGraph) -> None:
        self.name = name
        self._front = front
        self._graph = graph
        self._pace = Pace(port.tensor.rate_hz if port.tensor else 0)
        self._new = False

    @property
    def ready(self) -> bool:
        """A value has been seen."""
        return self._pace.taken > 0

    @property
    def newest_ns(self) -> int:
        """When the newest value was taken."""
        return self._pace.newest_ns

    @property
    def counts(self) -> dict[str, int]:
        """See :class:`Feed`."""
        return self._pace.counts

    def push(self, value: Any, t_ns: int) -> bool:
        """Take in one value, which is not kept; whether it stands now.

        Raises:
            InputError: It does not fit.
        """
        try:
            window = self._front.window(value)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error
        if not self._pace.wants(t_ns):
            return False
        if not self.ready or not np.array_equal(window, self._graph.tensors[self.name][0]):
            self._graph.load_window(self.name, window)
        self._pace.take(t_ns)
        self._new = True
        return True

    def load(self) -> bool:
        """See :class:`Feed`."""
        new, self._new = self._new, False
        return new


class AudioFeed:
    """Sound of one port; its time is the count of samples since the first chunk."""

    def __init__(self, name: str, port: Port, graph: StageGraph) -> None:
        assert port.audio is not None  # the caller chose this feed for an audio port
        self.name = name
        self._settings = port.audio
        self._graph = graph
        spec = graph.specs[name]
        by_item = name in graph.items
        self._front = AudioFrontEnd(port.audio, columns=spec.item_size if by_item else 1)
        self._items = spec.items
        self._window = np.zeros(port.shape, np.float32) if by_item else graph.tensors[name][0]
        self._first_ns: int | None = None
        self._loaded = -1
        self._lost = 0
        self._late = 0
        self._jumps = 0

    @property
    def ready(self) -> bool:
        """A whole window of sound has been seen."""
        return self._front.ready

    @property
    def newest_ns(self) -> int:
        """Where the window ends."""
        return self.time_of(self._front.window_end)

    @property
    def counts(self) -> dict[str, int]:
        """Samples taken as silence because they did not come, those that came too late, and how often it began anew."""
        return {"lost_samples": self._lost, "late_samples": self._late, "jumps": self._jumps}

    @property
    def seen(self) -> int:
        """Samples taken in so far."""
        return self._front.seen

    @property
    def window_end(self) -> int:
        """The number of samples since the first one at which the window ends."""
        return self._front.window_end

    def time_of(self, sample: int) -> int:
        """When a sample was taken, by its number since the first one."""
        return (self._first_ns or 0) + sample * NS // self._settings.rate_hz

    def samples_until(self, t_ns: int) -> int:
        """How many samples since the first one were complete at a time: the last n with ``time_of(n) <= t_ns``."""
        return ((t_ns - (self._first_ns or 0) + 1) * self._settings.rate_hz - 1) // NS

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
        if offset >= self._settings.window_samples or offset_ns < -JUMP_NS:  # nothing of the old window is left
            self._jumps += 1
            self._front.reset()
            self._first_ns, self._loaded = t_ns, -1
            return samples
        if offset < 0:
            self._late += min(-offset, len(samples))
            return samples[-offset:]
        self._lost += offset
        return np.concatenate([np.zeros(offset, np.float32), samples])

    def push(self, samples: npt.NDArray[np.float32]) -> None:
        """Take in the next samples."""
        self._front.push(samples)

    def load(self) -> bool:
        """See :class:`Feed`."""
        if not self.ready or self._front.window_end == self._loaded:
            return False
        end = self._front.window_end
        self._front.write(self._window)
        if self.name in self._graph.items:
            new = self._items if self._loaded < 0 else (end - self._loaded) // self._front.step
            self._graph.push_items(self.name, self._window, min(new, self._items))
        else:
            self._graph.mark([self.name])
        self._loaded = end
        return True


def _without_axis(array: Array, axis: int) -> npt.NDArray[np.float32]:
    view: npt.NDArray[np.float32] = array if axis < 0 else np.moveaxis(array, axis, 0)[0]
    return view
