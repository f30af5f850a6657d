"""Gates: what a head scales each sensor by, and the weights that turn a sensor down at run time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mmedge.errors import BundleError, InputError
from mmedge.policies import PortPolicy

__all__ = ["GATE_VALUES", "GATE_WEIGHTS", "Gates", "parse_weights", "shut_out"]

GATE_WEIGHTS = "modality_weights"  # the tensor that the head reads
GATE_VALUES = "modality_gates"  # the tensor that it makes
LEAST, MOST = 1e-3, 1e3  # which every precision can hold; 0 turns a sensor off


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """The gates of a head. At export it was proved which of them scales which port.

    The head reads a weight for each port, 1 for what the model was trained for, float32 [P], and makes how much each
    port was let through, float32 [P]: the mean of its gates after the weights.

    Attributes:
        kind: "softmax": gates of a softmax, g w / sum(g w) with the weights w; "complement": z and 1 - z of a sigmoid,
            likewise; "sigmoid": gates that do not depend on one another, g w.
        ports: In the order of the weights.

    Raises:
        BundleError: There are fewer than two ports, or one of them twice.
    """

    kind: Literal["softmax", "complement", "sigmoid"]
    ports: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.ports)) != len(self.ports) or len(self.ports) < 2:
            raise BundleError(f"gates are of several ports, each once, not of {', '.join(self.ports) or 'none'}")


def parse_weights(given: object, gates: Gates | None) -> dict[str, float]:
    """A weight for every port with a gate, from what a user gives.

    Args:
        given: A number by port; what is left out weighs 1.
        gates: Of the model's head, if it has some.

    Raises:
        InputError: The head has no gates, or none of such a port; or a weight is neither 0 nor between 0.001 and 1000,
            or every one is 0.
    """
    if not isinstance(given, Mapping):
        raise InputError(f"weights are {type(given).__name__}; expected one for each sensor, as {{'audio': 0.5}}")
    if not given:
        return dict.fromkeys(gates.ports, 1.0) if gates else {}
    if gates is None:
        named = ", ".join(map(str, given))
        raise InputError(f"{named} cannot be weighed: the model's head has no gates; mmedge inspect shows them")
    for name, weight in given.items():
        if name not in gates.ports:
            raise InputError(f"weights name {name!r}; the head has gates of {', '.join(gates.ports)}")
        if (
            isinstance(weight, bool)
            or not isinstance(weight, int | float)
            or not (weight == 0 or LEAST <= weight <= MOST)
        ):
            raise InputError(f"the weight of {name} is {weight!r}; expected 0, or a number from {LEAST:g} to {MOST:g}")
    weights = {name: float(given.get(name, 1.0)) for name in gates.ports}
    if not any(weights.values()):
        raise InputError(f"the weights of {', '.join(gates.ports)} are all 0; leave one above it, or use a policy")
    return weights


def shut_out(policies: Mapping[str, PortPolicy], gates: Gates | None) -> tuple[str, ...]:
    """The ports whose policy has the step ``reweight``.

    Raises:
        InputError: The head has no gate of one of them.
    """
    found = tuple(name for name, policy in policies.items() if "reweight" in policy.missing)
    for name in found:
        if gates is None or name not in gates.ports:
            lacks = f"has gates of {', '.join(gates.ports)} only" if gates else "has no gates"
            raise InputError(f"the policy of {name} is to reweight, and the head {lacks}")
    return found
