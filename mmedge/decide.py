"""One decision: take what each port has, run the head, hand the states on."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from math import inf
from threading import Lock
from time import perf_counter_ns

from mmedge.branches import Branch
from mmedge.choices import Choice, Policy, Sensed
from mmedge.decode import decode
from mmedge.errors import InputError
from mmedge.manifest import Manifest
from mmedge.pace import JUMP_NS
from mmedge.predictions import Observe, Outlet
from mmedge.stages import StageGraph
from mmedge.types import Prediction
from mmedge.weighing import Weighing

__all__ = ["Attribute", "Decider", "Moment"]

Attribute = Callable[[StageGraph], Mapping[str, Mapping[str, float]] | None]


@dataclass(slots=True, kw_only=True, eq=False)
class Moment:
    """A tick that is due.

    Attributes:
        t_ns: Its time.
        pushed_ns: When, on ``perf_counter_ns``, what completed it was pushed.
        until: The number of the port's data that belongs to it, for the port that brings ticks.
        done: It was decided or passed over.
    """

    t_ns: int
    pushed_ns: int
    until: int = 0
    done: bool = False


@dataclass(slots=True)
class _Held:
    """What the head reads of a port.

    Attributes:
        branch: The port.
        encoded: Which of its encodes; 0 for none of them.
        newest_ns: The end of its data.
        told_ns: The same at the previous prediction.
        choice: What the newest tick is decided on in its place.
    """

    branch: Branch
    choice: Choice
    encoded: int = 0
    newest_ns: int | None = None
    told_ns: int | None = None


class Decider:
    """Joins the branches into predictions; may be asked from any thread, and decides one tick at a time.

    Args:
        manifest: The model.
        branches: By port.
        head: The rest of the model.
        policy: What to decide on in place of each port.
        ready: Where predictions go.
        model: What ``prediction.model`` says.

    Attributes:
        head: The rest of the model. What it ``held`` is what the newest decision was made of.
        policy: May be replaced between two ticks, under :attr:`lock`.
        attribute: Asked at every decision, after the head ran and before states advance; what it returns becomes
            ``prediction.attribution``. It must leave the head as it is.
        observers: Called with every prediction of this model, heard or not, in the thread that decided; must not wait.
        lock: Held while a decision is made.
        ticks: Predictions that were made.
        model: What ``prediction.model`` says.
        weighing: The gates of the head, if it has some.
    """

    def __init__(
        self,
        manifest: Manifest,
        branches: Mapping[str, Branch],
        head: StageGraph,
        policy: Policy,
        ready: Outlet,
        model: str = "",
    ) -> None:
        self.head = head
        self.policy = policy
        self.attribute: Attribute | None = None
        self.observers: list[Observe] = []
        self.lock = Lock()
        self.ticks = 0
        self.weighing = Weighing(manifest.gates, head) if manifest.gates else None
        self._described = manifest.outputs
        self._ready = ready
        self.model = model
        self._held = [_Held(branch, Choice()) for branch in branches.values()]
        self._latest_ns: int | None = None

    def decide(self, moment: Moment, overdue: Collection[str] = (), *, in_order: bool = False) -> bool:
        """Make the prediction of a tick, unless that was done or a port has nothing to decide on yet.

        Args:
            moment: The tick.
            overdue: Ports whose own encode was not ready by its deadline.
            in_order: Never let a time lie before the one of the tick before, unless the clock was set.
        """
        with self.lock:
            if moment.done:
                return False
            moment.done = True
            t_ns = moment.t_ns
            if in_order and self._latest_ns is not None and abs(t_ns - self._latest_ns) <= JUMP_NS:
                t_ns = max(t_ns, self._latest_ns)
            for held in self._held:
                held.choice = self._choose(held, t_ns, overdue)
            for held in self._held:
                if not self._apply(held):
                    return False
            self._latest_ns = t_ns
            prediction = self._predict(t_ns, moment.pushed_ns)
            self.ticks += 1
            self._ready.put(prediction)
            for observe in self.observers:
                observe(prediction)
        return True

    def can_do_without(self, names: Collection[str], t_ns: int) -> bool:
        """Whether a tick can be decided while nothing, or nothing any more, is there of some ports."""
        choices = [self._choose(held, t_ns, ()) for held in self._held if held.branch.name in names]
        return all(choice.action in {"replace", "abstain"} for choice in choices)

    def _choose(self, held: _Held, t_ns: int, overdue: Collection[str]) -> Choice:
        port, (encoded, newest_ns) = held.branch.name, held.branch.newest
        age_ms = (t_ns - newest_ns) / 1e6 if encoded else None
        held_age_ms = None if held.newest_ns is None else (t_ns - held.newest_ns) / 1e6
        return self.policy(Sensed(port, t_ns, age_ms, held_age_ms, port in overdue))

    def _apply(self, held: _Held) -> bool:
        """Put into the head what was chosen; False if there is nothing yet."""
        branch, choice = held.branch, held.choice
        if choice.action == "abstain" or (choice.action == "hold" and held.encoded):
            return True
        if choice.action == "replace":
            self._replace(held, choice)
            return True
        encoded, newest_ns = branch.newest
        if not encoded:
            return False
        if encoded != held.encoded:
            encoded, newest_ns = branch.take(self.head.held)
            self.head.mark([branch.name])
        held.encoded, held.newest_ns = encoded, newest_ns
        return True

    def _replace(self, held: _Held, choice: Choice) -> None:
        branch = held.branch
        if choice.tensors.keys() != set(branch.shares):
            given = ", ".join(choice.tensors) or "nothing"
            raise InputError(f"{branch.name} is replaced by {given}; the model reads {', '.join(branch.shares)}")
        for share, values in choice.tensors.items():
            self.head.held[share][...] = values
        self.head.mark([branch.name])
        held.encoded, held.newest_ns = 0, None  # what was encoded last is taken again when it is to be used again

    def _predict(self, t_ns: int, pushed_ns: int) -> Prediction:
        age_ms: dict[str, float] = {}
        fresh: dict[str, bool] = {}
        degraded: tuple[str, ...] = ()
        attribution, abstains, weighing = None, False, self.weighing
        silenced: tuple[str, ...] = ()
        for held in self._held:
            name, end_ns, choice = held.branch.name, held.newest_ns, held.choice
            age_ms[name] = inf if end_ns is None else (t_ns - end_ns) / 1e6
            fresh[name] = end_ns is not None and end_ns != held.told_ns
            held.told_ns = end_ns
            if choice.reason:
                degraded += (f"{name}: {choice.reason}",)
                silenced += (name,) if choice.silences else ()
            abstains = abstains or choice.action == "abstain"
        if weighing is not None and not weighing.apply(silenced):
            degraded += ("gates: every sensor that is left weighs 0; no answer",)
            abstains = True
        if abstains:
            outputs, labels = decode(self.head.tensors, {})
        else:
            self.head.run()
            outputs, labels = decode(self.head.tensors, self._described)
            attribution = self.attribute(self.head) if self.attribute is not None else None
            self.head.feed_back()
        return Prediction(
            t_ns=t_ns,
            outputs=outputs,
            labels=labels,
            age_ms=age_ms,
            fresh=fresh,
            latency_ns=perf_counter_ns() - pushed_ns,
            degraded=degraded,
            attribution=attribution,
            model=self.model,
            gates=None if weighing is None or abstains else weighing.read(),
            weights=None if weighing is None or abstains else weighing.in_force,
        )
