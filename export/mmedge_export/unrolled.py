"""Loops over the items of a window, which the exporter unrolls: the copies of the body are found and joined again.

Two tensors are copies of one another when the same operators made them, with the same weights, from two different
items. Where the copies of all items are read one by one (by the steps of an unrolled recurrence, by a sum), they are
stacked and the readers take their slice from the stack: the graph computes the same, and the stack is a tensor with
the items of the window along its first axis.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mmedge.types import Array
from mmedge_export.graph import reads
from mmedge_export.lanes import Graph, Lane

__all__ = ["Loop", "find_loop", "split_to_slices", "stack_copies"]

ALL = -1  # the item of what depends on several


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """The copies of what is done to each item.

    Attributes:
        copies: Of each kind of tensor one row, by item.
        nodes: Positions of the nodes that make them.
        joints: Of nodes that put all copies of one kind in a row, in order.
    """

    copies: tuple[tuple[str, ...], ...]
    nodes: frozenset[int]
    joints: frozenset[int]


def find_loop(graph: Graph, nodes: Collection[int], lanes: Mapping[str, Lane], items: int) -> Loop:
    """What is done to each item by a copy of its own; nothing where there is no loop.

    Args:
        graph: The graph.
        nodes: Positions of those that depend on no port but the one of the window.
        lanes: Where the items lie in the tensors from which they may be taken.
        items: Their number.
    """
    kinds: dict[str, tuple[str, int]] = {}  # of each tensor that depends on the window, and its item
    digests: dict[str, str] = {}
    for node in (graph.model.graph.node[i] for i in sorted(nodes)):
        moving = [name for name in reads(node) if name in kinds or name in lanes]
        if not moving:
            continue
        source = node.input[0] if len(moving) == 1 and node.input else ""
        item = _picked(graph, node, lanes[source], items) if source in lanes else None
        picks = item is not None
        if item is None:
            found = {kinds.get(name, ("", ALL))[1] for name in moving}
            item = found.pop() if len(found) == 1 else ALL
        kind = "" if item == ALL else _kind(graph, node, kinds, digests, source if picks else "")
        kinds.update({name: (f"{kind}/{i}", item) for i, name in enumerate(node.output) if name})
    rows: dict[str, dict[int, str]] = {}
    for name, (kind, item) in kinds.items():
        if item != ALL:
            rows.setdefault(kind, {}).setdefault(item, name)
    copies = {kind: tuple(row[i] for i in range(items)) for kind, row in rows.items() if len(row) == items}
    inside = {name for row in copies.values() for name in row}
    tuples, made = set(copies.values()), {i: graph.model.graph.node[i] for i in nodes}
    return Loop(
        copies=tuple(copies.values()),
        nodes=frozenset(i for i, node in made.items() if inside & set(node.output)),
        joints=frozenset(i for i, node in made.items() if node.op_type == "Concat" and tuple(node.input) in tuples),
    )


def stack_copies(model: onnx.ModelProto, loop: Loop, name: str) -> onnx.ModelProto:
    """The same model, with the results of an unrolled loop stacked where they were read one by one.

    Args:
        model: The model; it is not changed.
        loop: Found in it.
        name: Of the new tensors.
    """
    finals = {value.name for value in model.graph.output}
    outside = [i for i in range(len(model.graph.node)) if i not in loop.nodes | loop.joints]
    read = finals.union(*(reads(model.graph.node[i]) for i in outside))
    chosen = [row for row in loop.copies if read & set(row) and not finals & set(row)]
    if not chosen:
        return model
    stacked = onnx.ModelProto()
    stacked.CopyFrom(model)
    renamed: dict[str, str] = {}
    added: list[onnx.NodeProto] = []
    for number, row in enumerate(chosen):
        added += _stack(stacked.graph, f"{name}{number}", row)
        renamed |= {copy: f"{copy}.from_stack" for copy in row}
    for i in outside:
        _rename(stacked.graph.node[i], renamed)
    ordered = _sorted([*stacked.graph.node, *added])
    del stacked.graph.node[:]
    stacked.graph.node.extend(ordered)
    return stacked


def split_to_slices(model: onnx.ModelProto, port: str, axis: int, items: int) -> onnx.ModelProto:
    """The same model, with a slice for each item where the window is split into its items.

    Args:
        model: The model; it is not changed.
        port: An input.
        axis: Of its items.
        items: Their number.
    """
    splits = [node for node in model.graph.node if _splits(node, port, axis, items)]
    if not splits:
        return model
    sliced = onnx.ModelProto()
    sliced.CopyFrom(model)
    nodes = []
    for node in model.graph.node:
        if not _splits(node, port, axis, items):
            nodes.append(node)
            continue
        for i, name in enumerate(node.output):
            names = [f"{name}.{part}" for part in ("begin", "end", "axis")]
            for part, value in zip(names, (i, i + 1, axis), strict=True):
                sliced.graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), part))
            nodes.append(helper.make_node("Slice", [port, *names], [name], name=f"{node.name}.{i}"))
    del sliced.graph.node[:]
    sliced.graph.node.extend(nodes)
    return sliced


def _splits(node: onnx.NodeProto, port: str, axis: int, items: int) -> bool:
    along = next((a.i for a in node.attribute if a.name == "axis"), 0)
    return node.op_type == "Split" and node.input[0] == port and along == axis and len(node.output) == items


def _picked(graph: Graph, node: onnx.NodeProto, lane: Lane, items: int) -> int | None:
    """Which item a node takes out of a tensor, or None when it does something else."""
    if (lane.count, lane.inner, lane.first, lane.span) != (items, 1, 0, 1):
        return None
    constants = [graph.constant(name) for name in node.input[1:4]]
    if any(value is None or value.size != 1 for value in constants):
        return None
    numbers = [int(value.reshape(-1)[0]) for value in constants if value is not None]
    if node.op_type == "Gather":
        along = next((a.i for a in node.attribute if a.name == "axis"), 0)
        return numbers[0] % items if along == lane.axis else None
    if node.op_type != "Slice" or len(numbers) < 3 or numbers[2] != lane.axis:
        return None
    begin, end, _ = slice(*numbers[:2]).indices(items)
    return begin if end == begin + 1 else None


def _kind(
    graph: Graph,
    node: onnx.NodeProto,
    kinds: Mapping[str, tuple[str, int]],
    digests: dict[str, str],
    source: str,
) -> str:
    """What a node computes from its item, or takes it from: equal for copies of it."""
    told = [node.op_type, node.domain, source]
    told += sorted(f"{a.name}={a.SerializeToString().hex()}" for a in node.attribute)
    for name in () if source else node.input:
        if name in kinds:
            told.append(kinds[name][0])
            continue
        if name not in digests:
            value = graph.constant(name) if name else None
            digests[name] = name if value is None else f"{value.dtype}{value.shape}{_digest_of(value)}"
        told.append(digests[name])
    return _digest("|".join(told).encode())


def _digest_of(value: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data).hexdigest()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _stack(graph: onnx.GraphProto, name: str, row: Sequence[str]) -> list[onnx.NodeProto]:
    graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), f"{name}.axis"))
    nodes = [helper.make_node("Unsqueeze", [copy, f"{name}.axis"], [f"{copy}.row"]) for copy in row]
    nodes.append(helper.make_node("Concat", [f"{copy}.row" for copy in row], [name], axis=0))
    for i, copy in enumerate(row):
        graph.initializer.append(numpy_helper.from_array(np.array(i, np.int64), f"{name}.{i}"))
        nodes.append(helper.make_node("Gather", [name, f"{name}.{i}"], [f"{copy}.from_stack"], axis=0))
    return nodes


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    for i, name in enumerate(node.input):
        node.input[i] = names.get(name, name)


def _sorted(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """In topological order; nodes that can run keep their order."""
    waiting = {name for node in nodes for name in node.output}
    ordered, rest = [], list(nodes)
    while rest:
        later = []
        for node in rest:
            if reads(node) & waiting:
                later.append(node)
            else:
                ordered.append(node)
                waiting -= set(node.output)
        rest = later
    return ordered
