"""Curves of cost: work per second of stream against window length, sensors, rates and size, staged and unsplit.

``python benchmarks/scaling.py -o benchmarks/results/scaling.json --page scaling.html`` exports one model for each
point and measures it as ``mmedge bench`` does, closed loop, both ways in turns.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import numpy as np
from mmedge_bench.machine import describe_machine
from mmedge_bench.scenarios import SCENARIOS
from mmedge_bench.suite import Plan, run_suite
from mmedge_bench.summary import segments_of, work_ms_per_s
from mmedge_export.pipeline import ExportOptions, export

from mmedge.console import Steps
from mmedge.errors import InputError
from mmedge.page.document import document, scrolled, section
from mmedge.page.markup import Markup, element, escaped
from mmedge.page.svg import Axis, Box, drawing, label, line, trace

sys.path.insert(0, str(Path(__file__).parent / "models"))
from scaled import write_checkpoint

BOX = Box(x=70, y=24, width=980, height=230)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One model at one set of rates.

    Attributes:
        frames: Length of the window of pictures.
        sensors: How many besides camera and microphone.
        width: Channels of the first layer of the camera's CNN.
        camera_hz: Pictures per second.
        tick_hz: Decisions per second.
    """

    frames: int = 8
    sensors: int = 1
    width: int = 16
    camera_hz: float = 15.0
    tick_hz: float = 50.0


CURVES: dict[str, tuple[float, ...]] = {
    "frames": (1, 2, 4, 8, 16, 32),
    "sensors": (0, 1, 2, 4),
    "width": (4, 8, 16, 32),
    "camera_hz": (5, 15, 30, 50),
    "tick_hz": (5, 15, 50, 100),
}
WORDS = {
    "frames": "length of the window, pictures",
    "sensors": "sensors besides camera and microphone",
    "width": "channels of the first camera layer",
    "camera_hz": "pictures per second",
    "tick_hz": "decisions per second",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Work of one point.

    Attributes:
        point: What was measured.
        staged: Processor time in ms per second of stream, each round.
        unsplit: The same of the unsplit graph, in turns.
        warnings: What disturbed it.
    """

    point: Point
    staged: tuple[float, ...]
    unsplit: tuple[float, ...]
    warnings: tuple[str, ...]


def measure(point: Point, folder: Path, seconds: float, rounds: int) -> Cost:
    """Export and run one point.

    Args:
        point: Which.
        folder: For its files.
        seconds: Of stream in each round, after the windows are full.
        rounds: How many.
    """
    checkpoint = write_checkpoint(folder, frames=point.frames, sensors=point.sensors, width=point.width)
    bundle = folder / "scaled.mmedge"
    export(checkpoint, bundle, ExportOptions(force=True, random_samples=True))
    closed = next(scenario for scenario in SCENARIOS if scenario.name == "closed-loop")
    plan = Plan(
        bundle=bundle, checkpoint=checkpoint, spec=None, tick=f"{point.tick_hz:g}hz", threads=1,
        rates_hz={"image": point.camera_hz}, peers=("onnxruntime",),
        scenarios=(replace(closed, seconds=seconds, rounds=rounds),),
    )  # fmt: skip
    result = run_suite(plan, lambda _: None)
    if skipped := [c.skipped for c in result.contestants if c.skipped and c.kind == "whole"]:
        raise InputError(f"the unsplit graph cannot be compared: {skipped[0]}")
    staged, unsplit = (work_ms_per_s(segments_of(result, name, "closed-loop")) for name in ("mmedge", "onnxruntime"))
    return Cost(point=point, staged=staged, unsplit=unsplit, warnings=result.warnings)


def curves(names: Sequence[str], seconds: float, rounds: int, progress: Steps) -> Iterator[tuple[str, list[Cost]]]:
    """The curves of these names; points that lie on several are measured once."""
    known: dict[Point, Cost] = {}
    for name, values in ((name, CURVES[name]) for name in names):
        costs = []
        for value in values:
            point = replace(Point(), **{name: type(getattr(Point(), name))(value)})
            if point not in known:
                progress(f"{name} {value:g}")
                with tempfile.TemporaryDirectory(prefix="mmedge-scaling-") as folder:
                    known[point] = measure(point, Path(folder), seconds, rounds)
            costs.append(known[point])
        yield name, costs


def figure(name: str, costs: Sequence[Cost]) -> Markup:
    """Both ways over one axis."""
    values = np.array([getattr(cost.point, name) for cost in costs], float)
    staged, unsplit = (np.array([np.median(getattr(c, way)) for c in costs]) for way in ("staged", "unsplit"))
    shift = 0.5 if values[0] == 0 else 0.0  # no logarithm of no further sensor
    x_axis = Axis(low=values[0] + shift, high=values[-1] + shift, start_px=BOX.x, end_px=BOX.right, logarithmic=True)
    y_axis = Axis(low=10 ** np.floor(np.log10(staged.min())), high=10 ** np.ceil(np.log10(unsplit.max())),
                  start_px=BOX.bottom, end_px=BOX.y, logarithmic=True)  # fmt: skip
    parts = []
    for power in range(round(np.log10(y_axis.low)), round(np.log10(y_axis.high)) + 1):
        y = y_axis.at(10.0**power)
        parts += [line((BOX.x, y), (BOX.right, y), "grid"), label(BOX.x - 8, y + 4, f"{10.0**power:g}", "tick", "end")]
    for way, made, kind in (("unsplit", unsplit, "camera"), ("staged", staged, "several")):
        parts.append(trace(x_axis, y_axis, values + shift, made, f"curve {kind}"))
        for value, y in zip(values + shift, made, strict=True):
            parts.append(element("circle", cx=x_axis.at(value), cy=y_axis.at(y), r=4.0, class_=f"dot {kind}"))
        parts.append(label(BOX.right + 8, y_axis.at(made[-1]) + 4, way, "lane-note"))
    for value, a, b in zip(values, staged, unsplit, strict=True):
        x = x_axis.at(value + shift)
        parts += [label(x, BOX.bottom + 18, f"{value:g}", "tick", "middle"),
                  label(x, BOX.y - 8, f"{b / a:.1f}×", "tick", "middle")]  # fmt: skip
    parts.append(label(BOX.x, BOX.bottom + 38, WORDS[name], "tick"))
    told = ", ".join(f"{v:g}: {a:.1f} and {b:.1f}" for v, a, b in zip(values, staged, unsplit, strict=True))
    description = f"Work against {WORDS[name]}. Staged and unsplit, ms per second: {told}."
    return drawing((1120, BOX.bottom + 48), f"scaling-{name}", description, parts)


def page(found: dict[str, list[Cost]], warnings: Sequence[str]) -> str:
    """All curves, and what disturbed them."""
    title = "What one second of stream costs"
    words = "Processor time, ms per second of stream, on logarithmic axes; above, how many times less the stages need."
    sections = [section(WORDS[name], "", scrolled(figure(name, costs), name)) for name, costs in found.items()]
    doubts = "".join(element("p", escaped(f"Disturbed: {text}."), class_="callout") for text in warnings[:1])
    header = Markup(element("h1", escaped(title)) + element("p", escaped(words), class_="lead") + doubts)
    style = ".dot.camera { fill: var(--camera); } .dot.several { fill: var(--several); }\n"
    style += ".curve.camera { stroke: var(--camera); } .curve.several { stroke: var(--several); }"
    return document(title, header, sections, "Written by benchmarks/scaling.py", style)


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Every round, as JSON.")
@click.option("--page", "page_path", type=click.Path(path_type=Path), help="The curves to look at.")
@click.option("--curve", "names", multiple=True, type=click.Choice(list(CURVES)), help="Only these; may be repeated.")
@click.option("--seconds", default=3.0, show_default=True, help="Of stream in each round.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1), help="Rounds of every point.")
def main(output: Path, page_path: Path | None, names: tuple[str, ...], seconds: float, rounds: int) -> None:
    """Measure every curve."""
    with Steps() as steps:
        found = dict(curves(names or tuple(CURVES), seconds, rounds, steps))
    told = [warning for costs in found.values() for cost in costs for warning in cost.warnings]
    warnings = list(dict.fromkeys(told))
    written = {
        "machine": describe_machine(),
        "warnings": warnings,
        "curves": {name: [asdict(cost) for cost in costs] for name, costs in found.items()},
    }
    output.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    if page_path:
        page_path.write_text(page(found, warnings), encoding="utf-8")


if __name__ == "__main__":
    main()
