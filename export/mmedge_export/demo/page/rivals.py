"""Who is compared with whom, and how a comparison is put into words."""

from math import isfinite

from mmedge.page.numbers import GAP
from mmedge_export.demo.result import Contestant, DemoResult

__all__ = ["baseline", "compared", "latency_ms", "latency_ratio", "ours", "work_ratio"]


def ours(result: DemoResult) -> Contestant:
    """The staged model: the last contestant."""
    return result.contestants[-1]


def baseline(result: DemoResult) -> Contestant | None:
    """What the staged model is measured against: the fastest of the others."""
    others = result.contestants[:-1]
    return min(others, key=lambda contestant: contestant.work_ms_per_s) if others else None


def latency_ms(contestant: Contestant, percent: float) -> float:
    """Percentile of its latencies; NaN where it has none or they only grow."""
    if not contestant.keeps_up or not contestant.latency_ms.size:
        return float("nan")
    return contestant.latency_percentile(percent)


def work_ratio(other: Contestant, contestant: Contestant) -> float:
    """How many times less a contestant works than the other one."""
    return other.work_ms_per_s / contestant.work_ms_per_s if contestant.work_ms_per_s > 0 else float("nan")


def latency_ratio(other: Contestant, contestant: Contestant) -> float:
    """How many times sooner a contestant decides at the median; NaN where one does not keep up."""
    mine = latency_ms(contestant, 50)
    return latency_ms(other, 50) / mine if mine > 0 else float("nan")


def compared(ratio: float, better: str, worse: str, same: str) -> str:
    """A ratio in words; within five percent it is the same.

    >>> compared(1.02, "times less work", "times more work", "as much work")
    'as much work'
    """
    if not isfinite(ratio) or 0.95 <= ratio <= 1.05:
        return same
    return f"{ratio:.1f}{GAP}{better}" if ratio > 1 else f"{1 / ratio:.1f}{GAP}{worse}"
