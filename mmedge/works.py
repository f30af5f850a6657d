"""One model at work in a stream: all that a swap exchanges."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from time import monotonic_ns, perf_counter_ns
from typing import TYPE_CHECKING, Protocol

from mmedge.backends.base import Session
from mmedge.baseline import Baseline
from mmedge.branches import Branch, open_branches, open_head
from mmedge.choices import Policy, parse_max_age
from mmedge.concurrent import Concurrent
from mmedge.decide import Decider
from mmedge.distance import Distances
from mmedge.errors import InputError
from mmedge.feeds import FrontEnd, front_end
from mmedge.gates import parse_weights, shut_out
from mmedge.health import Health
from mmedge.ladder import Ladder
from mmedge.manifest import Manifest
from mmedge.policies import merge_policies
from mmedge.predictions import Outlet, Valve
from mmedge.serial import Serial
from mmedge.stages import StageGraph
from mmedge.ticks import Tick
from mmedge.timers import Timing
from mmedge.types import Packet

if TYPE_CHECKING:
    from mmedge.attribution import Attribution

__all__ = ["Engine", "Parts", "StreamOptions", "Works"]


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
        model: What its predictions say they are of.

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
    model: str = ""

    def __post_init__(self) -> None:
        if not callable(self.clock):
            raise InputError(f"clock is {self.clock!r}; expected a function that gives nanoseconds")
        if self.deadline_ms is None:
            return
        if not self.live:
            raise InputError("deadline_ms needs a live stream: pushes of a serial one wait for every encode; live=True")
        number = isinstance(self.deadline_ms, int | float) and not isinstance(self.deadline_ms, bool)
        if not number or not 0 < self.deadline_ms < inf:
            raise InputError(f"deadline_ms is {self.deadline_ms!r}; expected milliseconds above 0")


class Engine(Protocol):
    """What does the work of a stream."""

    @property
    def counts(self) -> dict[str, int]:
        """What it counts beside the feeds."""

    def push(self, name: str, packet: Packet) -> None:
        """Take in a packet of a port."""

    def weigh(self, weights: Mapping[str, float]) -> None:
        """Weigh modalities so from the next tick on."""

    def close(self) -> None:
        """Take no more packets, and end all threads."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """What a model at work is made of.

    Attributes:
        manifest: The model.
        sessions: What computes each stage.
        fronts: The front end of every port; made here if left out.
        baseline: Gives the statistics of the bundle, for mean embeddings and for what is unusual.
    """

    manifest: Manifest
    sessions: Mapping[str, Session]
    fronts: Mapping[str, FrontEnd] | None = None
    baseline: Callable[[], Baseline] | None = None


class Works:
    """One model at work: its branches, its decider, and what drives them.

    Args:
        parts: What it is made of.
        tick: When it decides.
        options: How it works.
        outlet: Where predictions go.

    Attributes:
        manifest: The model.
        branches: What depends on one port alone, by port.
        decider: What joins them into predictions.
        health: How the sensors are.
        attribution: Who says what each port contributed, if somebody does.
        valve: Leads its predictions to the outlet, and may be set to lead elsewhere.
    """

    def __init__(self, parts: Parts, tick: Tick, options: StreamOptions, outlet: Outlet) -> None:
        self.manifest = manifest = parts.manifest
        fronts = parts.fronts or {name: front_end(port) for name, port in manifest.ports.items()}
        self.branches: Mapping[str, Branch] = open_branches(manifest, parts.sessions, fronts, live=options.live)
        self.health = Health(manifest.ports)
        self.valve = Valve(outlet)
        policy = options.policy or self._ladder(options, parts.baseline)
        head = open_head(manifest, parts.sessions)
        self.decider = Decider(manifest, self.branches, head, policy, self.valve, options.model)
        self.attribution: Attribution | None = None
        if options.attribution is not None:
            self.attribution = _attribution(manifest, parts.sessions, options.attribution, parts.baseline)
            self.decider.attribute = self.attribution
        if parts.baseline is not None and manifest.calibration:
            self.decider.observers.append(Distances(parts.baseline(), head, self.health))
        self._engine: Serial | Concurrent
        if options.live:
            deadline_ns = None if options.deadline_ms is None else int(options.deadline_ms * 1e6)
            timing = Timing(tick=tick, deadline_ns=deadline_ns, clock=options.clock)
            self._engine = Concurrent(manifest.name, self.branches, self.decider, timing, self.valve)
        else:
            self._engine = Serial(manifest, self.branches, self.decider, tick)

    @property
    def graphs(self) -> list[StageGraph]:
        """The head and the branches' own stages."""
        return [self.decider.head, *(branch.graph for branch in self.branches.values())]

    @property
    def counts(self) -> dict[str, int]:
        """What it counts beside the feeds."""
        if (made := self.attribution) is None:
            return self._engine.counts
        return self._engine.counts | {
            "attributed": made.made,
            "attribution_head_calls": made.head_calls,
            "attribution_ns": made.work_ns,
        }

    def push(self, name: str, packet: Packet) -> None:
        """Take in a packet of a port.

        Raises:
            InputError: It does not fit.
            ClosedError: Used after close(), or after a thread broke.
        """
        pushed_ns = perf_counter_ns()
        self.health.see(name, packet)  # first, as what is wrong with it matters to the ticks that it brings
        self._engine.push(name, packet, pushed_ns)

    def weigh(self, weights: Mapping[str, float]) -> None:
        """Weigh modalities so from the next tick on; may be called from any thread.

        Raises:
            InputError: The head has no gates, or none of such a port; or a weight cannot be.
        """
        parsed = parse_weights(weights, self.manifest.gates)
        if self.decider.weighing is not None:
            self.decider.weighing.wanted = parsed

    def close(self) -> None:
        """Take no more packets, and end all threads."""
        self._engine.close()

    def _ladder(self, options: StreamOptions, baseline: Callable[[], Baseline] | None) -> Ladder:
        limits = parse_max_age(options.max_age_ms, self.branches)
        policies = merge_policies(self.manifest.policies, options.policies, limits, self.branches)
        means = {}
        shut_out(policies, self.manifest.gates)
        if wanted := [name for name, policy in policies.items() if {"mean", "reweight"} & set(policy.missing)]:
            if baseline is None:
                raise InputError(f"the policy of {wanted[0]} needs its mean embedding; open the stream of a bundle")
            read = baseline()
            means = {name: read.mean(name) for name in wanted}
        return Ladder(policies, means, self.health.at)


def _attribution(
    manifest: Manifest, sessions: Mapping[str, Session], every: int, baseline: Callable[[], Baseline] | None
) -> "Attribution":
    from mmedge.attribution import Attribution

    if baseline is None:
        raise InputError("attribution needs the mean embeddings of a bundle; open the stream with model.stream()")
    return Attribution(manifest, sessions, baseline(), every)
