"""The model in its stages: who reads what, what it costs, and where it was cut."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import cos, pi, sin

from mmedge.manifest import Manifest, Stage
from mmedge.page.layout import Edge, crossing, edges, places
from mmedge.page.markup import Markup, element
from mmedge.page.numbers import bytes_text, rounded
from mmedge.page.svg import Box, drawing, label, line, rectangle

__all__ = ["StageNotes", "macs_text", "stage_class", "stage_graph"]

WIDTH_PX = 1120.0  # at least: a small graph stays as small as its text
END_PX, STAGE_PX, NEAR_PX, GAP_PX = 116.0, 166.0, 36.0, 160.0  # ports and outputs, stages, gaps next to ends, between
LANE_PX, TOP_PX, STAGE_HEIGHT_PX, END_HEIGHT_PX = 188.0, 44.0, 134.0, 62.0
CUT_PX = 14.0  # from a stage to the dashed line on its right
SLOTS = 24  # more than these are not drawn one by one
RING_PX = 25.0
SHOWN = 3  # tensors named on an edge


@dataclass(frozen=True, slots=True, kw_only=True)
class StageNotes:
    """What is written into the box of a stage.

    Attributes:
        lines: Two lines under its name.
        note: A fainter one.
        load: The line above the bar.
        share: How far the bar is filled, 0..1.
    """

    lines: tuple[str, str]
    note: str
    load: str
    share: float


def stage_class(manifest: Manifest, stage: Stage) -> str:
    """Class of the colour of the sensor that it belongs to."""
    return f"from-{manifest.ports[stage.ports[0]].modality}" if len(stage.ports) == 1 else "from-several"


def stage_graph(
    manifest: Manifest, notes: Mapping[str, StageNotes], ports: Mapping[str, str], description: str
) -> Markup:
    """Boxes in lanes, arrows with what crosses them, dashed lines where the graph was cut.

    Args:
        manifest: The model.
        notes: For each stage.
        ports: A line for each port, such as its rate; ports may be left out.
        description: For those who cannot see it; its first sentence is the title.
    """
    boxes = _boxes(manifest)
    width = max(WIDTH_PX, max(box.right for box in boxes.values()) + 1)
    height = max(box.bottom for box in boxes.values()) + 14
    parts = _cuts(manifest, boxes, height)
    for edge in edges(manifest):
        parts += _edge(manifest, edge, boxes)
    for name in manifest.ports:
        parts += _port(manifest, name, ports.get(name, ""), boxes[f"port:{name}"])
    for stage in manifest.stages:
        parts += _stage(manifest, stage, notes[stage.name], boxes[f"stage:{stage.name}"])
    for name in manifest.outputs:
        parts += _output(manifest, name, boxes[f"output:{name}"])
    return drawing((width, height), "graph", description, parts)


def macs_text(macs: int) -> str:
    """A number of multiply-accumulates in thousands, millions or billions."""
    for unit, factor in (("G", 1e9), ("M", 1e6)):
        if macs >= factor:
            return f"{rounded(macs / factor)} {unit} MACs"
    return f"{rounded(macs / 1e3)} k MACs" if macs >= 1e3 else f"{macs} MACs"


def _boxes(manifest: Manifest) -> dict[str, Box]:
    found = places(manifest)
    last = max(column for column, _ in found.values())
    boxes = {}
    for name, (column, lane) in found.items():
        at_end = not name.startswith("stage:")
        wide, high = (END_PX, END_HEIGHT_PX) if at_end else (STAGE_PX, STAGE_HEIGHT_PX)
        x = 1 + (0 if column == 0 else END_PX + NEAR_PX + (column - 1) * (STAGE_PX + GAP_PX))
        if column == last:
            x += NEAR_PX - GAP_PX
        middle = TOP_PX + STAGE_HEIGHT_PX / 2 + lane * LANE_PX
        boxes[name] = Box(x=x, y=middle - high / 2, width=wide, height=high)
    above = min(box.y for box in boxes.values()) - (TOP_PX if _is_cut(manifest) else 2)
    return {name: replace(box, y=box.y - above) for name, box in boxes.items()}


def _is_cut(manifest: Manifest) -> bool:
    return bool(crossing(manifest)) or any(stage.per_item for stage in manifest.stages)


def _stage(manifest: Manifest, stage: Stage, notes: StageNotes, box: Box) -> list[Markup]:
    x = box.x + 12
    bar = Box(x=x, y=box.bottom - 16, width=box.width - 24, height=5)
    return [
        rectangle(box, f"stage {stage_class(manifest, stage)}", radius=7),
        label(x, box.y + 23, stage.name, "node-name"),
        label(x, box.y + 43, notes.lines[0], "node-text"),
        label(x, box.y + 61, notes.lines[1], "node-text"),
        label(x, box.y + 77, notes.note, "stage-note"),
        label(x, box.y + 107, notes.load, "node-text"),
        rectangle(bar, "load-track", radius=2.5),
        rectangle(Box(x=bar.x, y=bar.y, width=bar.width * min(1.0, notes.share), height=5), "load", radius=2.5),
    ]


def _port(manifest: Manifest, name: str, note: str, box: Box) -> list[Markup]:
    port = manifest.ports[name]
    what = ""
    if port.camera is not None:
        what = f"{port.camera.frames} × {port.camera.width_px}×{port.camera.height_px}"
    if port.audio is not None:
        what = f"{rounded(port.audio.window_samples / port.audio.rate_hz, 2)} s, {port.audio.features}"
    kind = f"sensor from-{port.modality}"
    return [rectangle(box, kind, f"{port.modality} port {name}", radius=31), *_three_lines(box, (name, what, note))]


def _output(manifest: Manifest, name: str, box: Box) -> list[Markup]:
    output = manifest.outputs[name]
    what = f"{len(output.labels)} labels" if output.labels else output.unit or output.task
    return [rectangle(box, "output", output.task, radius=7), *_three_lines(box, (name, what, ""))]


def _three_lines(box: Box, texts: tuple[str, str, str]) -> list[Markup]:
    kinds, middle = ("node-name", "edge-name", "edge-name"), box.x + box.width / 2
    shown = [(text, kind) for text, kind in zip(texts, kinds, strict=True) if text]
    top = box.middle + 5 - 8 * (len(shown) - 1)
    return [label(middle, top + 16 * i, text, kind, "middle") for i, (text, kind) in enumerate(shown)]


def _edge(manifest: Manifest, edge: Edge, boxes: dict[str, Box]) -> list[Markup]:
    source, target = boxes[edge.source], boxes[edge.target]
    start, end = source.middle, _entry(manifest, edge, boxes)
    turn = target.x - 22
    across = f"M{source.right:.1f} {start:.1f}H{turn:.1f}"
    bend = f"C{turn + 12:.1f} {start:.1f} {turn:.1f} {end:.1f} {target.x - 7:.1f} {end:.1f}"
    arrow = f"M{target.x - 1:.1f} {end:.1f}l-8 -4.5v9z"
    parts = [
        element("path", d=across + bend, class_="edge"),
        element("path", d=arrow, class_="arrow"),
    ]
    if edge.source.startswith("port:") or edge.target.startswith("output:"):
        return parts
    return parts + _freight(manifest, edge, source.right + CUT_PX + 10, start)


def _entry(manifest: Manifest, edge: Edge, boxes: dict[str, Box]) -> float:
    """Where an arrow ends: arrows into one box keep the order of where they come from."""
    if edge.target.startswith("output:"):
        return boxes[edge.target].middle
    into = sorted(
        (other for other in edges(manifest) if other.target == edge.target), key=lambda e: boxes[e.source].middle
    )
    return boxes[edge.target].middle + (into.index(edge) - (len(into) - 1) / 2) * 26


def _freight(manifest: Manifest, edge: Edge, x: float, y: float) -> list[Markup]:
    specs = {name: manifest.tensors[name] for name in edge.tensors}
    windows = [spec.shape[spec.window_axis] for spec in specs.values() if spec.window_axis is not None]
    aside = RING_PX + 4 if windows else 0.0  # room for the ring that the line runs through
    parts = [label(x, y - 8 - aside, bytes_text(sum(spec.bytes for spec in specs.values())), "edge-size")]
    names = [f"{name} {'×'.join(map(str, spec.shape[1:]))}" for name, spec in specs.items()]
    if len(names) > SHOWN:
        names[SHOWN - 1 :] = [f"and {len(names) - SHOWN + 1} more"]
    parts += [label(x, y + 17 + aside + 14 * i, name, "edge-name") for i, name in enumerate(names)]
    return parts + _ring(x + 46, y, windows[0], f"slot {_owner(manifest, edge)}") if windows else parts


def _owner(manifest: Manifest, edge: Edge) -> str:
    return next(stage_class(manifest, stage) for stage in manifest.stages if f"stage:{stage.name}" == edge.source)


def _ring(x: float, y: float, slots: int, kind: str) -> list[Markup]:
    """The window as the ring buffer that it is: one slot for each item, the newest filled."""
    drawn, outer, inner = min(slots, SLOTS), RING_PX, 0.55 * RING_PX
    parts = [element("circle", cx=x, cy=y, r=outer, class_="hole")]
    for i in range(drawn):
        first, last = (2 * pi * (i + k) / drawn - pi / 2 for k in (0, 1))
        corners = [(outer, first), (outer, last), (inner, last), (inner, first)]
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = ((x + r * cos(a), y + r * sin(a)) for r, a in corners)
        large = int(drawn == 1)
        path = (
            f"M{ax:.1f} {ay:.1f}A{outer:g} {outer:g} 0 {large} 1 {bx:.1f} {by:.1f}"
            f"L{cx:.1f} {cy:.1f}A{inner:g} {inner:g} 0 {large} 0 {dx:.1f} {dy:.1f}Z"
        )
        parts.append(element("path", d=path, class_=f"{kind} newest" if i == 0 else kind))
    parts.append(label(x, y + 4, str(slots), "edge-size", "middle"))
    return parts


def _cuts(manifest: Manifest, boxes: dict[str, Box], height: float) -> list[Markup]:
    parts: list[Markup] = []
    border = crossing(manifest)
    private = [boxes[f"stage:{s.name}"] for s in manifest.stages if set(s.outputs) & set(border)]
    if private:
        size = bytes_text(sum(manifest.tensors[name].bytes for name in border))
        text = f"cut by sensor: {len(border)} tensors, {size}"
        columns = sorted({box.right + CUT_PX for box in private})
        for x in columns:
            beside = [box for box in private if box.right + CUT_PX == x]
            top, bottom = min(box.y for box in beside) - 8, max(box.bottom for box in beside) + 8
            whole = len(columns) == 1
            parts.append(line((x, TOP_PX - 22 if whole else top), (x, height - 4 if whole else bottom), "cut"))
            if x == columns[0]:
                parts.append(label(x, TOP_PX - 29, text, "cut-text", "middle"))
    for stage in manifest.stages:
        if stage.per_item and (box := boxes[f"stage:{stage.name}"]):
            x, items = box.right + CUT_PX, manifest.tensors[stage.outputs[0]]
            count = items.shape[items.window_axis] if items.window_axis is not None else 1
            parts += [line((x, TOP_PX - 22 if box.y < TOP_PX + 1 else box.y - 8), (x, box.bottom + 8), "cut")]
            parts.append(label(x, box.y - 29, f"cut by time: {count} results kept", "cut-text", "middle"))
    return parts
