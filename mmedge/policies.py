"""What stands in for a sensor that is missing, and what that costs: the records that a bundle keeps."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Literal, get_args

from mmedge.errors import InputError

__all__ = ["PolicyScore", "PortPolicy", "Step", "merge_policies"]

Step = Literal["hold", "reweight", "mean", "abstain"]
STEPS: tuple[Step, ...] = get_args(Step)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortPolicy:
    """What to decide on while one port is missing.

    A port is missing while it has given no whole window yet, while its newest data is older than ``max_age_ms``, and
    while its sensor is sick (see :mod:`mmedge.health`). Then the first step that is possible is taken:

    * ``hold``: what was encoded last, as long as it is not older than ``max_age_ms`` and is not from after the sensor
      fell sick. A port that has given nothing yet is waited for as long. Without ``max_age_ms`` there is no end to it.
    * ``reweight``: in a head that has gates, this port's is shut, and where gates add up to one, the others open as
      much. What the gates themselves look at of this port is the mean embedding. With every gate shut, no answer.
    * ``mean``: the mean embedding, which is the mean over calibration data of every tensor that the rest of the model
      reads of this port. The answer is then what the model says from its other sensors; with a single sensor left, the
      answer of that sensor alone.
    * ``abstain``: a prediction without outputs; states of a recurrent model do not advance.

    After the last step, what was encoded last is used, however old or sick, and a port that has given nothing yet is
    waited for. ``prediction.degraded`` says in every case what is wrong and what was done.

    Attributes:
        max_age_ms: How old data may be; None for any age.
        missing: The steps, in the order above; () only says what is wrong.

    Raises:
        InputError: A value cannot be.
    """

    max_age_ms: float | None = None
    missing: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        age = self.max_age_ms
        if age is not None and (isinstance(age, bool) or not isinstance(age, int | float) or not 0 < age < inf):
            raise InputError(f"max_age_ms is {age!r}; expected milliseconds above 0")
        if list(self.missing) != [step for step in STEPS if step in self.missing]:
            given = ", ".join(map(str, self.missing))
            raise InputError(f"missing = {given}; expected some of {', '.join(STEPS)}, in this order")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyScore:
    """What is left of one output's score while one port is missing and ``step`` stands in for it.

    To abstain needs no score: no tick has an answer then.

    Attributes:
        port: The port that is missing.
        step: What stands in for it.
        output: The output.
        metric: What was counted.
        windows: On how many windows.
        whole: The score with every sensor; 1 where that is what is compared with.
        score: The score without this one.
        truth: Whether answers were compared with the truth; if not, with those of the whole model.
        max_age_ms: For "hold": the ages that it is the mean over, from none up to this.
    """

    port: str
    step: Step
    output: str
    metric: str
    windows: int
    whole: float
    score: float
    truth: bool
    max_age_ms: float | None = None

    @property
    def instead(self) -> str:
        """What stands in, for people."""
        if self.max_age_ms is not None:
            return f"last {self.max_age_ms:g} ms"
        return "shut gate" if self.step == "reweight" else self.step

    def shown(self, value: float) -> str:
        """The score, or ``whole``, for people: shares as percentages."""
        return f"{value:.2f}" if self.metric.startswith("1 - ") else f"{value:.1%}"


def merge_policies(
    declared: Mapping[str, PortPolicy],
    missing: Mapping[str, Sequence[str]] | None,
    max_age_ms: Mapping[str, float],
    ports: Collection[str],
) -> dict[str, PortPolicy]:
    """A policy for every port: what the bundle declares, with what the caller wants otherwise.

    Args:
        declared: By port.
        missing: Other steps, by port.
        max_age_ms: Other ages, by port.
        ports: Every port that is no state.

    Raises:
        InputError: There is no such port, or no such step.
    """
    merged = {name: declared.get(name, PortPolicy()) for name in ports}
    if missing is not None and not isinstance(missing, Mapping):
        raise InputError(f"policies is {missing!r}; expected steps by port, such as {{'PORT': ['hold', 'mean']}}")
    for name, steps in (missing or {}).items():
        if name not in merged:
            raise InputError(f"policies name {name!r}; the model has {', '.join(ports)}")
        if isinstance(steps, str) or not isinstance(steps, Sequence):
            raise InputError(f"the policy of {name} is {steps!r}; expected a list such as ['hold', 'mean']")
        if unknown := [step for step in steps if step not in STEPS]:
            raise InputError(f"the policy of {name} has {unknown[0]!r}; expected some of {', '.join(STEPS)}")
        merged[name] = replace(merged[name], missing=tuple(step for step in STEPS if step in steps))
        if list(steps) != list(merged[name].missing):
            raise InputError(f"the policy of {name} is {', '.join(steps)}; the order is {', '.join(STEPS)}")
    return {
        name: replace(policy, max_age_ms=max_age_ms[name]) if name in max_age_ms else policy
        for name, policy in merged.items()
    }
