"""The graph of a window's newest items alone, and the proof that it makes what the graph of the window makes.

The proof is numerical: the items of several windows are pushed through one by one, and every result must equal the
slice of the whole window. Real samples are not enough, because a camera that sees a still scene cannot tell whether
items mix; so one more window is drawn in which every item is another.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mmedge.errors import ExportError
from mmedge.types import Array
from mmedge_export.graph import extract, reaching
from mmedge_export.isolate import run_isolated
from mmedge_export.lanes import Lane
from mmedge_export.parity.comparison import split_tolerance
from mmedge_export.regions import Trail
from mmedge_export.weights import write_beside

__all__ = ["Proof", "item_graph", "reach"]

RESHAPES = {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}
SEED = 11
END = np.iinfo(np.int64).max


def reach(trail: Trail, border: Collection[str]) -> int:
    """How many of the newest items the newest slices of some tensors depend on."""
    lanes = [trail.lanes[name] for name in border]
    return max(trail.items - lane.count + 1 - lane.first for lane in lanes)


def item_graph(trail: Trail, nodes: Collection[int], border: Sequence[str]) -> onnx.ModelProto:
    """The graph that makes the newest slice of each border tensor, from as few of the newest items as it takes.

    Args:
        trail: Where the items go.
        nodes: Positions of the nodes to take it from, those that depend on no port included.
        border: Its outputs.

    Raises:
        ExportError: The nodes cannot be made to work on fewer items.
    """
    by = trail.items - reach(trail, border)
    name = f"{trail.port}.item"
    part = extract(trail.model, nodes, [trail.port], border, name)
    joints = {trail.model.graph.node[i].output[0] for i in trail.loop.joints}
    for node in part.graph.node:
        if node.output[0] in joints:
            del node.input[trail.items - by :]
        elif node.output[0] in trail.steps:
            _edit(part.graph, node, trail.steps[node.output[0]].edit(by))
    for value in (*part.graph.input, *part.graph.output):
        lane, dims = trail.lanes[value.name], value.type.tensor_type.shape.dim
        dims[lane.axis].dim_value = lane.shorter([dim.dim_value for dim in dims], by)[lane.axis]
    _keep_newest(part.graph, {value: trail.lanes[value] for value in border})
    kept, _ = reaching(part.graph.node, [trail.port], border)
    del part.graph.node[:]
    part.graph.node.extend(kept)
    try:
        return extract(part, range(len(kept)), [trail.port], border, name)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{name}: no graph of single items: {error}") from error


def _edit(graph: onnx.GraphProto, node: onnx.NodeProto, constants: Mapping[int, Array]) -> None:
    if constants and node.op_type in RESHAPES:
        node.op_type = "Reshape"
        del node.attribute[:]
        del node.input[1:]
        node.input.append("")
    for position, value in constants.items():
        node.input[position] = f"{node.output[0]}.{position}.item"
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), node.input[position]))


def _keep_newest(graph: onnx.GraphProto, lanes: Mapping[str, Lane]) -> None:
    """Give only the last slice of outputs that have several."""
    for value in graph.output:
        lane = lanes[value.name]
        dim = value.type.tensor_type.shape.dim[lane.axis]
        if dim.dim_value == lane.inner:
            continue
        dim.dim_value = lane.inner
        for node in graph.node:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    names[i] = f"{name}.all" if name == value.name else name
        constants = [f"{value.name}.{part}" for part in ("newest", "end", "axis")]
        for name, number in zip(constants, (-lane.inner, END, lane.axis), strict=True):
            graph.initializer.append(numpy_helper.from_array(np.array([number], np.int64), name))
        graph.node.append(helper.make_node("Slice", [f"{value.name}.all", *constants], [value.name]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What it takes to try graphs.

    Attributes:
        samples: Real windows of the port, batch axis included; one more is drawn for each proof.
        folder: For temporary files.
    """

    samples: Sequence[Array]
    folder: Path

    def disproved(self, trail: Trail, nodes: Collection[int], names: Sequence[str]) -> set[str]:
        """Those of some tensors that items, pushed one by one, do not make as the whole window does.

        Args:
            trail: Where the items go.
            nodes: Positions of the nodes that make the tensors.
            names: The tensors.

        Raises:
            ExportError: There is no graph of single items for them.
        """
        together, apart = self.folder / "together.onnx", self.folder / "apart.onnx"
        write_beside(item_graph(trail, nodes, names), apart)
        write_beside(extract(trail.model, nodes, [trail.port], names, "together"), together)
        windows = [*self.samples, _drawn(self.samples)]
        expected = run_isolated(together, [{trail.port: window} for window in windows])
        pushed = _pushes(windows, trail.lanes[trail.port], reach(trail, names))
        try:
            newest = run_isolated(apart, [{trail.port: items} for items in pushed])
        except ExportError:
            return set(names)
        tolerance = split_tolerance(expected)
        lanes = {name: trail.lanes[name] for name in names}
        return {
            name
            for name, lane in lanes.items()
            if not _difference(expected[name], newest[name], lane) <= tolerance[name]
        }


def _drawn(samples: Sequence[Array]) -> Array:
    """A window of noise in the range of the samples."""
    low, high = min(float(s.min()) for s in samples), max(float(s.max()) for s in samples)
    noise = np.random.default_rng(SEED).uniform(low, high if high > low else low + 1, samples[0].shape)
    return noise.astype(samples[0].dtype)


def _pushes(windows: Sequence[Array], lane: Lane, count: int) -> list[Array]:
    """The newest items at every push of every window; what was pushed before the window is nothing, as in a stream."""
    pushed = []
    for window in windows:
        before = [((count - 1) * lane.inner, 0) if i == lane.axis else (0, 0) for i in range(window.ndim)]
        padded = np.pad(window, before)
        starts = range(0, lane.count * lane.inner, lane.inner)
        pushed += [padded.take(range(t, t + count * lane.inner), lane.axis) for t in starts]
    return pushed


def _difference(windows: Array, newest: Array, lane: Lane) -> float:
    """Largest difference between windows [S, ...] and what the pushes [S * T, ...] leave in a ring of their length."""
    rows = [row[-windows.shape[lane.axis + 1] // lane.inner :] for row in np.split(newest, len(windows))]
    joined = np.stack([np.concatenate(list(row), lane.axis) for row in rows])
    if joined.shape != windows.shape:
        return float("inf")
    return float(np.abs(joined.astype(np.float64) - windows).max(initial=0.0))
