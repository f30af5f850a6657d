"""Where the time of one second of stream goes."""

import numpy as np

from mmedge.page.markup import Markup, element, escaped, join
from mmedge.page.numbers import datum, rounded
from mmedge.types import NS
from mmedge_bench.result import Result
from mmedge_bench.summary import segments_of

__all__ = ["shares_ms_per_s", "waterfall"]

REST = "front ends, copies, Python"
LETTER_SHARE = 0.012  # of a bar's track, about: decides whether a name fits into its part
KINDS = ("from-camera", "from-audio", "from-several")


def shares_ms_per_s(result: Result, name: str) -> dict[str, float]:
    """Wall time per second of stream by stage, and what is outside of the sessions; medians of the rounds."""
    segments = segments_of(result, name, "closed-loop")
    stages = {
        stage: float(np.median([s.stage_ns[stage] / 1e6 / (s.stream_ns / NS) for s in segments]))
        for stage in (segments[0].stage_ns if segments else {})
    }
    walls = [segment.wall_ns / 1e6 / (segment.stream_ns / NS) for segment in segments]
    total = float(np.median(walls)) if walls else 0.0
    return stages | {REST: max(0.0, total - sum(stages.values()))}


def waterfall(result: Result) -> Markup:
    """One bar for each contestant, cut into its parts."""
    shares = {c.name: shares_ms_per_s(result, c.name) for c in result.took_part}
    shares = {name: parts for name, parts in shares.items() if sum(parts.values())}
    widest = max(sum(parts.values()) for parts in shares.values()) / 0.86
    rows = []
    for name, parts in shares.items():
        total = sum(parts.values())
        bar = element(
            "div",
            *[_part(stage, value, i, total, widest) for i, (stage, value) in enumerate(parts.items())],
            class_="bar",
            style=f"width:{total / widest:.2%}",
        )
        text = element(
            "span", datum(total, f"{rounded(total)} ms"), class_="bar-value", style=f"left:{total / widest:.2%}"
        )
        track = element("div", bar, text, class_="bar-track")
        rows.append(element("div", element("div", escaped(name), class_="bar-name"), track, class_="bar-row"))
    return element("div", join(rows), class_="bars")


def _part(stage: str, value: float, number: int, total: float, widest: float) -> Markup:
    kind = "rest" if stage == REST else KINDS[number % len(KINDS)]
    shown = stage if len(stage) * LETTER_SHARE < value / widest else ""
    tip = f"{stage}: {rounded(value)} ms"
    return element("div", escaped(shown), class_=f"part {kind}", style=f"flex:{value / total:.4f} 1 0", title=tip)
