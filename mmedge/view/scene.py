"""What the page shows of a stream: gathered at no cost for who decides, put together when somebody looks."""

from base64 import b64encode
from collections import deque
from collections.abc import Callable, Mapping
from math import isfinite
from time import monotonic_ns
from typing import Any

import numpy as np
import numpy.typing as npt

from mmedge.errors import needs
from mmedge.metrics import merge_sensors
from mmedge.stream import Stream
from mmedge.types import NS, AudioChunk, Packet, Prediction, VideoFrame
from mmedge.view.spectrogram import BANDS, COLUMNS_HZ, Spectrogram

__all__ = ["Scene", "Statuses"]

PICTURES_HZ = 12
LONGEST_PX = 640  # of a picture's longer side
QUALITY = 80
HISTORY = 1200  # decisions that a page shows that is opened late; more than 20 s at 50 per second
SHOWN_VALUES = 24  # of an output
SOUND_CHUNKS = 200
METRICS_NS = NS // 2

Statuses = Callable[[], Mapping[str, Any]]
"""Gives the status of sensors by port: things with ``state``, ``detail`` and ``counts``."""


class Scene:
    """Gathers in the threads that push and decide, without waiting; :meth:`news` is for one other thread.

    Args:
        stream: Observed from now on, until :meth:`close`.
        statuses: What is known of its sensors beside the stream.

    Attributes:
        watched: Whether somebody looks; pictures and sound are not gathered otherwise.
        jpegs: The newest picture of each camera port, by its place in the description.
    """

    def __init__(self, stream: Stream, statuses: Statuses | None = None) -> None:
        self._stream, self._statuses = stream, statuses
        self._cv2 = needs("cv2", fix="pip install 'mmedge[cpu]'")
        self.watched = False
        self.jpegs: dict[int, bytes] = {}
        self._numbers: dict[int, int] = {}
        ports = stream.works.manifest.ports
        self._cameras = {name: i for i, name in enumerate(n for n, port in ports.items() if port.camera)}
        self._sounds = {name: Spectrogram(port.audio.rate_hz) for name, port in ports.items() if port.audio}
        self._pictures: dict[str, npt.NDArray[np.uint8]] = {}  # by port
        self._drawn_ns = dict.fromkeys(self._cameras, 0)
        self._chunks: deque[tuple[str, npt.NDArray[np.float32]]] = deque(maxlen=SOUND_CHUNKS)
        self._waiting: deque[Prediction] = deque(maxlen=HISTORY)
        self._history: deque[Prediction] = deque(maxlen=HISTORY)
        self._origin_ns: int | None = None
        self._metrics_ns = 0
        stream.metrics()
        stream.taps.append(self._tap)
        stream.observers.append(self._waiting.append)

    def close(self) -> None:
        """Observe no more."""
        self._stream.taps.remove(self._tap)
        self._stream.observers.remove(self._waiting.append)

    def description(self) -> dict[str, Any]:
        """What stays: names, sizes, and the decisions of the last seconds."""
        manifest = self._stream.works.manifest
        return {
            "name": manifest.name,
            "live": self._stream.options.live,
            "tick": self._stream.tick.text,
            "ports": {name: port.modality for name, port in manifest.ports.items() if not port.state},
            "cameras": self._cameras,
            "sounds": {
                name: {"bands": BANDS, "columns_hz": COLUMNS_HZ, "edges_hz": [round(hz) for hz in each.edges_hz]}
                for name, each in self._sounds.items()
            },
            "outputs": {
                name: {"task": output.task, "labels": output.labels, "unit": output.unit}
                for name, output in manifest.outputs.items()
            },
            "history": self._decisions(list(self._history)),
            "metrics": self.snapshot(),
        }

    def news(self) -> dict[str, Any]:
        """What happened since the last time."""
        fresh = [self._waiting.popleft() for _ in range(len(self._waiting))]
        self._history.extend(fresh)
        found: dict[str, Any] = {"decisions": self._decisions(fresh)}
        if fresh:
            found["now"] = self._now(fresh[-1])
        if self.watched:
            self._draw()
            found["pictures"] = dict(self._numbers)
            found["sound"] = self._hear()
        found["health"] = {port: each.state for port, each in self._stream.health.items()}
        now_ns = monotonic_ns()
        if now_ns - self._metrics_ns >= METRICS_NS:
            self._metrics_ns = now_ns
            found["metrics"] = self.snapshot()
        if self._statuses is not None:
            found["sensors"] = {
                port: {"state": status.state, "detail": status.detail} for port, status in self._statuses().items()
            }
        return found

    def snapshot(self) -> dict[str, Any]:
        """The metrics, with what is known of the sensors; from any thread."""
        return merge_sensors(self._stream.metrics(), self._statuses() if self._statuses else {})

    def _tap(self, port: str, packet: Packet) -> None:
        if not self.watched:
            return
        if isinstance(packet, VideoFrame):
            now_ns = monotonic_ns()
            if now_ns - self._drawn_ns[port] >= NS // PICTURES_HZ:
                self._drawn_ns[port] = now_ns
                step = max(1, -(-max(packet.pixels.shape) // LONGEST_PX))
                self._pictures[port] = packet.pixels[::step, ::step].copy()
        elif isinstance(packet, AudioChunk):
            self._chunks.append((port, packet.samples.copy()))

    def _draw(self) -> None:
        for port in list(self._pictures):
            pixels = self._pictures.pop(port)
            if 0 in pixels.shape:
                continue
            ok, jpeg = self._cv2.imencode(".jpg", pixels[:, :, ::-1], [self._cv2.IMWRITE_JPEG_QUALITY, QUALITY])
            if ok:
                place = self._cameras[port]
                self.jpegs[place] = jpeg.tobytes()
                self._numbers[place] = self._numbers.get(place, 0) + 1

    def _hear(self) -> dict[str, str]:
        chunks: dict[str, list[npt.NDArray[np.float32]]] = {}
        for _ in range(len(self._chunks)):
            port, samples = self._chunks.popleft()
            chunks.setdefault(port, []).append(samples)
        columns = {port: self._sounds[port].push(np.concatenate(each)) for port, each in chunks.items()}
        return {port: b64encode(each.tobytes()).decode() for port, each in columns.items() if len(each)}

    def _decisions(self, predictions: list[Prediction]) -> dict[str, Any]:
        if predictions and self._origin_ns is None:
            self._origin_ns = predictions[0].t_ns
        return {
            "t_ms": [(each.t_ns - (self._origin_ns or 0)) / 1e6 for each in predictions],
            "outputs": {
                name: [_rounded(each.outputs.get(name)) for each in predictions]
                for name in self._stream.works.manifest.outputs
            },
            "ages": {name: [_finite(each.age_ms.get(name)) for each in predictions] for name in self._stream.branches},
            "degraded": [bool(each.degraded) for each in predictions],
        }

    def _now(self, newest: Prediction) -> dict[str, Any]:
        return {
            "model": newest.model,
            "labels": newest.labels,
            "age_ms": {port: _finite(age) for port, age in newest.age_ms.items()},
            "latency_ms": newest.latency_ns / 1e6,
            "degraded": newest.degraded,
            "abstained": newest.abstained,
            "attribution": newest.attribution and {name: dict(each) for name, each in newest.attribution.items()},
        }


def _rounded(values: npt.NDArray[np.float32] | None) -> list[float | None]:
    """The first values of an output."""
    if values is None:
        return []
    return [round(float(value), 4) if isfinite(value) else None for value in values.reshape(-1)[:SHOWN_VALUES]]


def _finite(value: float | None) -> float | None:
    return round(value, 1) if value is not None and isfinite(value) else None
