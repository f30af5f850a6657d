"""The demo's numbers without its pictures: what the terminal prints, and what is kept to compare machines."""

from collections.abc import Mapping
from typing import Any

from mmedge_export.demo.result import Contestant, DemoResult

__all__ = ["COLUMNS", "summarize", "to_rows"]

COLUMNS = ("the same model on the same clip", "work ms/s", "p50 ms", "p95 ms", "p99 ms", "MB", "start s", "difference")


def summarize(result: DemoResult) -> dict[str, Any]:
    """Every number of the report's headline and table, for JSON."""
    return {
        "model": result.manifest.name,
        "clip_s": result.duration_s,
        "camera_hz": result.camera_hz,
        "decisions_hz": result.decisions_hz,
        "scored": int(result.truth.settled.sum()),
        "accuracy": result.accuracy,
        "predicted_ratio": result.saving.ratio,
        "machine": result.machine,
        "contestants": [_row(contestant) for contestant in result.contestants],
    }


def to_rows(summary: Mapping[str, Any]) -> list[list[str]]:
    """One row of text for each contestant, under :data:`COLUMNS`."""
    rows = []
    for row in summary["contestants"]:
        latency = [f"{row[f'p{percent}_ms']:.1f}" if row["keeps_up"] else "too slow" for percent in (50, 95, 99)]
        work, memory, start = f"{row['work_ms_per_s']:.0f}", f"{row['peak_mb']:.0f}", f"{row['first_decision_s']:.2f}"
        rows.append([row["name"], work, *latency, memory, start, f"{row['worst_difference']:.1g}"])
    return rows


def _row(contestant: Contestant) -> dict[str, Any]:
    return {
        "name": contestant.name,
        "decisions": contestant.decisions,
        "work_ms_per_s": contestant.work_ms_per_s,
        **{f"p{percent}_ms": contestant.latency_percentile(percent) for percent in (50, 95, 99)},
        "keeps_up": contestant.keeps_up,
        "peak_mb": contestant.peak_mb,
        "first_decision_s": contestant.first_decision_s,
        "worst_difference": contestant.worst_difference,
    }
