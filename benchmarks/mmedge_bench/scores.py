"""How good the variants of a bundle are, as its own report of quantization says."""

import json
from dataclasses import dataclass
from typing import Any

from mmedge.bundle import Bundle

__all__ = ["Score", "read_scores"]

REPORT = "reports/quantize.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The score of a variant's first output that has one; larger is better.

    Attributes:
        value: The score.
        what: Output, metric and number of windows.
    """

    value: float
    what: str


def read_scores(bundle: Bundle) -> dict[str, Score]:
    """By variant, fp32 included; nothing where nothing was scored, or an mmedge of another version wrote it.

    Raises:
        BundleError: The report is not what was hashed.
    """
    if REPORT not in bundle.manifest.files:
        return {}
    try:
        return _scores(json.loads(bundle.read(REPORT)))
    except (ValueError, KeyError, TypeError, IndexError):
        return {}


def _scores(report: Any) -> dict[str, Score]:
    scores: dict[str, Score] = {}
    for variant in report["variants"]:
        if variant["shipped"]:
            first = variant["guarded"]["losses"][0]
            what = f"{first['output']}: {first['metric']}, {first['windows']} windows"
            scores.setdefault("fp32", Score(value=float(first["fp32"]), what=what))
            scores[variant["name"]] = Score(value=float(first["variant"]), what=what)
    return scores
