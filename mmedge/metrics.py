"""What a stream did, as numbers: counts and histograms of fixed size, a few additions per tick."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import inf, isfinite
from threading import Lock
from typing import Any, Protocol

from mmedge.types import Prediction

__all__ = ["AGE_MS", "LATENCY_MS", "Histogram", "Metrics", "merge_sensors"]

# Upper bounds of the buckets. Latency from a tenth of a millisecond, where overhead shows, to the seconds of a stall.
LATENCY_MS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
AGE_MS = (0.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0)


class Histogram:
    """Counts of values by bucket; not for use by two threads at once.

    Args:
        bounds: The upper bound of each bucket, which belongs to it, ascending; one more takes what lies above.

    Attributes:
        count: How many values there were.
        total: Their sum.
        largest: The largest of them; 0 if there were none.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self.count, self.total, self.largest = 0, 0.0, 0.0

    def add(self, value: float) -> None:
        """Count a value; NaN and infinity are not."""
        if not isfinite(value):
            return
        self._counts[bisect_left(self._bounds, value)] += 1
        self.largest = max(self.largest, value) if self.count else value
        self.count += 1
        self.total += value

    def quantile(self, part: float) -> float | None:
        """The upper bound of the bucket in which a quantile lies, or the largest value; None if there is no value.

        Args:
            part: From 0 to 1.
        """
        if not self.count:
            return None
        reached = accumulate(self._counts)
        index = next(i for i, seen in enumerate(reached) if seen >= max(1, part * self.count))
        return min((*self._bounds, inf)[index], self.largest)

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it; ``buckets`` is cumulative, by upper bound, as Prometheus has it."""
        names = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        return {
            "count": self.count,
            "sum": self.total,
            "max": self.largest,
            "p50": self.quantile(0.5),
            "p99": self.quantile(0.99),
            "buckets": dict(zip(names, accumulate(self._counts), strict=True)),
        }


class Measured(Protocol):
    """What is asked of a stream."""

    @property
    def totals(self) -> dict[str, int]:
        """Counts of the stream."""

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """Counts by port."""

    @property
    def runs(self) -> dict[str, int]:
        """How often each stage ran."""

    @property
    def health(self) -> Mapping[str, Any]:
        """How each sensor is: things with ``state``, by port."""

    @property
    def work_ns(self) -> dict[str, int]:
        """Time in each stage's session."""


class Metrics:
    """Observes a stream; made by :meth:`mmedge.Stream.metrics`.

    Args:
        stream: Its own counts are part of the snapshot.
        ports: Its ports but states.
    """

    def __init__(self, stream: Measured, ports: Sequence[str]) -> None:
        self._stream = stream
        self._lock = Lock()
        self._model = ""
        self._observed = self._degraded = self._abstained = 0
        self._latency = Histogram(LATENCY_MS)
        self._ages = {port: Histogram(AGE_MS) for port in ports}
        self._stale = dict.fromkeys(ports, 0)
        self._degraded_by = dict.fromkeys(ports, 0)

    def __call__(self, prediction: Prediction) -> None:
        """Take in a prediction; for ``stream.observers``."""
        with self._lock:
            self._model = prediction.model
            self._observed += 1
            self._latency.add(prediction.latency_ns / 1e6)
            fresh = prediction.fresh
            for port, age_ms in prediction.age_ms.items():
                if port in self._ages:
                    self._ages[port].add(age_ms)
                    self._stale[port] += not fresh[port]
            if prediction.degraded:
                self._degraded += 1
                for reason in prediction.degraded:
                    port = reason.partition(":")[0]
                    if port in self._degraded_by:
                        self._degraded_by[port] += 1
            if prediction.abstained:
                self._abstained += 1

    def snapshot(self) -> dict[str, Any]:
        """All of it at this moment, as JSON can hold it; see docs/observing.md for each name. From any thread."""
        stream = self._stream
        counters, runs, work_ns, health = stream.counters, stream.runs, stream.work_ns, stream.health
        with self._lock:
            ports = {
                port: {
                    "age_ms": ages.plain(),
                    "stale": self._stale[port],
                    "degraded": self._degraded_by[port],
                    "counts": counters.get(port, {}),
                    "health": health[port].state if port in health else "",
                }
                for port, ages in self._ages.items()
            }
            return {
                "model": self._model,
                **stream.totals,
                "observed": self._observed,
                "degraded": self._degraded,
                "abstained": self._abstained,
                "latency_ms": self._latency.plain(),
                "ports": ports,
                "stages": {name: {"runs": runs[name], "work_ms": work_ns[name] / 1e6} for name in runs},
            }


def merge_sensors(snapshot: dict[str, Any], sensors: Mapping[str, Any]) -> dict[str, Any]:
    """A snapshot with what live sources say of their sensors, by port.

    Args:
        snapshot: Of a stream's metrics; changed, and returned.
        sensors: :class:`mmedge.sources.SourceStatus` by port.
    """
    for port, status in sensors.items():
        if port in snapshot["ports"]:
            into = snapshot["ports"][port]
            into["state"] = status.state
            into["counts"] = {**status.counts, **into["counts"]}
    return snapshot
