"""Splits a window encoder by time: what is computed for each item of the window alone becomes a stage of its own.

The axis along which items lie is followed through the graph to propose a region; the proposal is then proved on real
samples: the region, rewritten for a window of one, is run item by item, and every tensor on its border must equal the
slices of the whole window. What fails the proof is taken out of the region, with all that depends on it, until the rest
holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from mmedge.errors import ExportError
from mmedge.manifest import Port, Stage, TensorSpec
from mmedge.types import Array
from mmedge_export.graph import count_macs, extract, reads, tensor_specs
from mmedge_export.isolate import run_isolated
from mmedge_export.parity import split_tolerance
from mmedge_export.split import PlannedStage, SplitPlan

__all__ = ["WindowSplit", "split_window"]

Specs = Mapping[str, TensorSpec]
SHAPED_BY_CONSTANT = {"Reshape", "Expand"}
RESHAPES = {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}
WORTH_SPLITTING = 0.05  # of the encoder's multiply-accumulates must be per item
PROOF_SAMPLES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSplit:
    """A window encoder in two: a graph for one item, and the nodes of the rest.

    Attributes:
        item: The stage of one item.
        item_model: Its graph, for a window of one.
        rest: The stage of the window, or None when nothing is left for it.
        axes: For each tensor that the item stage makes, and for the port, the axis of the window.
    """

    item: PlannedStage
    item_model: onnx.ModelProto
    rest: PlannedStage | None
    axes: dict[str, int]


def split_window(
    model: onnx.ModelProto, plan: SplitPlan, name: str, port: Port, samples: Sequence[Mapping[str, Array]], folder: Path
) -> WindowSplit | str:
    """Split the encoder of one camera port by time, or say why not.

    Args:
        model: The whole graph.
        plan: How it is split by modality.
        name: The port.
        port: Its window of T pictures.
        samples: Real port tensors, batch axis included, for the proof.
        folder: For temporary files.
    """
    if port.camera is None or port.camera.frames == 1:
        return "its window is one item"
    encoder = next((planned for planned in plan.stages if planned.stage.ports == (name,)), None)
    readers = [planned for planned in plan.stages if name in planned.stage.inputs]
    if encoder is None or readers != [encoder]:
        return "its window is read by more than one stage"
    specs = tensor_specs(model)
    axes = {name: 1 + port.camera.layout.index("T")}
    region = _propose(model, encoder.nodes, axes, specs, port.camera.frames)
    proof = _Proof(model=model, port=name, axes=axes, samples=samples[:PROOF_SAMPLES], folder=folder)
    while sum(count_macs(model.graph.node[i], specs) for i in region) >= WORTH_SPLITTING * encoder.macs:
        border = _border(model, encoder, region)
        if name in border:
            return "its window is also read as a whole"
        if not _disproved(proof, region, border):
            return _build(proof, encoder, region, border)
        moving = _moving(model, region, name) - {name}
        region = _without(model, region, _disproved(proof, region, sorted(moving)))
    return "its items mix from the first layers on"


def _propose(
    model: onnx.ModelProto, nodes: frozenset[int], axes: dict[str, int], specs: Specs, items: int
) -> frozenset[int]:
    """Nodes that seem to treat items alike; the axis of each of their outputs is added to ``axes``."""
    region = set()
    constants = {tensor.name for tensor in model.graph.initializer}
    made = {name for i in nodes for name in model.graph.node[i].output}
    for i in sorted(nodes):
        node = model.graph.node[i]
        moving = [name for name in reads(node) if name in made or name in axes]
        if not moving:  # a constant: it goes wherever it is read
            made -= set(node.output)
            region.add(i)
            continue
        known = all(name in axes for name in moving) and all(name in specs for name in (*moving, *node.output) if name)
        if not known or (node.op_type in SHAPED_BY_CONSTANT and node.input[1] not in constants):
            continue
        found = {_axis_after(node, axes[source], specs[source], specs[node.output[0]]) for source in moving}
        axis = found.pop()
        if not found and axis is not None and all(_size(specs[name], axis) == items for name in node.output if name):
            axes.update(dict.fromkeys(node.output, axis))
            region.add(i)
    return frozenset(region)


def _axis_after(node: onnx.NodeProto, axis: int, before: TensorSpec, after: TensorSpec) -> int | None:
    if node.op_type == "Transpose":
        order = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
        return (order or list(reversed(range(len(before.shape))))).index(axis)
    if node.op_type in RESHAPES:
        ahead = prod(before.shape[:axis])
        fits = [j for j, size in enumerate(after.shape) if size == before.shape[axis]]
        return next((j for j in fits if prod(after.shape[:j]) == ahead), None)
    return axis + len(after.shape) - len(before.shape)  # broadcasting aligns the last axes


def _size(spec: TensorSpec, axis: int) -> int:
    return spec.shape[axis] if 0 <= axis < len(spec.shape) else -1


def _border(model: onnx.ModelProto, encoder: PlannedStage, region: frozenset[int]) -> list[str]:
    """What the region makes, or is given, and others read."""
    (port,) = encoder.stage.ports
    wanted = set(encoder.stage.outputs).union(*(reads(model.graph.node[i]) for i in encoder.nodes - region))
    made = [port, *(name for i in sorted(region) for name in model.graph.node[i].output)]
    moving = _moving(model, region, port)
    return [name for name in made if name in wanted and name in moving]


def _moving(model: onnx.ModelProto, nodes: frozenset[int], port: str) -> set[str]:
    """Tensors that depend on the port."""
    moving = {port}
    for i in sorted(nodes):
        if moving & reads(model.graph.node[i]):
            moving |= set(model.graph.node[i].output)
    return moving


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proof:
    """What a proof needs besides the region that it is about."""

    model: onnx.ModelProto
    port: str
    axes: Mapping[str, int]
    samples: Sequence[Mapping[str, Array]]
    folder: Path


def _for_one_item(proof: _Proof, region: frozenset[int], outputs: Sequence[str]) -> onnx.ModelProto:
    """The region's graph with a window of one: the same weights, other shape constants."""
    part = extract(proof.model, region, [proof.port], outputs, f"{proof.port}.item")
    specs = tensor_specs(part)
    for node in part.graph.node:
        made = node.output[0]
        if node.op_type in SHAPED_BY_CONSTANT and made in proof.axes:
            shape = list(specs[made].shape)
            shape[proof.axes[made]] = 1
            node.input[1] = f"{made}.item_shape"
            part.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), node.input[1]))
    for value in (*part.graph.input, *part.graph.output):
        value.type.tensor_type.shape.dim[proof.axes[value.name]].dim_value = 1
    return part


def _disproved(proof: _Proof, region: frozenset[int], names: Sequence[str]) -> set[str]:
    """Those of the tensors whose items, computed one by one, are not the slices of the whole window."""
    together, apart = proof.folder / "together.onnx", proof.folder / "apart.onnx"
    ports = [value.name for value in proof.model.graph.input]
    onnx.save(extract(proof.model, range(len(proof.model.graph.node)), ports, names, "together"), together)
    expected = run_isolated(together, proof.samples)
    axis = proof.axes[proof.port]
    items = [
        {proof.port: item}
        for sample in proof.samples
        for item in np.split(sample[proof.port], sample[proof.port].shape[axis], axis)
    ]
    try:
        onnx.save(_for_one_item(proof, region, names), apart)
        single = run_isolated(apart, items)
    except (ExportError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return set(names)
    tolerance = split_tolerance(expected)
    return {
        name for name in names if not _difference(expected[name], single[name], proof.axes[name]) <= tolerance[name]
    }


def _difference(windows: Array, items: Array, axis: int) -> float:
    """Largest difference between windows [S, ...] and what items [S * T, ...] make when they are put together."""
    rows = np.split(items, len(windows))
    joined = np.stack([np.concatenate(list(row), axis) for row in rows])
    if joined.shape != windows.shape:
        return float("inf")
    return float(np.abs(joined.astype(np.float64) - windows).max())


def _without(model: onnx.ModelProto, region: frozenset[int], failed: set[str]) -> frozenset[int]:
    """The region without the nodes that made the failed tensors, and without all that depends on those."""
    bad, kept = set(failed), set(region)
    for i in sorted(region):
        node = model.graph.node[i]
        if bad & (reads(node) | set(node.output)):
            bad |= set(node.output)
            kept.discard(i)
    return frozenset(kept)


def _build(proof: _Proof, encoder: PlannedStage, region: frozenset[int], border: Sequence[str]) -> WindowSplit:
    graph, port = proof.model.graph, proof.port
    specs = tensor_specs(proof.model)
    macs = sum(count_macs(graph.node[i], specs) for i in region)
    moving = _moving(proof.model, region, port)
    own = {i for i in region if moving & set(graph.node[i].output)}
    item = PlannedStage(
        stage=Stage(name=f"{port}.item", ports=(port,), inputs=(port,), outputs=tuple(border), per_item=True),
        nodes=region,
        macs=macs // specs[port].shape[proof.axes[port]],
    )
    outputs = tuple(name for name in encoder.stage.outputs if name not in border)
    left = encoder.nodes - own
    inputs = tuple(name for name in border if name in set().union(*(reads(graph.node[i]) for i in left)))
    rest = PlannedStage(
        stage=replace(encoder.stage, inputs=inputs, outputs=outputs), nodes=left, macs=encoder.macs - macs
    )
    return WindowSplit(
        item=item,
        item_model=_for_one_item(proof, region, border),
        rest=rest if outputs else None,
        axes={name: proof.axes[name] for name in (port, *border)},
    )
