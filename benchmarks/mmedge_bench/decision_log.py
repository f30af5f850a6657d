"""Writes decisions down as they come, in memory that was touched before: a benchmark of memory must not grow itself."""

from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any

import numpy as np
import numpy.typing as npt

from mmedge.types import Array, Prediction

__all__ = ["DecisionLog"]

ROOM = 2  # decisions for every packet; whoever makes more makes the log grow


class DecisionLog:
    """One stretch of stream.

    Args:
        packets: How many will be pushed.
        ports: Whose ages are written down.
        keep: Also keep the predictions, with their outputs.

    Attributes:
        predictions: Those that were kept.
    """

    def __init__(self, packets: int, ports: Sequence[str], *, keep: bool = False) -> None:
        self.predictions: list[Prediction] = []
        self._keep = keep
        self._ports = tuple(ports)
        self._count = self._pushed = 0
        rows = ROOM * packets
        self._times = np.full((rows, 2), -1, np.int64)  # tick, decision; filled, so that their pages are there
        self._ages = np.full((rows, len(ports)), np.nan)
        self._fresh = np.full((rows, len(ports)), 2, np.int8)
        self._should = np.full(packets, -1, np.int64)

    def pushed(self, should_ns: int) -> None:
        """Write down when the next packet should have been there, on the clock of the process."""
        self._should[self._pushed] = should_ns
        self._pushed += 1

    def take(self, predictions: Sequence[Prediction]) -> None:
        """Write down that these came just now."""
        now = perf_counter_ns()
        for prediction in predictions:
            if self._count == len(self._times):
                self._grow()
            row, self._count = self._count, self._count + 1
            self._times[row] = prediction.t_ns, now
            for column, port in enumerate(self._ports):
                self._ages[row, column] = prediction.age_ms[port]
                self._fresh[row, column] = prediction.fresh[port]
        if self._keep:
            self.predictions += predictions

    @property
    def t_ns(self) -> npt.NDArray[np.int64]:
        """[N] the ticks."""
        return self._times[: self._count, 0]

    @property
    def done_ns(self) -> npt.NDArray[np.int64]:
        """[N] when they were decided, on the clock of the process."""
        return self._times[: self._count, 1]

    @property
    def should_ns(self) -> npt.NDArray[np.int64]:
        """[P] when each packet should have been there, on the clock of the process."""
        return self._should[: self._pushed]

    def age_ms(self) -> dict[str, tuple[float, ...]]:
        """By port, to a tenth of a microsecond."""
        return self._columns(np.round(self._ages, 4))

    def fresh(self) -> dict[str, tuple[bool, ...]]:
        """By port."""
        return self._columns(self._fresh.astype(bool))

    def _columns(self, values: Array) -> dict[str, tuple[Any, ...]]:
        if not self._count:
            return {}
        return {port: tuple(values[: self._count, i].tolist()) for i, port in enumerate(self._ports)}

    def _grow(self) -> None:
        self._times, self._ages, self._fresh = (
            np.concatenate([column, np.zeros_like(column)]) for column in (self._times, self._ages, self._fresh)
        )
