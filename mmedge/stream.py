"""Sensor data in, predictions out: each encoder at its own sensor's rate, a decision at every tick.

The order of the pushes is the clock. A tick uses what was pushed before it, and long chunks of sound are cut at the
ticks, so the same packets in the same order give the same predictions whatever the machine's speed.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from threading import Condition, Lock
from time import perf_counter_ns
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from mmedge.decode import decode
from mmedge.errors import ClosedError, InputError
from mmedge.feeds import AudioFeed, CameraFeed, Feed, FrontEnd, ValueFeed, front_end
from mmedge.manifest import Manifest
from mmedge.pace import JUMP_NS
from mmedge.stages import StageGraph
from mmedge.ticks import parse_tick
from mmedge.types import NS, Array, AudioChunk, Packet, Prediction, TensorReading, TextMessage, VideoFrame

__all__ = ["Stream"]

WAITING_LIMIT = 4096  # predictions that nobody fetched; the oldest are dropped and counted beyond


class Stream:
    """One run of a model over sensor data, made by :meth:`mmedge.Model.stream`.

    Pushes may come from any thread; the work of a push is done in the thread that pushes, one at a time. Predictions
    are fetched by :meth:`poll`, which never waits, or by iterating, which waits until :meth:`close`.

    A decision uses what was pushed before it. Sound that is pushed in long chunks brings its ticks when it comes, after
    pictures that may be newer than the tick: then ``age_ms`` of the picture is negative.

    There is no decision before every port has seen a whole window, a tensor or a text. State ports are zeros at the
    first decision; each decision hands its states to the next one, so a recurrent model advances once per tick.

    Attributes:
        graph: The stages with their buffers, run counts and times.
        dropped: Predictions that were never fetched and had to make room.
    """

    def __init__(
        self,
        manifest: Manifest,
        graph: StageGraph,
        tick: str | None,
        fronts: Mapping[str, FrontEnd] | None = None,
    ) -> None:
        self.graph = graph
        self.dropped = 0
        self._manifest = manifest
        ports = manifest.ports
        self._cameras = {n: CameraFeed(n, p, graph) for n, p in ports.items() if p.camera}
        self._audios = {n: AudioFeed(n, p, graph) for n, p in ports.items() if p.audio}
        fronts = fronts or {name: front_end(port) for name, port in ports.items()}
        self._tensors = {n: ValueFeed(n, p, fronts[n], graph) for n, p in ports.items() if p.tensor}
        self._texts = {n: ValueFeed(n, p, fronts[n], graph) for n, p in ports.items() if p.text}
        self._feeds: dict[str, Feed] = {**self._cameras, **self._audios, **self._tensors, **self._texts}
        self._tick = parse_tick(tick, manifest)
        self._early = {name for name in self._feeds if name not in self._audios and self._is_slower(name)}
        self._next_tick: int | None = None  # number on the grid
        self._any_ns = 0
        self._last_ns: dict[str, int] = {}
        self._pushed_ns = 0
        self._predictions: deque[Prediction] = deque()
        self._working = Lock()  # one push at a time; what fetches predictions does not wait for it
        self._changed = Condition()
        self._closed = False

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """What was left out or made up so far, by port."""
        return {name: feed.counts for name, feed in self._feeds.items()}

    def push_frame(self, pixels: npt.NDArray[np.uint8], t_ns: int, *, port: str | None = None) -> None:
        """Give one picture.

        Args:
            pixels: [H, W, 3] uint8 RGB; not kept.
            t_ns: When it was taken.
            port: Which camera port, if the model has several.

        Raises:
            InputError: It does not fit, or there is no such port.
            ClosedError: The stream was closed.
        """
        self.push(VideoFrame(pixels=pixels, t_ns=t_ns), port=port)

    def push_audio(self, samples: npt.NDArray[np.float32], t_ns: int, *, port: str | None = None) -> None:
        """Give a run of samples at the port's rate.

        Args:
            samples: [N] float32 in -1..1; not kept.
            t_ns: When the first one was taken.
            port: Which audio port, if the model has several.

        Raises:
            InputError: They do not fit, or there is no such port.
            ClosedError: The stream was closed.
        """
        name = self._port(port, self._audios, "audio")
        settings = self._manifest.ports[name].audio
        assert settings is not None  # _port found an audio port
        self.push(AudioChunk(samples=samples, t_ns=t_ns, rate_hz=settings.rate_hz), port=name)

    def push_tensor(self, values: Array, t_ns: int, *, port: str | None = None) -> None:
        """Give what a sensor other than camera and microphone measured.

        Args:
            values: Of the port's shape and dtype; not kept.
            t_ns: When it was measured.
            port: Which tensor port, if the model has several.

        Raises:
            InputError: It does not fit, or there is no such port.
            ClosedError: The stream was closed.
        """
        self.push(TensorReading(values=values, t_ns=t_ns), port=port)

    def push_text(self, text: str, t_ns: int, *, port: str | None = None) -> None:
        """Give a text, which holds until the next one.

        Args:
            text: What was said; it may be "".
            t_ns: When.
            port: Which text port, if the model has several.

        Raises:
            InputError: It does not fit, or there is no such port.
            ClosedError: The stream was closed.
        """
        self.push(TextMessage(text=text, t_ns=t_ns), port=port)

    def push(self, packet: Packet, *, port: str | None = None) -> None:
        """Give what a source yields; see the methods for each kind."""
        with self._working:
            if self._closed:
                raise ClosedError("the stream was closed; open a new one with model.stream()")
            self._pushed_ns = perf_counter_ns()
            if isinstance(packet, VideoFrame):
                name = self._port(port, self._cameras, "camera")
                self._push_held(self._cameras[name], packet.pixels, packet.t_ns)
            elif isinstance(packet, TensorReading):
                name = self._port(port, self._tensors, "tensor")
                self._push_held(self._tensors[name], packet.values, packet.t_ns)
            elif isinstance(packet, TextMessage):
                name = self._port(port, self._texts, "text")
                self._push_held(self._texts[name], packet.text, packet.t_ns)
            else:
                self._push_audio(packet, self._port(port, self._audios, "audio"))

    def poll(self) -> list[Prediction]:
        """The predictions that are ready, oldest first, without waiting."""
        with self._changed:
            ready = list(self._predictions)
            self._predictions.clear()
            return ready

    def __iter__(self) -> Iterator[Prediction]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._predictions or self._closed)
                if not self._predictions:
                    return
                prediction = self._predictions.popleft()
            yield prediction

    def close(self) -> None:
        """Take no more packets; iteration ends when the predictions that are ready were fetched."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _port(self, given: str | None, feeds: Mapping[str, object], modality: str) -> str:
        if given is None and len(feeds) == 1:
            return next(iter(feeds))
        if given is None or given not in feeds:
            what = "which of several ports it is for" if given is None else f"the port {given!r}"
            raise InputError(f"{modality} data needs {what}; the model has {', '.join(feeds) or 'no such port'}")
        return given

    def _is_slower(self, name: str) -> bool:
        """Whether a port's data comes more seldom than ticks, so that encoding it as it comes wastes nothing."""
        paced = self._manifest.ports[name].camera or self._manifest.ports[name].tensor
        rate_hz = paced.rate_hz if paced else 0  # a text changes seldom
        return self._tick.kind in {"audio", "grid"} and rate_hz <= self._tick.rate_hz

    def _push_held(self, feed: CameraFeed | ValueFeed, data: Any, t_ns: int) -> None:
        """Take in what stands until the next one comes."""
        self._fire_grid(t_ns - 1)
        if not feed.push(data, t_ns):
            return
        if feed.name in self._early and feed.ready:
            feed.load()
            self.graph.run(only=[feed.name])
        if self._tick.kind == "any":
            self._fire_any(t_ns)
        elif self._tick.port == feed.name:
            self._fire(t_ns)
        elif not self._audios:
            self._fire_grid(t_ns)

    def _push_audio(self, chunk: AudioChunk, name: str) -> None:
        feed, settings = self._audios[name], self._manifest.ports[name].audio
        assert settings is not None  # the name was found among the audio ports
        if chunk.rate_hz != settings.rate_hz:
            raise InputError(f"{name}: sound at {chunk.rate_hz} Hz, expected {settings.rate_hz} Hz; resample it first")
        if not np.isfinite(chunk.samples).all():
            raise InputError(f"{name}: NaN or infinity in the samples at {chunk.t_ns / NS:.3f} s")
        samples = feed.align(chunk.samples, chunk.t_ns)
        self._fire_grid(feed.time_of(feed.seen) - 1)
        while True:
            count = self._until_tick(feed, name, settings.hop_samples)
            if count is None or count > len(samples):
                break
            feed.push(samples[:count])
            samples = samples[count:]
            self._fire(self._tick_time(feed))
        feed.push(samples)
        if self._tick.kind == "any" and len(samples):
            self._fire_any(feed.time_of(feed.seen))

    def _until_tick(self, feed: AudioFeed, name: str, hop: int) -> int | None:
        """Samples of this port up to the next tick, or None if its sound does not bring ticks."""
        if self._tick.port == name:
            return hop - feed.seen % hop
        if self._tick.kind != "grid" or self._next_tick is None:
            return None
        return max(0, feed.samples_until(self._tick.at(self._next_tick)) - feed.seen)

    def _tick_time(self, feed: AudioFeed) -> int:
        if self._tick.kind == "audio" or self._next_tick is None:
            return feed.time_of(feed.seen)
        self._next_tick += 1
        return self._tick.at(self._next_tick - 1)

    def _fire_grid(self, until_ns: int) -> None:
        """The ticks of the grid up to a time, for which no sound came."""
        if self._tick.kind != "grid":
            return
        last = self._tick.first_from(until_ns + 1) - 1
        if self._next_tick is None or self._tick.at(self._next_tick) > until_ns + JUMP_NS:
            self._next_tick = last + 1
        behind = int(self._tick.rate_hz)  # a second of ticks; a clock that jumps is not caught up with
        self._next_tick = max(self._next_tick, last - behind)
        while self._next_tick <= last:
            self._next_tick += 1
            self._fire(self._tick.at(self._next_tick - 1))

    def _fire_any(self, t_ns: int) -> None:
        """Decide now; packets of several sensors do not come in the order of their times."""
        self._any_ns = t_ns if abs(t_ns - self._any_ns) > JUMP_NS else max(t_ns, self._any_ns)
        self._fire(self._any_ns)

    def _fire(self, t_ns: int) -> None:
        if not all(feed.ready for feed in self._feeds.values()):
            return
        for feed in self._feeds.values():
            feed.load()
        self.graph.run()
        newest = {name: feed.newest_ns for name, feed in self._feeds.items()}
        outputs, labels = decode(self.graph.tensors, self._manifest.outputs)
        self.graph.feed_back()
        prediction = Prediction(
            t_ns=t_ns,
            outputs=outputs,
            labels=labels,
            age_ms={name: (t_ns - end_ns) / 1e6 for name, end_ns in newest.items()},
            fresh={name: self._last_ns.get(name) != end_ns for name, end_ns in newest.items()},
            latency_ns=perf_counter_ns() - self._pushed_ns,
        )
        self._last_ns = newest
        with self._changed:
            if len(self._predictions) >= WAITING_LIMIT:
                self._predictions.popleft()
                self.dropped += 1
            self._predictions.append(prediction)
            self._changed.notify_all()
