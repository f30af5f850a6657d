"""Every difference as a share of what is allowed, drawn: one row for each tensor, one dot for each case."""

from collections.abc import Collection, Mapping, Sequence
from textwrap import shorten

from mmedge.manifest import Manifest
from mmedge.page.markup import Markup, element, escaped
from mmedge.page.numbers import rounded
from mmedge.page.svg import Axis, Box, drawing, label, line, rectangle
from mmedge_export.parity.comparison import SAMPLES, Comparison, ParityReport

__all__ = ["case_class", "chart", "chart_rows", "legend"]

WIDTH_PX, NAME_PX, NUMBERS_PX, ZERO_PX = 860.0, 160.0, 170.0, 90.0
SPREAD_PX, HEAD_PX, RADIUS_PX, TOP_PX = 9.0, 40.0, 4.2, 34.0
LOWEST, HIGHEST = 1e-4, 10.0
SHOWN = 16  # tensors of one pair of ways; of more, those nearest to what is allowed
LETTERS = 22
Row = tuple[str, Sequence[Comparison]]


def case_class(manifest: Manifest, case: str) -> str:
    """Class of a case's colour: that of the sensor that is not held still."""
    port = case.removesuffix(" alone")
    if case == SAMPLES:
        return "from-all"
    return f"from-{manifest.ports[port].modality}" if port in manifest.ports else "from-size"


def chart_rows(report: ParityReport) -> dict[str, list[Row]]:
    """The comparisons by their two ways and by tensor; the tensors nearest to what is allowed first."""
    grouped: dict[str, dict[str, list[Comparison]]] = {}
    for row in report.comparisons:
        grouped.setdefault(row.what, {}).setdefault(row.tensor, []).append(row)
    return {
        what: sorted(tensors.items(), key=lambda item: -max(row.share for row in item[1]))
        for what, tensors in grouped.items()
    }


def chart(report: ParityReport, manifest: Manifest) -> Markup:
    """The picture; equal numbers stand at the left, what is not allowed to the right of the dashed line."""
    groups = chart_rows(report)
    axis = Axis(low=LOWEST, high=HIGHEST, start_px=NAME_PX + ZERO_PX, end_px=WIDTH_PX - NUMBERS_PX, logarithmic=True)
    parts, y = [], TOP_PX
    for what, rows in groups.items():
        parts.append(label(0, y + 25, what, "lane-name"))
        y += HEAD_PX
        for tensor, comparisons in rows[:SHOWN]:
            height = max(24.0, SPREAD_PX * len(comparisons) + 6)
            parts += _row(tensor, comparisons, manifest, axis, Box(x=0, y=y, width=WIDTH_PX, height=height))
            y += height
        if len(rows) > SHOWN:
            parts.append(label(0, y + 16, f"and {len(rows) - SHOWN} more, all of them smaller", "lane-note"))
            y += 22
    description = (
        f"Differences as shares of what is allowed. {len(report.comparisons)} comparisons; the largest share is "
        f"{rounded(report.worst.share, 2)}, of {report.worst.tensor} on {report.worst.case}."
    )
    return drawing((WIDTH_PX, y + 6), "shares", description, [*_frame(axis, y), *parts])


def legend(report: ParityReport, manifest: Manifest) -> Markup:
    """Which dot is which case."""
    items = []
    sized = [row.case for row in report.comparisons if row.case not in report.cases]
    for case in (*report.cases, *sized[:1]):
        dot = element("circle", cx=7, cy=7, r=5, class_=f"dot {case_class(manifest, case)}")
        picture = element("svg", dot, width=14, height=14, aria_hidden="true")
        items.append(element("li", picture, element("span", escaped(_case_text(case, report.cases)))))
    return element("ul", *items, class_="legend")


def _case_text(case: str, cases: Collection[str]) -> str:
    if case == SAMPLES:
        return "all sensors as in the samples"
    if case not in cases:
        return "an open axis at another size"
    return f"{case.removesuffix(' alone')} as in the samples, all others at their baseline"


def _frame(axis: Axis, bottom: float) -> list[Markup]:
    parts = []
    texts: Mapping[float, str] = {1e-4: "0.01 %", 1e-3: "0.1 %", 1e-2: "1 %", 1e-1: "10 %", 1.0: "allowed"}
    for value, text in texts.items():
        x, at_limit = axis.at(value), value == 1.0
        parts.append(line((x, TOP_PX), (x, bottom), "cut" if at_limit else "grid"))
        parts.append(label(x, TOP_PX - 10, text, "cut-text" if at_limit else "tick", "middle"))
    beyond = Box(x=axis.at(1), y=TOP_PX, width=axis.end_px - axis.at(1), height=bottom - TOP_PX)
    equal = axis.start_px - ZERO_PX / 2
    parts.append(rectangle(beyond, "beyond"))
    parts.append(label(equal, TOP_PX - 10, "equal", "tick", "middle"))
    parts.append(label(WIDTH_PX, TOP_PX - 10, "largest difference of allowed", "tick", "end"))
    return parts


def _row(tensor: str, comparisons: Sequence[Comparison], manifest: Manifest, axis: Axis, box: Box) -> list[Markup]:
    worst = max(comparisons, key=lambda row: row.share)
    parts = [
        line((NAME_PX, box.middle), (axis.end_px, box.middle), "grid"),
        label(12, box.middle + 4, shorten(tensor, LETTERS, placeholder="…") or tensor[:LETTERS], "node-text"),
    ]
    for i, row in enumerate(comparisons):
        x = axis.at(row.share) if row.share else axis.start_px - ZERO_PX / 2
        y = box.middle + (i - (len(comparisons) - 1) / 2) * SPREAD_PX
        kind = "dot from-refused" if not row.holds else f"dot {case_class(manifest, row.case)}"
        tip = f"{tensor}, {row.case}: {rounded(row.difference, 2)} of {rounded(row.tolerance, 2)} allowed"
        parts.append(element("circle", element("title", escaped(tip)), cx=x, cy=y, r=RADIUS_PX, class_=kind))
    text = f"{rounded(worst.difference, 2)} of {rounded(worst.tolerance, 2)}"
    return [*parts, label(WIDTH_PX, box.middle + 4, text, "node-text", "end")]
