"""Curves over the clip's time: probabilities, distance, and how old each sensor's data were."""

import numpy as np

from mmedge.page.markup import Markup
from mmedge.page.numbers import rounded
from mmedge.page.svg import Axis, Box, label, line, ticks, trace
from mmedge_export.demo.page.bands import label_class
from mmedge_export.demo.result import DemoResult, Floats

__all__ = [
    "distance_error_m",
    "lane_ages",
    "lane_distance",
    "lane_probabilities",
    "port_class",
    "port_legend",
    "scale_lines",
]


def port_class(result: DemoResult, port: str) -> str:
    """Class of a sensor's colour, by what kind it is."""
    return f"from-{result.manifest.ports[port].modality}" if port in result.manifest.ports else "from-several"


def distance_error_m(result: DemoResult) -> Floats:
    """[K] absolute errors of the scored decisions at which there is a distance to tell."""
    error = np.abs(result.decided.distance_m - result.truth.distance_m)
    scored: Floats = error[result.truth.settled & np.isfinite(error)]
    return scored


def scale_lines(y_axis: Axis, box: Box, values: list[float], unit: str = "") -> list[Markup]:
    """Horizontal lines at round values, which stand left of them; the unit follows the uppermost."""
    parts = []
    for value in values:
        y = y_axis.at(value)
        parts.append(line((box.x, y), (box.right, y), "grid"))
        text = f"{value:g}{unit if value == values[-1] else ''}"
        parts.append(label(box.x - 7, y + 4, text, "tick", "end"))
    return parts


def lane_probabilities(result: DemoResult, time: Axis, box: Box) -> list[Markup]:
    """One curve for each label."""
    axis = Axis(low=0, high=1, start_px=box.bottom, end_px=box.y)
    parts = [label(0, box.y + 12, "probability", "lane-name"), label(0, box.y + 28, "of each label", "lane-note")]
    parts += scale_lines(axis, box, [0, 0.5, 1])
    for i in range(len(result.labels)):
        kind = f"curve {label_class(i)}"
        parts.append(trace(time, axis, result.decided.t_s, result.decided.probabilities[:, i], kind))
    return parts


def lane_distance(result: DemoResult, time: Axis, box: Box) -> list[Markup]:
    """True and decided distance, where there is one."""
    true, decided = result.truth.distance_m, result.decided.distance_m
    there = np.isfinite(true)
    parts = [label(0, box.y + 12, "distance", "lane-name")]
    if not there.any():
        return [*parts, label(box.x + 8, box.middle + 4, "no vehicle to measure in this clip", "lane-note")]
    shown = np.where(there, decided, np.nan)
    high = float(np.nanmax(np.concatenate([true, shown])))
    axis = Axis(low=0, high=max(high, 1.0), start_px=box.bottom, end_px=box.y)
    parts += scale_lines(axis, box, ticks(0, axis.high, 4), " m")
    parts += [label(0, box.y + 28, "truth", "lane-note"), line((34, box.y + 24), (54, box.y + 24), "curve truth")]
    parts += [label(0, box.y + 44, "model", "lane-note"), line((34, box.y + 40), (54, box.y + 40), "curve decided")]
    if (error := distance_error_m(result)).size:
        parts.append(label(0, box.y + 66, f"median error {rounded(float(np.median(error)), 2)} m", "lane-note"))
    parts.append(trace(time, axis, result.decided.t_s, true, "curve truth"))
    return [*parts, trace(time, axis, result.decided.t_s, shown, "curve decided")]


def lane_ages(result: DemoResult, time: Axis, box: Box) -> list[Markup]:
    """How far each sensor's newest data lay behind the decision that used them."""
    ages = result.decided.age_ms
    high = max([1.0, *(float(np.nanmax(age)) for age in ages.values() if np.isfinite(age).any())])
    axis = Axis(low=0, high=high, start_px=box.bottom, end_px=box.y)
    parts = [label(0, box.y + 12, "age of data", "lane-name")]
    parts += scale_lines(axis, box, ticks(0, high, 4), " ms")
    parts += port_legend(result, box)
    for port, age in ages.items():
        parts.append(trace(time, axis, result.decided.t_s, age, f"curve fine {port_class(result, port)}"))
    return parts


def port_legend(result: DemoResult, box: Box) -> list[Markup]:
    """The sensors' names and colours, left of a lane."""
    parts = []
    for row, port in enumerate(result.decided.age_ms):
        y = box.y + 28 + 16 * row
        parts.append(line((0, y - 4), (18, y - 4), f"curve {port_class(result, port)}"))
        parts.append(label(24, y, port, "lane-note"))
    return parts
