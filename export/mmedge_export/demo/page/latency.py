"""How long decisions took: one distribution for each contestant over one logarithmic axis."""

from math import ceil, floor, log10

import numpy as np

from mmedge.page.markup import Markup, element
from mmedge.page.numbers import milliseconds
from mmedge.page.svg import Axis, Box, drawing, label, line
from mmedge_export.demo.page.rivals import latency_ms, ours
from mmedge_export.demo.result import Contestant, DemoResult, Floats

__all__ = ["latency_figure"]

WIDTH_PX, LEFT_PX, RIGHT_PX = 1120.0, 22.0, 1098.0
ROW_PX, NAME_PX, TOP_PX, BOTTOM_PX = 78.0, 46.0, 26.0, 44.0  # the name stands over its row, so that phones show it
BINS = 110
QUANTILES = (50, 95, 99)


def latency_figure(result: DemoResult) -> Markup:
    """Small multiples; the dashed line is when the next decision is due."""
    rows = result.contestants
    axis = _axis(rows, 1e3 / result.decisions_hz)
    bottom = TOP_PX + len(rows) * (NAME_PX + ROW_PX)
    parts = _scale(axis, bottom)
    due = axis.at(1e3 / result.decisions_hz)
    for i, contestant in enumerate(rows):
        top = TOP_PX + i * (NAME_PX + ROW_PX) + NAME_PX
        box = Box(x=LEFT_PX, y=top, width=RIGHT_PX - LEFT_PX, height=ROW_PX)
        parts += _row(contestant, axis, box, mine=contestant is ours(result))
    parts.append(line((due, TOP_PX - 6), (due, bottom), "due"))
    parts.append(label(due, TOP_PX - 11, f"next decision due: {1e3 / result.decisions_hz:g} ms", "due-text", "middle"))
    words = "; ".join(f"{contestant.name}: {_numbers(contestant)}" for contestant in rows)
    description = f"Latency from sound to decision of each contestant. {words}."
    return drawing((WIDTH_PX, bottom + BOTTOM_PX), "latency", description, parts)


def _axis(contestants: tuple[Contestant, ...], period_ms: float) -> Axis:
    known = np.concatenate([_positive(contestant.latency_ms) for contestant in contestants] + [np.array([period_ms])])
    low, high = 10.0 ** floor(log10(known.min())), 10.0 ** ceil(log10(known.max() * 1.05))
    return Axis(low=low, high=high, start_px=LEFT_PX, end_px=RIGHT_PX, logarithmic=True)


def _positive(latency_ms: Floats) -> Floats:
    positive: Floats = latency_ms[np.isfinite(latency_ms) & (latency_ms > 0)]
    return positive


def _scale(axis: Axis, bottom: float) -> list[Markup]:
    parts = []
    for power in range(round(log10(axis.low)), round(log10(axis.high)) + 1):
        value = 10.0**power
        x = axis.at(value)
        parts.append(line((x, TOP_PX), (x, bottom + 4), "grid"))
        text = f"{value:g} ms" if value < 1e3 else f"{value / 1e3:g} s"
        parts.append(label(x, bottom + 20, text, "tick", "middle"))
    parts.append(
        label(LEFT_PX, bottom + 39, "from the arrival of the sound to the decision; strokes at p50, p95, p99", "tick")
    )
    return parts


def _row(contestant: Contestant, axis: Axis, box: Box, *, mine: bool) -> list[Markup]:
    parts = []
    if (known := _positive(contestant.latency_ms)).size:
        parts.append(_hill(known, axis, box, "hill ours" if mine else "hill"))
    for percent, length in zip(QUANTILES, (1.0, 0.62, 0.36), strict=True):
        value = latency_ms(contestant, percent)
        if np.isfinite(value):
            x = axis.at(value)
            parts.append(line((x, box.bottom), (x, box.bottom - length * box.height), "quantile"))
    parts.append(line((box.x, box.bottom), (box.right, box.bottom), "axis"))
    parts.append(label(box.x, box.y - 19, contestant.name, "lane-name over"))
    return [*parts, label(box.x, box.y - 4, _numbers(contestant), "lane-note over")]


def _numbers(contestant: Contestant) -> str:
    if not contestant.latency_ms.size:
        return "no decisions"
    if not contestant.keeps_up:
        longest = milliseconds(float(contestant.latency_ms.max()))
        return f"does not keep up: the wait grew to {longest} in this clip"
    return ", ".join(f"p{percent} {milliseconds(latency_ms(contestant, percent))}" for percent in QUANTILES)


def _hill(latency: Floats, axis: Axis, box: Box, kind: str) -> Markup:
    edges = np.linspace(log10(axis.low), log10(axis.high), BINS + 1)
    counts, _ = np.histogram(np.log10(latency), edges)
    points = [f"M{axis.start_px:.1f} {box.bottom:.1f}"]
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        y = box.bottom - 0.94 * box.height * count / counts.max()
        points.append(f"L{axis.at(10**left):.1f} {y:.1f}L{axis.at(10**right):.1f} {y:.1f}")
    return element("path", d="".join([*points, f"L{axis.end_px:.1f} {box.bottom:.1f}Z"]), class_=kind)
