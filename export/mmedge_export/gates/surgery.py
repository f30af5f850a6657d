"""Puts weights of modalities into a graph that has gates.

With every weight at one nothing changes, to the last bit: what is added is the logarithm of one, what is multiplied by
is one. Gates that add up to one are weighed before the function that makes them so, where the logarithm of a weight
added to what goes in is the weight multiplied to what comes out, and the sum stays one: a sensor that was believed
alone can be shut out without dividing by zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mmedge.gates import GATE_VALUES, GATE_WEIGHTS
from mmedge.types import Array
from mmedge_export.gates.candidates import Candidate

__all__ = ["weighed"]


@dataclass(slots=True)
class _Nodes:
    """Nodes to be, with the small constants that they read; each tensor is called after its gate."""

    prefix: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, operator: str, *inputs: str | Array, made: str = "", **attributes: int) -> str:
        names = [given if isinstance(given, str) else self._constant(given) for given in inputs]
        name = f"{self.prefix}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [made or name], name=name, **attributes))
        return made or name

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
    graph, head, tail = changed.graph, _Nodes(GATE_WEIGHTS), _Nodes(GATE_VALUES)
    places = [ports.index(port) for port in owner]
    makers = {name: node for node in graph.node for name in node.output}
    if gates.kind == "sigmoid":
        _multiply(graph, head, gates, places, makers, len(shape))
    else:
        weights = head.add("Log", GATE_WEIGHTS)
        node = makers[gates.tensors[0]]
        if gates.kind == "softmax":
            added = _along(head, weights, places, len(shape) - (gates.axis or 0))
        else:
            first, second = (head.add("Gather", weights, np.array([place], np.int64)) for place in places)
            added = head.add("Sub", first, second)
        node.input[0] = head.add("Add", node.input[0], added, made=f"{node.input[0]}.weighed")
        _insert(graph, _place(graph, node), head)
    _read(tail, gates, places, len(ports), shape)
    graph.node.extend(tail.nodes)
    graph.initializer.extend([*head.constants, *tail.constants])
    size = [len(ports)]
    graph.input.append(helper.make_tensor_value_info(GATE_WEIGHTS, TensorProto.FLOAT, size))
    graph.output.append(helper.make_tensor_value_info(GATE_VALUES, TensorProto.FLOAT, size))
    return changed


def _along(nodes: _Nodes, weights: str, places: Sequence[int], axes: int) -> str:
    """Weights [P] in the order of the gates, to be broadcast along the first of so many last axes."""
    if list(places) != sorted(set(places)):
        weights = nodes.add("Gather", weights, np.array(places, np.int64))
    if axes == 1:
        return weights
    return nodes.add("Unsqueeze", weights, np.arange(1, axes, dtype=np.int64))


def _multiply(
    graph: onnx.GraphProto,
    nodes: _Nodes,
    gates: Candidate,
    places: Sequence[int],
    makers: dict[str, onnx.NodeProto],
    rank: int,
) -> None:
    """Let the names of the gates stand for the gates times their weights."""
    for number, name in enumerate(gates.tensors):
        node, nodes_here = makers[name], _Nodes(f"{nodes.prefix}.{number}")
        raw = f"{name}.unweighed"
        node.output[0] = raw
        if gates.axis is None:
            weight = nodes_here.add("Gather", GATE_WEIGHTS, np.array([places[number]], np.int64))
        else:
            weight = _along(nodes_here, GATE_WEIGHTS, places, rank - gates.axis)
        nodes_here.add("Mul", raw, weight, made=name)
        _insert(graph, _place(graph, node) + 1, nodes_here)
        nodes.constants.extend(nodes_here.constants)


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


def _place(graph: onnx.GraphProto, node: onnx.NodeProto) -> int:
    return next(i for i, other in enumerate(graph.node) if other.output[0] == node.output[0])


def _insert(graph: onnx.GraphProto, place: int, nodes: _Nodes) -> None:
    kept = list(graph.node)
    del graph.node[:]
    graph.node.extend([*kept[:place], *nodes.nodes, *kept[place:]])
