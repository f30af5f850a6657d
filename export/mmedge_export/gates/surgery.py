"""Puts weights of modalities into a graph that has gates.

With every weight at one nothing changes, to the last bit: what is added is the logarithm of one, what is multiplied by
is one. Gates that add up to one are weighed before the function that makes them so, where the logarithm of a weight
added to what goes in is the weight multiplied to what comes out, and the sum stays one: a sensor that was believed
alone can be shut out without dividing by zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mmedge.gates import GATE_VALUES, GATE_WEIGHTS
from mmedge.types import Array
from mmedge_export.gates.candidates import Candidate

__all__ = ["weighed"]


@dataclass(slots=True)
class _Nodes:
    """Nodes to be, with the small constants that they read."""

    prefix: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    count: int = 0

    def add(self, operator: str, *inputs: str | Array, made: str = "", **attributes: Any) -> str:
        names = [given if isinstance(given, str) else self._constant(given) for given in inputs]
        name, self.count = f"{self.prefix}.{self.count}", self.count + 1
        self.nodes.append(helper.make_node(operator, names, [made or name], name=name, **attributes))
        return made or name

    def taken(self) -> list[onnx.NodeProto]:
        """Those that were made since the last time."""
        taken, self.nodes = self.nodes, []
        return taken

    def _constant(self, values: Array) -> str:
        name = f"{self.prefix}.constant.{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name


def weighed(
    model: onnx.ModelProto, gates: Candidate, owner: Sequence[str], ports: Sequence[str], shape: tuple[int, ...]
) -> onnx.ModelProto:
    """The same model with one input and one output more, see :class:`mmedge.gates.Gates`.

    Args:
        model: The whole graph, of opset 13 or later.
        gates: Its gates.
        owner: The sensor of each of them.
        ports: The sensors in the order of the weights.
        shape: Of the gates' first tensor.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph, made = changed.graph, _Nodes(GATE_WEIGHTS)
    places, size = [ports.index(port) for port in owner], [len(ports)]
    added = dict[int, list[onnx.NodeProto]]()  # in front of which node
    for number, name in enumerate(gates.tensors if gates.kind == "sigmoid" else gates.tensors[:1]):
        place, node = next((i, node) for i, node in enumerate(graph.node) if name in node.output)
        if gates.kind == "sigmoid":
            node.output[0] = f"{name}.unweighed"  # from here on its name stands for the weighed one
            weights = _along(made, GATE_WEIGHTS, places, len(shape), gates.axis, number)
            made.add("Mul", node.output[0], weights, made=name)
            place += 1
        else:
            node.input[0] = made.add("Add", node.input[0], _logarithms(made, gates, places, len(shape)))
        added[place] = made.taken()
    _read(made, gates, places, len(ports), shape)
    added[len(graph.node)] = added.get(len(graph.node), []) + made.taken()
    kept = list(graph.node)
    del graph.node[:]
    for i in range(len(kept) + 1):
        graph.node.extend([*added.get(i, ()), *kept[i : i + 1]])
    graph.initializer.extend(made.constants)
    graph.input.append(helper.make_tensor_value_info(GATE_WEIGHTS, TensorProto.FLOAT, size))
    graph.output.append(helper.make_tensor_value_info(GATE_VALUES, TensorProto.FLOAT, size))
    return changed


def _logarithms(nodes: _Nodes, gates: Candidate, places: Sequence[int], rank: int) -> str:
    """What to add to that of which a softmax, or a sigmoid and its complement, are made."""
    weights = nodes.add("Log", GATE_WEIGHTS)
    if gates.kind == "softmax":
        return _along(nodes, weights, places, rank, gates.axis)
    first, second = (nodes.add("Gather", weights, np.array([place], np.int64)) for place in places)
    return nodes.add("Sub", first, second)


def _along(nodes: _Nodes, weights: str, places: Sequence[int], rank: int, axis: int | None, number: int = 0) -> str:
    """Weights [P] in the order of the gates along an axis; without an axis, the one of a gate [1]."""
    if axis is None:
        return nodes.add("Gather", weights, np.array([places[number]], np.int64))
    if list(places) != sorted(set(places)):  # each sensor once and in order
        weights = nodes.add("Gather", weights, np.array(places, np.int64))
    return weights if axis == rank - 1 else nodes.add("Unsqueeze", weights, np.arange(1, rank - axis, dtype=np.int64))


def _read(nodes: _Nodes, gates: Candidate, places: Sequence[int], count: int, shape: tuple[int, ...]) -> None:
    """What every port's gates are, on the mean; those of a softmax over tokens are added up."""
    if gates.axis is None:
        means = [nodes.add("ReduceMean", name, keepdims=0) for name in gates.tensors]
        ordered = [nodes.add("Unsqueeze", means[places.index(i)], np.array([0], np.int64)) for i in range(count)]
        nodes.add("Concat", *ordered, made=GATE_VALUES, axis=0)
    else:
        others = np.array([axis for axis in range(len(shape)) if axis != gates.axis], np.int64)
        sums = nodes.add("ReduceSum", gates.tensors[0], others, keepdims=0)
        chosen = np.array(places)[:, None] == np.arange(count)
        column = nodes.add("Unsqueeze", sums, np.array([1], np.int64))
        share = nodes.add("Mul", column, (chosen * shape[gates.axis] / prod(shape)).astype(np.float32))
        nodes.add("ReduceSum", share, np.array([0], np.int64), made=GATE_VALUES, keepdims=0)
