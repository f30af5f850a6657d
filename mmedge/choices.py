"""What a decision is made of, port by port: the seam for policies about sensors that are old, missing or sick."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from mmedge.errors import InputError
from mmedge.types import Array

__all__ = ["Choice", "Policy", "Sensed", "parse_max_age"]


class Sensed(NamedTuple):
    """What is known of one port at one tick; a tuple, as one is made for every port at every tick.

    Attributes:
        port: Its name.
        t_ns: The tick.
        age_ms: How far the newest data that was encoded lies behind the tick; None if there was none yet.
        held_age_ms: The same for what the tick before was decided on; None at the first tick.
        overdue: Its own encode was not ready by the deadline of the tick.
    """

    port: str
    t_ns: int
    age_ms: float | None
    held_age_ms: float | None
    overdue: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to decide on in place of one port.

    Attributes:
        action: "use" what was encoded last; "hold" what the tick before was decided on; "replace" it by ``tensors``;
            "abstain": give no answer at this tick. To use or hold what is not there is to wait: no prediction then.
        reason: What is wrong, for ``prediction.degraded``; "" if nothing is.
        tensors: For "replace", every tensor that the rest of the model reads of this port, batch axis included, by
            name; copied.
        silences: For "replace", whether the port's gate is shut too, in a head that has gates.
    """

    action: Literal["use", "hold", "replace", "abstain"] = "use"
    reason: str = ""
    tensors: Mapping[str, Array] = field(default_factory=dict)
    silences: bool = False


Policy = Callable[[Sensed], Choice]
"""Asked once for every port at every tick, in the thread that decides; must not wait for anything."""


def parse_max_age(given: Mapping[str, float] | float | None, ports: Mapping[str, object]) -> dict[str, float]:
    """Limits by port, from what a user gives: one number for all, or one for each.

    Args:
        given: Milliseconds.
        ports: Names of the ports that have an age.

    Raises:
        InputError: There is no such port, or a limit is not a number above 0.
    """
    if given is None:
        return {}
    limits = dict(given) if isinstance(given, Mapping) else dict.fromkeys(ports, given)
    for name, limit in limits.items():
        if name not in ports:
            raise InputError(f"max_age_ms names {name!r}; the model has {', '.join(ports)}")
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not limit > 0:
            raise InputError(f"max_age_ms of {name} is {limit!r}; expected milliseconds above 0")
    return limits
