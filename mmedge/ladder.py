"""The policy that the bundle declares: hold, then do without, then no answer."""

from collections.abc import Callable, Mapping

from mmedge.choices import Choice, Sensed
from mmedge.health import Ailment
from mmedge.policies import PortPolicy
from mmedge.types import Array

__all__ = ["Ladder"]

USE = Choice()
WELL = PortPolicy()


class Ladder:
    """A :data:`mmedge.choices.Policy`; see :class:`mmedge.policies.PortPolicy` for what it does.

    Args:
        policies: By port; a port that is left out has none.
        means: For each port whose policy has the step, what its mean embedding is, by tensor.
        ailing: What ails the sensor of a port at a time, None if nothing does.
    """

    def __init__(
        self,
        policies: Mapping[str, PortPolicy],
        means: Mapping[str, Mapping[str, Array]] | None = None,
        ailing: Callable[[str, int], Ailment | None] = lambda _port, _t_ns: None,
    ) -> None:
        self._policies = dict(policies)
        self._ailing = ailing
        self._means = means or {}
        self._asked_ns: dict[str, int] = {}  # when a port was first asked for that has given nothing yet

    def __call__(self, sensed: Sensed) -> Choice:
        """What to decide on in place of one port."""
        policy = self._policies.get(sensed.port, WELL)
        ailment = self._ailing(sensed.port, sensed.t_ns)
        age_ms, limit_ms = sensed.age_ms, policy.max_age_ms
        if age_ms is not None and (limit_ms is None or age_ms <= limit_ms) and (ailment is None or not ailment.sick):
            return _used(sensed, age_ms, limit_ms, ailment)
        why = _why(sensed, limit_ms, ailment)
        for step in policy.missing:
            if step == "hold":
                choice = self._hold(sensed, policy, ailment, why)
            elif step in {"mean", "reweight"}:
                told, shut = ("its mean stands in", False) if step == "mean" else ("its gate is shut", True)
                means = self._means[sensed.port]
                choice = Choice(action="replace", reason=f"{why}; {told}", tensors=means, silences=shut)
            else:
                choice = Choice(action="abstain", reason=f"{why}; no answer")
            if choice is not None:
                return choice
        return Choice(reason=why)

    def _hold(self, sensed: Sensed, policy: PortPolicy, ailment: Ailment | None, why: str) -> Choice | None:
        limit_ms = policy.max_age_ms
        if sensed.age_ms is None:
            waited_ns = sensed.t_ns - self._asked_ns.setdefault(sensed.port, sensed.t_ns)
            if limit_ms is None or 0 <= waited_ns <= limit_ms * 1e6:
                return Choice(reason=why)  # to use what is not there is to wait for it
            return None
        healthy_ns = sensed.t_ns if ailment is None or not ailment.sick else ailment.since_ns
        for action, age_ms in (("use", sensed.age_ms), ("hold", sensed.held_age_ms)):
            fits = age_ms is not None and (limit_ms is None or age_ms <= limit_ms)
            if fits and age_ms is not None and sensed.t_ns - age_ms * 1e6 <= healthy_ns:
                reason = f"{why}; held, {age_ms:.0f} ms old"
                return Choice(action="use" if action == "use" else "hold", reason=reason)
        return None


def _used(sensed: Sensed, age_ms: float, limit_ms: float | None, ailment: Ailment | None) -> Choice:
    """Its data is good enough; what else should be said of it."""
    if limit_ms is not None and age_ms < -limit_ms:
        return Choice(reason=f"{-age_ms:.0f} ms ahead of the tick, more than {limit_ms:g} ms; its clock was set?")
    if sensed.overdue:
        return Choice(reason=f"not ready by the deadline, {age_ms:.0f} ms old")
    return USE if ailment is None else Choice(reason=ailment.describe(sensed.t_ns))


def _why(sensed: Sensed, limit_ms: float | None, ailment: Ailment | None) -> str:
    """Its data is not good enough."""
    if ailment is not None and ailment.sick:
        return ailment.describe(sensed.t_ns)
    return "nothing came yet" if sensed.age_ms is None else f"{sensed.age_ms:.0f} ms old, more than {limit_ms:g} ms"
