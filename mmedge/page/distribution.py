"""How long things took: one distribution for each contestant over one logarithmic axis."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

import numpy as np
import numpy.typing as npt

from mmedge.page.markup import Markup, element
from mmedge.page.svg import Axis, Box, drawing, label, line

__all__ = ["Distribution", "distribution_figure"]

WIDTH_PX, LEFT_PX, RIGHT_PX = 1120.0, 22.0, 1098.0
ROW_PX, NAME_PX, TOP_PX, BOTTOM_PX = 78.0, 46.0, 26.0, 44.0  # the name stands over its row, so that phones show it
BINS = 110
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One row of the figure.

    Attributes:
        name: Of the contestant.
        numbers: Its percentiles in words.
        samples_ms: [N].
        strokes_ms: Where strokes stand, the longest first.
        ours: Drawn in the accent colour.
    """

    name: str
    numbers: str
    samples_ms: Floats
    strokes_ms: tuple[float, ...]
    ours: bool = False


def distribution_figure(rows: Sequence[Distribution], due_ms: float, name: str, words: str) -> Markup:
    """Small multiples; the dashed line is when the next decision is due.

    Args:
        rows: From top to bottom.
        due_ms: Period of the decisions.
        name: Of the drawing, unique on the page.
        words: What is measured, under the axis.
    """
    axis = _axis(rows, due_ms)
    bottom = TOP_PX + len(rows) * (NAME_PX + ROW_PX)
    parts = [*_scale(axis, bottom), label(LEFT_PX, bottom + 39, words, "tick")]
    due = axis.at(due_ms)
    for i, row in enumerate(rows):
        top = TOP_PX + i * (NAME_PX + ROW_PX) + NAME_PX
        parts += _row(row, axis, Box(x=LEFT_PX, y=top, width=RIGHT_PX - LEFT_PX, height=ROW_PX))
    parts.append(line((due, TOP_PX - 6), (due, bottom), "due"))
    parts.append(label(due, TOP_PX - 11, f"next decision due: {due_ms:g} ms", "due-text", "middle"))
    told = "; ".join(f"{row.name}: {row.numbers}" for row in rows)
    return drawing((WIDTH_PX, bottom + BOTTOM_PX), name, f"Latency of each contestant. {told}.", parts)


def _axis(rows: Sequence[Distribution], period_ms: float) -> Axis:
    known = np.concatenate([_positive(row.samples_ms) for row in rows] + [np.array([period_ms])])
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
    return parts


def _row(row: Distribution, axis: Axis, box: Box) -> list[Markup]:
    parts = []
    if (known := _positive(row.samples_ms)).size:
        parts.append(_hill(known, axis, box, "hill ours" if row.ours else "hill"))
    for i, value in enumerate(row.strokes_ms):
        if np.isfinite(value) and value > 0:
            x = axis.at(value)
            parts.append(line((x, box.bottom), (x, box.bottom - 0.62**i * box.height), "quantile"))
    parts.append(line((box.x, box.bottom), (box.right, box.bottom), "axis"))
    parts.append(label(box.x, box.y - 19, row.name, "lane-name over"))
    return [*parts, label(box.x, box.y - 4, row.numbers, "lane-note over")]


def _hill(latency: Floats, axis: Axis, box: Box, kind: str) -> Markup:
    edges = np.linspace(log10(axis.low), log10(axis.high), BINS + 1)
    counts, _ = np.histogram(np.log10(latency), edges)
    points = [f"M{axis.start_px:.1f} {box.bottom:.1f}"]
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        y = box.bottom - 0.94 * box.height * count / counts.max()
        points.append(f"L{axis.at(10**left):.1f} {y:.1f}L{axis.at(10**right):.1f} {y:.1f}")
    return element("path", d="".join([*points, f"L{axis.end_px:.1f} {box.bottom:.1f}Z"]), class_=kind)
