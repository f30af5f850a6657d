"""What a Python program has already: packets, or arrays with their times."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from mmedge.errors import InputError
from mmedge.sources.live import LiveSource, Modality
from mmedge.sources.recording import Recording
from mmedge.types import AudioChunk, Packet, VideoFrame

__all__ = ["from_packets", "live_from_packets"]


def from_packets(items: Iterable[Any], modality: Modality, *, rate_hz: int | None = None) -> Recording[Packet]:
    """A recording from what an iterable gives, in the iterable's own times.

    Args:
        items: VideoFrame or AudioChunk packets, or pairs of an array and its time: ([H, W, 3] uint8 RGB, t_ns) for a
            camera, ([N] float32 in -1..1, t_ns of the first sample) for sound. Read once, as needed.
        modality: What it gives.
        rate_hz: Samples per second of pairs of sound.

    Raises:
        InputError: Something else is found on the way.
    """
    source: Recording[Packet] = Recording(f"the {modality} iterable", getattr(items, "close", lambda: None))
    source._packets = _packets(items, modality, rate_hz)
    return source


def live_from_packets(items: Iterable[Any], modality: Modality, *, rate_hz: int | None = None) -> LiveSource:
    """A live source from an iterable that waits for its sensor by itself, such as a driver's generator.

    Its times must be those of ``time.monotonic_ns()``. It is read in a thread of its own, where it may wait; an
    exception that it raises is raised where the packets are consumed, SourceError excepted: then it is asked for an
    iterator again, with back-off. Arrays are kept until they were consumed: give new ones.

    Args:
        items: As for `from_packets`; it may give None now and then while it waits, so that it can be stopped.
        modality: What it gives.
        rate_hz: Samples per second of pairs of sound.
    """
    return LiveSource(f"the {modality} iterable", modality, _Given(items, modality, rate_hz).begin)


class _Given:
    """An iterable as a connection."""

    def __init__(self, items: Iterable[Any], modality: Modality, rate_hz: int | None) -> None:
        self._items, self._modality, self._rate_hz = items, modality, rate_hz

    def begin(self, origin_ns: int, counts: Counter[str]) -> "_Given":
        del origin_ns, counts
        return self

    def __iter__(self) -> Iterator[Packet | None]:
        for item in self._items:
            yield None if item is None else _packet(item, self._modality, self._rate_hz)

    def close(self) -> None:
        getattr(self._items, "close", lambda: None)()


def _packets(items: Iterable[Any], modality: Modality, rate_hz: int | None) -> Iterator[Packet]:
    for item in items:
        yield _packet(item, modality, rate_hz)


def _packet(item: Any, modality: Modality, rate_hz: int | None) -> Packet:
    kind = VideoFrame if modality == "camera" else AudioChunk
    if isinstance(item, kind):
        return item
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], np.ndarray):
        values, t_ns = item
        if modality == "camera":
            return VideoFrame(pixels=values, t_ns=t_ns)
        if rate_hz is not None:
            return AudioChunk(samples=values, t_ns=t_ns, rate_hz=rate_hz)
    raise InputError(
        f"the {modality} iterable gave {type(item).__name__}; expected {kind.__name__}, or pairs of an array and t_ns"
    )
