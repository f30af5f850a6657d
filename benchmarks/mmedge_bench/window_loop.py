"""The loop that people write by hand: keep the last seconds of everything, and compute all of it at every decision."""

from collections import deque
from collections.abc import Mapping
from time import perf_counter_ns
from typing import Any

import numpy as np

from mmedge.decode import decode
from mmedge.errors import InputError
from mmedge.feeds import FrontEnd
from mmedge.manifest import Manifest
from mmedge.stages import StageGraph
from mmedge.ticks import parse_tick
from mmedge.types import Array, AudioChunk, Packet, Prediction, TensorReading, TextMessage, VideoFrame

__all__ = ["WindowLoop"]


class WindowLoop:
    """Front ends and the whole model on whole windows at every tick; nothing is remembered but raw data.

    Args:
        manifest: With a single stage.
        graph: Of it.
        tick: A rate such as "50hz"; only grids, since that is what such loops do.
        fronts: Of every port.
    """

    def __init__(self, manifest: Manifest, graph: StageGraph, tick: str, fronts: Mapping[str, FrontEnd]) -> None:
        self.graph = graph
        self._manifest, self._fronts = manifest, fronts
        self._tick = parse_tick(tick, manifest)
        if self._tick.kind != "grid" or len([p for p in manifest.ports.values() if p.audio]) != 1:
            raise InputError("the hand-written loop decides at a rate such as 50hz, on one microphone")
        self._sound = {n: np.zeros(p.audio.window_samples, np.float32) for n, p in manifest.ports.items() if p.audio}
        self._heard = 0
        self._recent: dict[str, deque[Any]] = {
            name: deque(maxlen=port.camera.frames if port.camera else 1)
            for name, port in manifest.ports.items()
            if not port.audio and not port.state
        }
        self._newest: dict[str, int] = {}
        self._next: int | None = None
        self._ready: list[Prediction] = []

    def push(self, packet: Packet, *, port: str | None = None) -> None:
        """Take a packet; sound brings the decisions."""
        begin = perf_counter_ns()
        assert port is not None  # the suite always says
        self._newest[port] = packet.available_ns
        if isinstance(packet, AudioChunk):
            self._hear(port, packet.samples)
            self._decide(port, packet.available_ns, begin)
        elif isinstance(packet, VideoFrame):
            self._recent[port].append(packet.pixels)
        elif isinstance(packet, TensorReading):
            self._recent[port].append(packet.values)
        elif isinstance(packet, TextMessage):
            self._recent[port].append(packet.text)

    @property
    def work_ns(self) -> Mapping[str, int]:
        """Time spent in the model so far."""
        return self.graph.work_ns

    @property
    def runs(self) -> Mapping[str, int]:
        """How often it ran."""
        return self.graph.runs

    def poll(self) -> list[Prediction]:
        """Predictions since the last call."""
        ready, self._ready = self._ready, []
        return ready

    def close(self) -> None:
        """Nothing is open."""

    def _hear(self, port: str, samples: Array) -> None:
        window = self._sound[port]
        window[: -len(samples)] = window[len(samples) :]
        window[-len(samples) :] = samples
        self._heard += len(samples)

    def _decide(self, port: str, end_ns: int, begin_ns: int) -> None:
        full = all(len(recent) == recent.maxlen for recent in self._recent.values())
        number = self._tick.first_from(end_ns + 1) - 1  # the newest tick that the sound has reached
        if not full or self._heard < len(self._sound[port]) or number == self._next:
            return
        self._next = number
        t_ns = self._tick.at(number)
        for name, front in self._fronts.items():
            if name in self._sound or name in self._recent:
                self.graph.load_window(name, front.window(self._window(name)))
        self.graph.run()
        outputs, labels = decode(self.graph.tensors, self._manifest.outputs)
        self.graph.feed_back()
        self._ready.append(
            Prediction(
                t_ns=t_ns,
                outputs=outputs,
                labels=labels,
                age_ms={name: (t_ns - newest) / 1e6 for name, newest in self._newest.items()},
                fresh=dict.fromkeys(self._newest, True),
                latency_ns=perf_counter_ns() - begin_ns,
            )
        )

    def _window(self, name: str) -> Any:
        if name in self._sound:
            return self._sound[name]
        recent, port = self._recent[name], self._manifest.ports[name]
        return np.stack(recent) if port.camera and port.camera.frames > 1 else recent[-1]
