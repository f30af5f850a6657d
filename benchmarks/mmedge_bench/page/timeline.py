"""The decisions of one paced run along its time."""

from collections.abc import Iterator
from math import ceil, floor, log10

import numpy as np

from mmedge.page.markup import Markup, element
from mmedge.page.svg import Axis, Box, drawing, label, line, ticks
from mmedge.types import NS
from mmedge_bench.result import Result, Segment
from mmedge_bench.summary import deadline_ms, paced_segments

__all__ = ["timeline_figure"]

MOST_DOTS = 2000
LEFT_PX, RIGHT_PX, ROW_PX, GAP_PX = 70.0, 1100.0, 92.0, 40.0


def timeline_figure(result: Result) -> Markup:
    """Latency of every decision of the first round, one lane for each contestant, all on the same axes.

    Of a run with very many decisions, each dot is the slowest of a few in a row.
    """
    paced = [s for c in result.took_part for s in paced_segments(result, c.name)]
    rows = [s for s in paced if s.round == 0 and s.t_ns]
    due = deadline_ms(result)
    latencies = np.concatenate([np.array(row.latency_ns) / 1e6 for row in rows])
    low = max(1e-2, 10.0 ** floor(log10(max(1e-2, float(latencies.min())))))
    high = 10.0 ** ceil(log10(max(float(latencies.max()), due) * 1.01))
    seconds = max(row.stream_ns for row in rows) / NS
    time = Axis(low=0, high=seconds, start_px=LEFT_PX, end_px=RIGHT_PX)
    parts: list[Markup] = []
    for i, row in enumerate(rows):
        top = GAP_PX + i * (ROW_PX + GAP_PX)
        parts += _lane(row, Box(x=LEFT_PX, y=top, width=RIGHT_PX - LEFT_PX, height=ROW_PX), time, (low, high, due))
    bottom = len(rows) * (ROW_PX + GAP_PX)
    for at in ticks(0, seconds, 10):
        parts.append(label(time.at(at), bottom + 18, f"{at:g} s", "tick", "middle"))
    late = {row.contestant: sum(value / 1e6 > due for value in row.latency_ns) for row in rows}
    told = ", ".join(f"{name} {count} late" for name, count in late.items())
    return drawing((1120, bottom + 28), "paced-run", f"Latency of every decision of one round. {told}.", parts)


def _lane(row: Segment, box: Box, time: Axis, scale: tuple[float, float, float]) -> list[Markup]:
    low, high, due = scale
    axis = Axis(low=low, high=high, start_px=box.bottom, end_px=box.y, logarithmic=True)
    parts = [label(box.x, box.y - 8, row.contestant, "lane-name")]
    for power in range(round(log10(low)), round(log10(high)) + 1):
        y = axis.at(10.0**power)
        parts.append(line((box.x, y), (box.right, y), "grid"))
        parts.append(label(box.x - 8, y + 4, f"{10.0**power:g} ms", "tick", "end"))
    parts.append(line((box.x, axis.at(due)), (box.right, axis.at(due)), "due"))
    for t_ns, value in _dots(row):
        kind = "late" if value > due else "in-time"
        parts.append(element("circle", cx=time.at(t_ns / NS), cy=axis.at(max(value, low)), r=1.8, class_=kind))
    return parts


def _dots(row: Segment) -> Iterator[tuple[int, float]]:
    """Time and latency in ms of each decision, or of the slowest of a few in a row."""
    few = max(1, len(row.t_ns) // MOST_DOTS)
    for first in range(0, len(row.t_ns), few):
        slowest = max(range(first, min(first + few, len(row.t_ns))), key=lambda i: row.latency_ns[i])
        yield row.t_ns[slowest], row.latency_ns[slowest] / 1e6
