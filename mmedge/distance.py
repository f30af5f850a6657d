"""How far embeddings are from those of the calibration data: a sensor that sees what the model has never seen."""

import numpy as np

from mmedge.baseline import Baseline
from mmedge.health import Health
from mmedge.stages import StageGraph
from mmedge.types import Prediction

__all__ = ["Distances"]

EVERY_NS = 100_000_000
LARGEST = 1 << 16  # elements; more would cost more than the decision


class Distances:
    """A :data:`mmedge.decide.Observe` that tells the health of each sensor, ten times a second at most.

    The distance is 1 where an embedding is as far from the mean as the farthest one of the calibration data. Only what
    an encoder made is looked at, and only if the calibration data was real.

    Args:
        baseline: The statistics.
        head: Holds what the newest decision was made of.
        health: Told of it.
    """

    def __init__(self, baseline: Baseline, head: StageGraph, health: Health) -> None:
        self._head, self._health = head, health
        self._looked_ns: dict[str, int] = {}
        self._moments = {}
        for port, names in baseline.shares.items() if baseline.real else ():
            known = [name for name in names if name in baseline.moments and name != port]
            chosen = [name for name in known if baseline.moments[name].mean.size <= LARGEST]
            if chosen:
                self._moments[port] = {
                    name: (baseline.moments[name], max(baseline.statistics[name].distances.values()) or 1.0)
                    for name in chosen
                }

    def __call__(self, prediction: Prediction) -> None:
        """Look at what is fresh."""
        for port, moments in self._moments.items():
            t_ns = prediction.t_ns
            if not prediction.fresh[port] or 0 <= t_ns - self._looked_ns.get(port, t_ns - EVERY_NS) < EVERY_NS:
                continue
            self._looked_ns[port] = t_ns
            held = {name: np.asarray(self._head.held[name]) for name in moments}  # from a device only now
            distances = [moment.distance(held[name]) / far for name, (moment, far) in moments.items()]
            self._health.see_distance(port, t_ns, max(distances))
