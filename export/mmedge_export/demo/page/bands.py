"""Truth and decision as coloured bands over time, with what is not scored hatched and what is wrong marked."""

from collections.abc import Iterator

import numpy as np

from mmedge_export.demo.page.markup import Markup, element
from mmedge_export.demo.page.svg import Axis, Box, label, rectangle
from mmedge_export.demo.result import DemoResult

__all__ = ["HATCH", "label_class", "lane_bands", "runs"]

COLORS = 8  # label colours in the style sheet
BAND_PX, BETWEEN_PX, MARK_PX = 24.0, 4.0, 7.0
LETTER_PX = 6.7  # width of a letter, about: decides whether a name fits into its band

HATCH = element(
    "defs",
    element(
        "pattern",
        element("line", x1=0, y1=0, x2=0, y2=6, class_="hatch-line"),
        id="hatch",
        width=6,
        height=6,
        patternUnits="userSpaceOnUse",
        patternTransform="rotate(45)",
    ),
)


def label_class(index: int) -> str:
    """Class of a label's colour."""
    return f"label-{index % COLORS}"


def runs(values: np.typing.NDArray[np.generic]) -> Iterator[tuple[int, int]]:
    """Stretches of equal values, as half-open ranges of indices."""
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    bounds = [0, *edges.tolist(), len(values)]
    yield from zip(bounds[:-1], bounds[1:], strict=True) if len(values) else ()


def lane_bands(result: DemoResult, time: Axis, box: Box) -> list[Markup]:
    """Two bands and a row of marks; a decision holds until the next one."""
    t_s = [*result.decided.t_s.tolist(), float(result.decided.t_s[-1]) + 1 / result.decisions_hz]
    parts = []
    for row, (who, values) in enumerate((("truth", result.truth.labels), ("decision", result.decided.labels))):
        band = Box(x=box.x, y=box.y + row * (BAND_PX + BETWEEN_PX), width=box.width, height=BAND_PX)
        parts.append(label(0, band.middle + 4, who, "lane-name"))
        for first, last in runs(values):
            parts += _segment(result.labels[int(values[first])], int(values[first]), _cut(time, band, t_s, first, last))
        for first, last in runs(result.truth.settled):
            if not result.truth.settled[first]:
                parts.append(rectangle(_cut(time, band, t_s, first, last), "hatch", "not scored: two labels in the window"))
    marks = Box(x=box.x, y=box.y + 2 * (BAND_PX + BETWEEN_PX), width=box.width, height=MARK_PX)
    parts.append(label(0, marks.bottom + 1, "scored as wrong", "lane-note"))
    wrong = (result.decided.labels != result.truth.labels) & result.truth.settled
    parts.append(rectangle(marks, "mark-row"))
    for first, last in runs(wrong):
        if wrong[first]:
            parts.append(rectangle(_cut(time, marks, t_s, first, last), "mark-wrong"))
    return parts


def _cut(time: Axis, band: Box, t_s: list[float], first: int, last: int) -> Box:
    start, end = time.at(t_s[first]), time.at(t_s[last])
    return Box(x=start, y=band.y, width=end - start, height=band.height)


def _segment(name: str, index: int, box: Box) -> list[Markup]:
    parts = [rectangle(box, f"band {label_class(index)}", name)]
    if len(name) * LETTER_PX + 12 < box.width:
        parts.append(label(box.x + 7, box.middle + 4, name, f"band-text on-{label_class(index)}"))
    return parts
