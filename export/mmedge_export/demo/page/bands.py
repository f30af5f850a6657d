"""Truth and decision as coloured bands over time, with what is not scored hatched and what is wrong marked."""

from collections.abc import Iterator
from itertools import pairwise
from textwrap import shorten

import numpy as np

from mmedge.page.markup import Markup, element
from mmedge.page.svg import Axis, Box, label, rectangle
from mmedge_export.demo.result import DemoResult

__all__ = ["HATCH", "label_class", "lane_bands", "runs"]

COLORS = 8  # label colours in the style sheet
BAND_PX, BETWEEN_PX, MARK_PX = 24.0, 4.0, 7.0
LETTER_PX = 6.6  # width of a letter, about: decides whether a name fits into its band

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
    yield from pairwise([0, *edges.tolist(), len(values)]) if len(values) else ()


def lane_bands(result: DemoResult, time: Axis, box: Box) -> list[Markup]:
    """Two bands and a row of marks; a decision holds until the next one."""
    edges = [*result.decided.t_s.tolist(), float(result.decided.t_s[-1]) + 1 / result.decisions_hz]
    parts = []
    for row, (who, values) in enumerate((("truth", result.truth.labels), ("decision", result.decided.labels))):
        band = Box(x=box.x, y=box.y + row * (BAND_PX + BETWEEN_PX), width=box.width, height=BAND_PX)
        parts.append(label(0, band.middle + 4, who, "lane-name"))
        for first, last in runs(values):
            place = _cut(time, band, edges, first, last)
            index = int(values[first])
            parts.append(rectangle(place, f"band {label_class(index)}", result.labels[index]))
            parts += _name(result, index, [_cut(time, band, edges, *part) for part in _scored(result, first, last)])
        for first, last in runs(result.truth.settled):
            if not result.truth.settled[first]:
                parts.append(rectangle(_cut(time, band, edges, first, last), "hatch", "not scored"))
    marks = Box(x=box.x, y=box.y + 2 * (BAND_PX + BETWEEN_PX), width=box.width, height=MARK_PX)
    parts += [rectangle(marks, "mark-row"), label(0, marks.bottom + 1, "scored as wrong", "lane-note")]
    wrong = (result.decided.labels != result.truth.labels) & result.truth.settled
    parts += [
        rectangle(_cut(time, marks, edges, first, last), "mark-wrong") for first, last in runs(wrong) if wrong[first]
    ]
    return parts


def _cut(time: Axis, band: Box, edges_s: list[float], first: int, last: int) -> Box:
    start, end = time.at(edges_s[first]), time.at(edges_s[last])
    return Box(x=start, y=band.y, width=end - start, height=band.height)


def _scored(result: DemoResult, first: int, last: int) -> list[tuple[int, int]]:
    settled = result.truth.settled[first:last]
    return [(first + start, first + end) for start, end in runs(settled) if settled[start]]


def _name(result: DemoResult, index: int, places: list[Box]) -> list[Markup]:
    """The label's name, shortened if need be, in the widest place that is not hatched."""
    place = max(places, key=lambda box: box.width, default=None)
    letters = int((place.width - 12) / LETTER_PX) if place else 0
    text = shorten(result.labels[index], max(letters, 1), placeholder="…")
    if place is None or len(text) < min(4, len(result.labels[index])) or len(text) > letters:
        return []
    return [label(place.x + 7, place.middle + 4, text, f"band-text on-{label_class(index)}")]
