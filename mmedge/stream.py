"""Sensor data in, predictions out: each encoder at its own sensor's rate, a decision at every tick."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from time import monotonic_ns
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from mmedge.backends.base import Session
from mmedge.baseline import Baseline
from mmedge.branches import open_branches, open_head
from mmedge.choices import Policy, parse_max_age
from mmedge.concurrent import Concurrent
from mmedge.decide import Decider
from mmedge.distance import Distances
from mmedge.errors import InputError
from mmedge.feeds import FrontEnd, front_end
from mmedge.health import Health, SensorHealth
from mmedge.ladder import Ladder
from mmedge.manifest import Manifest
from mmedge.policies import merge_policies
from mmedge.predictions import Predictions
from mmedge.serial import Serial
from mmedge.stages import StageGraph
from mmedge.ticks import parse_tick
from mmedge.timers import Timing
from mmedge.types import Array, AudioChunk, Packet, Prediction, TensorReading, TextMessage, VideoFrame

if TYPE_CHECKING:
    from mmedge.attribution import Attribution

__all__ = ["Stream", "StreamOptions"]

MODALITIES = {VideoFrame: "camera", AudioChunk: "audio", TensorReading: "tensor", TextMessage: "text"}
SERIAL_WAITING = 4096  # predictions that nobody fetched; the oldest are dropped and counted beyond
LIVE_WAITING = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """How a stream works; see :meth:`mmedge.Model.stream`.

    Attributes:
        live: A thread for every port, or all in the thread that pushes.
        deadline_ms: For live streams: when a tick is decided at the latest.
        max_age_ms: By port, or for all, instead of what the bundle declares: beyond it a port is missing.
        policies: By port, what to do while it is missing, instead of what the bundle declares.
        policy: What to decide on in place of each port; max_age_ms and policies have no effect beside it.
        attribution: Every how many decisions to say what each port contributed; 0 only when asked to.
        clock: What a live stream reads the time of its grid from, in nanoseconds.

    Raises:
        InputError: They do not fit together.
    """

    live: bool = False
    deadline_ms: float | None = None
    max_age_ms: Mapping[str, float] | float | None = None
    policies: Mapping[str, Sequence[str]] = field(default_factory=dict)
    policy: Policy | None = None
    attribution: int | None = None
    clock: Callable[[], int] = monotonic_ns

    def __post_init__(self) -> None:
        if self.deadline_ms is None:
            return
        if not self.live:
            raise InputError("deadline_ms needs a live stream: pushes of a serial one wait for every encode; live=True")
        if isinstance(self.deadline_ms, bool) or not 0 < self.deadline_ms < inf:
            raise InputError(f"deadline_ms is {self.deadline_ms!r}; expected milliseconds above 0")


class Engine(Protocol):
    """What does the work of a stream."""

    @property
    def counts(self) -> dict[str, int]:
        """What it counts beside the feeds."""

    def push(self, name: str, packet: Packet) -> None:
        """Take in a packet of a port."""

    def close(self) -> None:
        """Take no more packets, and end all threads."""


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
        branches: What depends on one port alone, by port.
        decider: What joins them into predictions; the seam for policies, attribution and observers.
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
        options = options or StreamOptions()
        self._ports = manifest.ports
        self._names: dict[str, list[str]] = {}  # of the ports, by modality
        for name, port in manifest.ports.items():
            self._names.setdefault(port.modality, []).append(name)
        rule = parse_tick(tick, manifest)
        fronts = fronts or {name: front_end(port) for name, port in manifest.ports.items()}
        self.branches = open_branches(manifest, sessions, fronts, live=options.live)
        self._stages = [stage.name for stage in manifest.stages]
        self._predictions = Predictions(LIVE_WAITING if options.live else SERIAL_WAITING)
        self._health = Health(manifest.ports)
        policy = options.policy or self._ladder(manifest, options, baseline)
        self.decider = Decider(manifest, self.branches, open_head(manifest, sessions), policy, self._predictions)
        self._attribution: Attribution | None = None
        if options.attribution is not None:
            self._attribution = _attribution(manifest, sessions, options.attribution, baseline)
            self.decider.attribute = self._attribution
        if baseline is not None and manifest.calibration:
            self.decider.observers.append(Distances(baseline(), self.decider.head, self._health))
        self._engine: Engine
        if options.live:
            deadline_ns = None if options.deadline_ms is None else int(options.deadline_ms * 1e6)
            timing = Timing(tick=rule, deadline_ns=deadline_ns, clock=options.clock)
            self._engine = Concurrent(manifest.name, self.branches, self.decider, timing, self._predictions)
        else:
            self._engine = Serial(manifest, self.branches, self.decider, rule)

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """What was left out or made up so far, by port; may be read from any thread."""
        return {name: branch.feed.counts for name, branch in self.branches.items()}

    @property
    def totals(self) -> dict[str, int]:
        """Predictions so far, those that were dropped because nobody fetched them, and what else was counted."""
        counts = {"ticks": self.decider.ticks, "unfetched": self._predictions.dropped, **self._engine.counts}
        if (made := self._attribution) is not None:
            counts |= {
                "attributed": made.made,
                "attribution_head_calls": made.head_calls,
                "attribution_ns": made.work_ns,
            }
        return counts

    @property
    def health(self) -> dict[str, SensorHealth]:
        """How each sensor is, by port; may be read from any thread."""
        return self._health.states

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
        settings = self._ports[name].audio
        assert settings is not None  # _port found an audio port
        self._push(name, AudioChunk(samples=samples, t_ns=t_ns, rate_hz=settings.rate_hz))

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
        """Give what a source yields; see the methods for each kind."""
        self._push(self._port(port, MODALITIES[type(packet)]), packet)

    def attribute_next(self) -> None:
        """Let the next decision say how much each port contributed.

        Raises:
            InputError: The stream was opened without ``attribution``.
        """
        if self._attribution is None:
            raise InputError("the stream was opened without attribution; open it with model.stream(attribution=0)")
        self._attribution.ask()

    def _push(self, name: str, packet: Packet) -> None:
        self._health.see(name, packet)  # first, as what is wrong with it matters to the ticks that it brings
        self._engine.push(name, packet)

    def poll(self) -> list[Prediction]:
        """The predictions that are ready, oldest first, without waiting.

        Raises:
            StreamError: A thread of a live stream broke; raised once, when the predictions before it were fetched.
        """
        return self._predictions.poll()

    def __iter__(self) -> Iterator[Prediction]:
        """Predictions as they come, until the stream is closed; raises as :meth:`poll` does."""
        return iter(self._predictions)

    def close(self) -> None:
        """Take no more packets; iteration ends when the predictions that are ready were fetched.

        May be called from any thread, and again. The threads of a live stream have ended when it returns, after at most
        the encode that each of them was at.
        """
        self._engine.close()
        self._predictions.close()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ladder(self, manifest: Manifest, options: StreamOptions, baseline: Callable[[], Baseline] | None) -> Ladder:
        limits = parse_max_age(options.max_age_ms, self.branches)
        policies = merge_policies(manifest.policies, options.policies, limits, self.branches)
        means = {}
        if wanted := [name for name, policy in policies.items() if "mean" in policy.missing]:
            if baseline is None:
                raise InputError(f"the policy of {wanted[0]} needs its mean embedding; open the stream of a bundle")
            read = baseline()
            means = {name: read.mean(name) for name in wanted}
        return Ladder(policies, means, self._health.at)

    def _graphs(self) -> list[tuple[str, StageGraph]]:
        """Each stage and the graph that it is part of, in the manifest's order."""
        graphs = [self.decider.head, *(branch.graph for branch in self.branches.values())]
        return [(name, next(graph for graph in graphs if name in graph.runs)) for name in self._stages]

    def _port(self, given: str | None, modality: str) -> str:
        names = self._names.get(modality, [])
        if given is None and len(names) == 1:
            return names[0]
        if given is None or given not in names:
            what = "which of several ports it is for" if given is None else f"the port {given!r}"
            raise InputError(f"{modality} data needs {what}; the model has {', '.join(names) or 'no such port'}")
        return given


def _attribution(
    manifest: Manifest, sessions: Mapping[str, Session], every: int, baseline: Callable[[], Baseline] | None
) -> "Attribution":
    from mmedge.attribution import Attribution

    if baseline is None:
        raise InputError("attribution needs the mean embeddings of a bundle; open the stream with model.stream()")
    return Attribution(manifest, sessions, baseline(), every)
