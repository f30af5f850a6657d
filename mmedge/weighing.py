"""Weights of modalities in force in one head, and what its gates say."""

from collections.abc import Collection, Mapping

from mmedge.gates import GATE_VALUES, GATE_WEIGHTS, Gates
from mmedge.stages import StageGraph

__all__ = ["Weighing"]


class Weighing:
    """The gates of one graph with a head; used by the thread that runs it, but for :attr:`wanted`.

    Args:
        gates: Of the model's head.
        head: Where they are.

    Attributes:
        wanted: A weight for every port with a gate; may be replaced, as a whole, by any thread.
    """

    def __init__(self, gates: Gates, head: StageGraph) -> None:
        self.wanted: Mapping[str, float] = dict.fromkeys(gates.ports, 1.0)
        self._gates = gates
        self._head = head
        self._taken: tuple[Mapping[str, float], Collection[str]] = (self.wanted, ())
        self._in_force: Mapping[str, float] | None = None

    def apply(self, silenced: Collection[str] = ()) -> bool:
        """Let the next run of the head use what is wanted now; False, and nothing is done, if nothing is left of it.

        Args:
            silenced: Ports that weigh 0 whatever is wanted.
        """
        wanted = self.wanted
        if wanted is self._taken[0] and silenced == self._taken[1]:
            return True
        weights = {name: 0.0 if name in silenced else weight for name, weight in wanted.items()}
        if not any(weights.values()):
            return False
        self._head.tensors[GATE_WEIGHTS][...] = list(weights.values())
        self._head.mark(self._gates.ports)
        self._taken = wanted, silenced
        self._in_force = weights if any(weight != 1 for weight in weights.values()) else None
        return True

    @property
    def in_force(self) -> Mapping[str, float] | None:
        """What the head uses, by port; None if every weight is 1."""
        return self._in_force

    def read(self) -> dict[str, float]:
        """How much of each port the newest run let through."""
        return dict(zip(self._gates.ports, self._head.tensors[GATE_VALUES].tolist(), strict=True))
