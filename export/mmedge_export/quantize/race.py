"""Times graphs against one another on this machine, taking turns so that a busy moment hits all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns, thread_time_ns

import numpy as np

from mmedge.backends.ort import OrtSession
from mmedge.types import Array

__all__ = ["Lap", "race"]

ROUNDS = 100
FEWEST = 8
BUDGET_NS = 3_000_000_000
SWEEP_BYTES = 4 << 20  # more than a core's own caches hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """One graph's processor time.

    Attributes:
        cold_ms: Median of a run after the caches were swept, as after other work.
        warm_ms: Median of the run right after that one.
        times_faster: Median over rounds of how much less time both runs took than those of the first graph.
    """

    cold_ms: float
    warm_ms: float
    times_faster: float


def race(graphs: Mapping[str, bytes], inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> dict[str, Lap]:
    """Run graphs with the same inputs in turns, one thread each, as the runtime binds them.

    Processor time of the thread is counted, so that what else the machine does costs nothing but its caches.

    Args:
        graphs: By name; the first one is what the others are compared with.
        inputs: What all of them read.
        outputs: Arrays of the shapes that they make; copies are used.
    """
    memory = {name: {key: array.copy(order="C") for key, array in {**inputs, **outputs}.items()} for name in graphs}
    calls = {name: OrtSession(graph, threads=1, name=name).bind(memory[name]) for name, graph in graphs.items()}
    other_work = np.zeros(SWEEP_BYTES, np.uint8)
    cold: dict[str, list[float]] = {name: [] for name in graphs}
    warm: dict[str, list[float]] = {name: [] for name in graphs}
    end = perf_counter_ns() + BUDGET_NS
    for done in range(ROUNDS + 1):
        if done > FEWEST and perf_counter_ns() > end:
            break
        for name, call in calls.items():
            other_work += 1
            for times in (cold[name], warm[name]):
                begin = thread_time_ns()
                call()
                times.append((thread_time_ns() - begin) / 1e6)
    sums = {name: np.add(cold[name], warm[name])[1:] for name in graphs}  # the first round makes what later ones reuse
    first = next(iter(sums.values()))
    return {
        name: Lap(
            cold_ms=median(cold[name][1:]),
            warm_ms=median(warm[name][1:]),
            times_faster=float(np.median(first / sums[name])),
        )
        for name in graphs
    }
