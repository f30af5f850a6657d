"""Times graphs against one another on this machine, taking turns so that a busy moment hits all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns

from mmedge.backends.ort import OrtSession
from mmedge.types import Array

__all__ = ["Lap", "race"]

ROUNDS = 60
RUNS = 3  # in a row; the first of them warms the caches and is not counted
BUDGET_NS = 3_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """One graph's time.

    Attributes:
        ms: Median wall time of a run.
        times_faster: Median over rounds of how many times faster it was than the first graph in the same round.
    """

    ms: float
    times_faster: float


def race(graphs: Mapping[str, bytes], inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> dict[str, Lap]:
    """Run graphs with the same inputs in turns, one thread each, as the runtime binds them.

    Args:
        graphs: By name; the first one is what the others are compared with.
        inputs: What all of them read.
        outputs: Arrays of the shapes that they make; overwritten copies are used.
    """
    memory = {name: {key: array.copy(order="C") for key, array in {**inputs, **outputs}.items()} for name in graphs}
    calls = {name: OrtSession(graph, threads=1, name=name).bind(memory[name]) for name, graph in graphs.items()}
    times: dict[str, list[float]] = {name: [] for name in graphs}
    end = perf_counter_ns() + BUDGET_NS
    for done in range(ROUNDS):
        if done > RUNS and perf_counter_ns() > end:
            break
        for name, call in calls.items():
            call()
            begin = perf_counter_ns()
            for _ in range(RUNS - 1):
                call()
            times[name].append((perf_counter_ns() - begin) / (RUNS - 1) / 1e6)
    return _laps(times)


def _laps(times: Mapping[str, Sequence[float]]) -> dict[str, Lap]:
    first = next(iter(times.values()))
    return {
        name: Lap(ms=median(taken), times_faster=median(a / b for a, b in zip(first, taken, strict=True)))
        for name, taken in times.items()
    }
