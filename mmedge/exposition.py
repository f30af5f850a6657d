"""Metrics for Prometheus, in its text format."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmedge.errors import needs

__all__ = ["CONTENT_TYPE", "exposition"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
TOTALS = ("ticks", "observed", "degraded", "abstained", "late", "passed_over", "unfetched", "clock_jumps")


def exposition(snapshot: Mapping[str, Any]) -> bytes:
    """A snapshot as Prometheus scrapes it, times in seconds.

    Args:
        snapshot: What :meth:`mmedge.Stream.metrics` gives.

    Raises:
        MissingLibraryError: prometheus_client is not installed.

    Source: https://prometheus.io/docs/instrumenting/exposition_formats
    """
    library = needs("prometheus_client", fix="pip install 'mmedge[metrics]'")
    registry = library.CollectorRegistry(auto_describe=False)
    registry.register(_Collector(snapshot, library.metrics_core))
    text: bytes = library.generate_latest(registry)
    return text


class _Collector:
    """What prometheus_client asks for metrics."""

    def __init__(self, snapshot: Mapping[str, Any], core: Any) -> None:
        self._snapshot, self._core = snapshot, core

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        found, core = self._snapshot, self._core
        yield core.InfoMetricFamily("mmedge_model", "The model that decides", value={"id": found["model"]})
        for name in TOTALS:
            if name in found:
                yield core.CounterMetricFamily(f"mmedge_{name}", f"{name} so far; see observing.md", value=found[name])
        latency = core.HistogramMetricFamily("mmedge_latency_seconds", "From the push that completed a tick")
        latency.add_metric([], *_histogram(found["latency_ms"]))
        yield latency
        ages = core.HistogramMetricFamily("mmedge_age_seconds", "Of a port's data at a tick", labels=["port"])
        counts = core.CounterMetricFamily("mmedge_port_events", "By port and kind", labels=["port", "kind"])
        well = core.GaugeMetricFamily("mmedge_sensor_healthy", "Whether its data is as it should be", labels=["port"])
        up = core.GaugeMetricFamily("mmedge_sensor_up", "Whether a live sensor gives data", labels=["port"])
        for port, each in found["ports"].items():
            ages.add_metric([port], *_histogram(each["age_ms"]))
            for kind, count in {**each["counts"], "stale": each["stale"], "degraded": each["degraded"]}.items():
                counts.add_metric([port, kind], count)
            if each["health"]:
                well.add_metric([port], float(each["health"] in {"healthy", "waiting"}))
            if "state" in each:
                up.add_metric([port], float(each["state"] == "ok"))
        yield from (ages, counts, well, up)
        runs = core.CounterMetricFamily("mmedge_stage_runs", "Runs of a stage", labels=["stage"])
        work = core.CounterMetricFamily("mmedge_stage_seconds", "Time in a stage's session", labels=["stage"])
        for stage, each in found["stages"].items():
            runs.add_metric([stage], each["runs"])
            work.add_metric([stage], each["work_ms"] / 1e3)
        yield from (runs, work)


def _histogram(plain: Mapping[str, Any]) -> tuple[list[tuple[str, int]], float]:
    """Cumulative buckets in seconds, and the sum."""
    bounds = [(bound if bound == "+Inf" else f"{float(bound) / 1e3:g}", n) for bound, n in plain["buckets"].items()]
    return bounds, plain["sum"] / 1e3
