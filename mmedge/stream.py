"""Sensor data in, predictions out: each encoder at its own sensor's rate, a decision at every tick."""

import sys
from collections.abc import Callable, Iterator, Mapping
from threading import Lock, RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mmedge.backends.base import Session
from mmedge.baseline import Baseline
from mmedge.branches import Branch
from mmedge.decide import Decider
from mmedge.errors import ClosedError, InputError
from mmedge.feeds import FrontEnd
from mmedge.health import SensorHealth
from mmedge.manifest import Manifest
from mmedge.predictions import Observe, Predictions
from mmedge.stages import StageGraph
from mmedge.ticks import parse_tick
from mmedge.types import Array, AudioChunk, Packet, Prediction, TensorReading, TextMessage, VideoFrame
from mmedge.works import Engine, Parts, StreamOptions, Works

if TYPE_CHECKING:
    from mmedge.metrics import Metrics

__all__ = ["Stream", "StreamOptions", "Tap"]

MODALITIES = {VideoFrame: "camera", AudioChunk: "audio", TensorReading: "tensor", TextMessage: "text"}
SERIAL_WAITING = 4096  # predictions that nobody fetched; the oldest are dropped and counted beyond
LIVE_WAITING = 256

Tap = Callable[[str, Packet], None]


class Stream:
    """One run of a model over sensor data, made by :meth:`mmedge.Model.stream`.

    Pushes may come from any thread. Predictions are fetched by :meth:`poll`, which never waits, or by iterating, which
    waits until :meth:`close`.

    A serial stream does all work of a push in the thread that pushes, one push at a time, and a decision uses what was
    pushed before it. Sound that is pushed in long chunks brings its ticks when it comes, after pictures that may be
    newer than the tick: then ``age_ms`` of the picture is negative.

    A live stream has a thread for every port, and pushes do not wait for the model. A decision never waits for another
    port's encode: it is made of what that port finished last. What comes faster than it can be encoded makes the oldest
    go, and is counted.

    There is no decision before every port has seen a whole window, a tensor or a text. State ports are zeros at the
    first decision; each decision hands its states to the next one, so a recurrent model advances once per tick.

    Args:
        manifest: The model.
        sessions: What computes each stage.
        tick: When to decide, as :func:`mmedge.ticks.parse_tick` reads it.
        fronts: The front end of every port; made here if left out.
        options: How to work.
        baseline: Gives the statistics of the bundle, for mean embeddings and for what is unusual.

    Attributes:
        tick: When it decides.
        options: How it works.
        works: The model that decides now.
        engine: What packets are given to: the works, or the two of a swap.
        predictions: Where decisions wait to be fetched.
        exchanging: Held while a swap takes in a decision, or changes who is heard; one for all swaps of the stream.
        taps: Called with every packet before it is worked on, in the thread that pushes; must not wait, nor keep it.
        weights: What :meth:`reweight` was given last.
    """

    def __init__(
        self,
        manifest: Manifest,
        sessions: Mapping[str, Session],
        tick: str | None = None,
        fronts: Mapping[str, FrontEnd] | None = None,
        options: StreamOptions | None = None,
        baseline: Callable[[], Baseline] | None = None,
    ) -> None:
        self.options = options = options or StreamOptions()
        self._names: dict[str, list[str]] = {}  # of the ports, by modality
        for name, port in manifest.ports.items():
            self._names.setdefault(port.modality, []).append(name)
        self._rates_hz = {name: port.audio.rate_hz for name, port in manifest.ports.items() if port.audio}
        self.tick = parse_tick(tick, manifest)
        self.predictions = Predictions(LIVE_WAITING if options.live else SERIAL_WAITING)
        self.taps: list[Tap] = []
        self.weights: Mapping[str, float] = {}
        self._metrics: Metrics | None = None
        self._making = Lock()
        self.exchanging = RLock()
        parts = Parts(manifest=manifest, sessions=sessions, fronts=fronts, baseline=baseline)
        self.works = Works(parts, self.tick, options, self.predictions)
        self.engine: Engine = self.works
        if _is_logged():
            from mmedge.journal import Journal

            self.observers.append(Journal(self))

    @property
    def branches(self) -> Mapping[str, Branch]:
        """What depends on one port alone, by port."""
        return self.works.branches

    @property
    def decider(self) -> Decider:
        """What joins the branches into predictions; the seam for policies and attribution."""
        return self.works.decider

    @property
    def observers(self) -> list[Observe]:
        """Called with every prediction, in the thread that decided; must not wait for anything."""
        return self.predictions.observers

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """What was left out or made up so far, by port; may be read from any thread."""
        return {name: branch.feed.counts for name, branch in self.branches.items()}

    @property
    def totals(self) -> dict[str, int]:
        """Predictions so far, those that were dropped because nobody fetched them, and what else was counted."""
        return {"ticks": self.predictions.taken, "unfetched": self.predictions.dropped, **self.engine.counts}

    @property
    def health(self) -> dict[str, SensorHealth]:
        """How each sensor is, by port; may be read from any thread."""
        return self.works.health.states

    def metrics(self) -> dict[str, Any]:
        """Counts and histograms as JSON can hold them; see docs/observing.md. From any thread.

        The first call begins to observe: call it once before the first packet to have every tick in the histograms.
        """
        if self._metrics is None:
            with self._making:
                if self._metrics is None:
                    from mmedge.metrics import Metrics

                    self._metrics = Metrics(self, list(self.branches))
                    self.observers.append(self._metrics)
        return self._metrics.snapshot()

    @property
    def runs(self) -> dict[str, int]:
        """How often each stage ran."""
        return {name: graph.runs[name] for name, graph in self._graphs()}

    @property
    def work_ns(self) -> dict[str, int]:
        """Time spent in each stage's session so far."""
        return {name: graph.work_ns[name] for name, graph in self._graphs()}

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
            InputError: They do not fit, or there is no such port; NaN too, unless the stream is live, which counts it
                and takes the samples as lost.
            ClosedError: The stream was closed.
        """
        name = self._port(port, "audio")
        self._push(name, AudioChunk(samples=samples, t_ns=t_ns, rate_hz=self._rates_hz[name]))

    def push_tensor(self, values: Array, t_ns: int, *, port: str | None = None) -> None:
        """Give what a sensor other than camera and microphone measured.

        Args:
            values: Of the port's shape and dtype; not kept.
            t_ns: When it was measured.
            port: Which tensor port, if the model has several.

        Raises:
            InputError: It does not fit, or there is no such port; NaN too, unless the stream is live, which counts it
                and leaves the values out.
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
        """Give what a source yields; see the methods for each kind.

        Raises:
            InputError: It is no packet, does not fit, or there is no such port.
            ClosedError: The stream was closed.
        """
        modality = MODALITIES.get(type(packet))
        if modality is None:
            expected = ", ".join(kind.__name__ for kind in MODALITIES)
            raise InputError(f"push() takes a packet ({expected}), not {type(packet).__name__}")
        self._push(self._port(port, modality), packet)

    def attribute_next(self) -> None:
        """Let the next decision say how much each port contributed.

        Raises:
            InputError: The stream was opened without ``attribution``.
        """
        if self.works.attribution is None:
            raise InputError("the stream was opened without attribution; open it with model.stream(attribution=0)")
        self.works.attribution.ask()

    def reweight(self, weights: Mapping[str, float]) -> None:
        """Turn sensors down or up from the next tick on, in a head that has gates; from any thread.

        Args:
            weights: By port; what is left out weighs 1, as the model was trained. 0 shuts a gate, and where gates add
                up to one, the others open as much. A swap keeps them.

        Raises:
            InputError: The head has no gates, or none of such a port; or a weight is neither 0 nor between 0.001 and
                1000, or every one is 0.
            ClosedError: The stream was closed.
        """
        with self.exchanging:
            if self.predictions.closed:
                raise ClosedError("the stream was closed; open another one with model.stream()")
            self.engine.weigh(weights)
            self.weights = dict(weights)

    def _push(self, name: str, packet: Packet) -> None:
        for tap in self.taps:
            tap(name, packet)
        self.engine.push(name, packet)

    def poll(self) -> list[Prediction]:
        """The predictions that are ready, oldest first, without waiting.

        Raises:
            StreamError: A thread of a live stream broke; raised once, when the predictions before it were fetched.
        """
        return self.predictions.poll()

    def __iter__(self) -> Iterator[Prediction]:
        """Predictions as they come, until the stream is closed; raises as :meth:`poll` does."""
        return iter(self.predictions)

    def close(self) -> None:
        """Take no more packets; iteration ends when the predictions that are ready were fetched.

        May be called from any thread, and again. The threads of a live stream have ended when it returns, after at most
        the encode that each of them was at.
        """
        self.engine.close()
        self.predictions.close()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _graphs(self) -> list[tuple[str, StageGraph]]:
        """Each stage and the graph that it is part of, in the manifest's order."""
        names, graphs = [stage.name for stage in self.works.manifest.stages], self.works.graphs
        return [(name, next(graph for graph in graphs if name in graph.runs)) for name in names]

    def _port(self, given: str | None, modality: str) -> str:
        names = self._names.get(modality, [])
        if given is None and len(names) == 1:
            return names[0]
        if not names:
            held = ", ".join(kind for kind in self._names if kind != "state")
            raise InputError(f"the model has no {modality} port; expected data of {held}")
        if given is None or given not in names:
            what = "which of several ports it is for" if given is None else f"the port {given!r}"
            raise InputError(f"{modality} data needs {what}; the model has {', '.join(names)}")
        return given


def _is_logged() -> bool:
    """Whether the program has set up logging, for mmedge or for all."""
    logging = sys.modules.get("logging")
    return logging is not None and logging.getLogger("mmedge").hasHandlers()
