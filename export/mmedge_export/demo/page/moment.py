"""A stretch of the clip magnified: how old each sensor's data are at every decision."""

from itertools import pairwise

import numpy as np

from mmedge.page.markup import Markup, element
from mmedge.page.svg import Axis, Box, drawing, label, line, ticks, trace
from mmedge_export.demo.page.traces import port_class, port_legend, scale_lines
from mmedge_export.demo.result import DemoResult, Floats

__all__ = ["moment_figure"]

SPAN_S = 0.6
SAME_MS = 0.5
BOX = Box(x=156, y=16, width=948, height=130)


def moment_figure(result: DemoResult) -> Markup:
    """Dots are decisions; those that used the same data are joined by a line."""
    start = max(0.0, min(result.duration_s / 2, float(result.decided.t_s[-1]) - SPAN_S))
    inside = (result.decided.t_s >= start) & (result.decided.t_s < start + SPAN_S)
    t_ms = (result.decided.t_s[inside] - start) * 1e3
    ages = {port: age[inside] for port, age in result.decided.age_ms.items()}
    high = max([1.0, *(float(np.nanmax(age, initial=0)) for age in ages.values())])
    time = Axis(low=0, high=SPAN_S * 1e3, start_px=BOX.x, end_px=BOX.right)
    axis = Axis(low=0, high=high, start_px=BOX.bottom, end_px=BOX.y)
    parts = [label(0, BOX.y + 12, "age of data", "lane-name"), *port_legend(result, BOX)]
    parts += scale_lines(axis, BOX, ticks(0, high, 5), " ms")
    for at_ms in ticks(0, SPAN_S * 1e3, 8):
        x = time.at(at_ms)
        parts.append(line((x, BOX.bottom), (x, BOX.bottom + 4), "axis"))
        parts.append(label(x, BOX.bottom + 19, f"{at_ms:g}", "tick", "middle"))
    parts.append(label(BOX.x, BOX.bottom + 37, f"ms after {start:g} s of the clip", "tick"))
    for port, age in ages.items():
        kind = port_class(result, port)
        parts += [trace(time, axis, t_ms[tooth], age[tooth], f"curve {kind}") for tooth in _teeth(t_ms, age)]
        for x, value in zip(t_ms, age, strict=True):
            if np.isfinite(value):
                parts.append(element("circle", cx=time.at(x), cy=axis.at(value), r=4.0, class_=f"dot {kind}"))
    worst = ", ".join(f"{port} up to {np.nanmax(age, initial=0):.1f} ms" for port, age in ages.items())
    description = f"Age of each sensor's newest data at every decision. {SPAN_S:g} s of the clip: {worst}."
    return drawing((1120, BOX.bottom + 46), "moment-of", description, parts)


def _teeth(t_ms: Floats, age_ms: Floats) -> list[slice]:
    """Neighbouring decisions made of the same data: those whose age grew by just the time between them."""
    newer = np.flatnonzero(~(np.abs(np.diff(age_ms) - np.diff(t_ms)) < SAME_MS)) + 1
    return [slice(first, last) for first, last in pairwise([0, *newer.tolist(), len(t_ms)])]
