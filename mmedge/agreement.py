"""How far two models that see the same packets decide the same."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mmedge.types import Prediction

__all__ = ["KEPT", "Agreement", "Comparison", "SwapReport"]

KEPT = 256  # decisions that wait for the other model's; as many as a live stream keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far one output of two models is the same, over the ticks that both decided.

    Attributes:
        ticks: That were compared.
        same_label: The part of them with the same label or labels; None without labels.
        max_difference: The largest absolute difference of a value; None where the shapes differ.
    """

    ticks: int
    same_label: float | None
    max_difference: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapReport:
    """Two models side by side, since the swap began.

    Attributes:
        outputs: The outputs that both have, by name.
        ticks: That the first model and the new one decided.
        work_ms: Time in the sessions of the first model and of the new one.
    """

    outputs: Mapping[str, Agreement]
    ticks: tuple[int, int]
    work_ms: tuple[float, float]

    def __str__(self) -> str:
        cost = [f"{work / max(1, ticks):.3f}" for work, ticks in zip(self.work_ms, self.ticks, strict=True)]
        lines = [f"{self.ticks[0]} and {self.ticks[1]} ticks; {cost[0]} and {cost[1]} ms of work per tick"]
        for name, found in self.outputs.items():
            same = "" if found.same_label is None else f"same label in {100 * found.same_label:.1f} %, "
            most = "other shapes" if found.max_difference is None else f"differs by {found.max_difference:.2g} at most"
            lines.append(f"{name}: {same}{most} ({found.ticks} ticks)")
        return "\n".join(lines)


class Comparison:
    """Compares the decisions of two models tick by tick; for use under a lock.

    Attributes:
        ticks: That each of them decided.
    """

    def __init__(self) -> None:
        self.ticks = [0, 0]
        self._unmatched: tuple[dict[int, Prediction], dict[int, Prediction]] = ({}, {})  # by tick
        self._found: dict[str, tuple[int, int, float]] = {}  # by output: ticks, same labels, largest difference; or -1

    @property
    def outputs(self) -> dict[str, Agreement]:
        """What was found so far, by output."""
        return {
            name: Agreement(
                ticks=ticks,
                same_label=None if same < 0 else same / ticks,
                max_difference=None if most < 0 else most,
            )
            for name, (ticks, same, most) in self._found.items()
        }

    def add(self, index: int, prediction: Prediction) -> None:
        """Compare it with the other model's of the same tick, now or when that comes.

        Args:
            index: 0 or 1: whose it is.
            prediction: It.
        """
        self.ticks[index] += 1
        other = self._unmatched[1 - index].pop(prediction.t_ns, None)
        if other is not None:
            self._compare(prediction, other)
            return
        unmatched = self._unmatched[index]
        unmatched[prediction.t_ns] = prediction
        if len(unmatched) > KEPT:
            del unmatched[next(iter(unmatched))]

    def _compare(self, one: Prediction, other: Prediction) -> None:
        for name in one.outputs.keys() & other.outputs.keys():
            ticks, same, most = self._found.get(name, (0, -1, -1.0))
            if name in one.labels and name in other.labels:
                same = max(0, same) + (one.labels[name] == other.labels[name])
            if one.outputs[name].shape == other.outputs[name].shape:
                apart = np.abs(one.outputs[name] - other.outputs[name])
                most = max(most, float(np.maximum.reduce(apart, axis=None, initial=0)))
            self._found[name] = (ticks + 1, same, most)
