"""What could be gates over the sensors, as far as the structure of a graph tells.

A gate meets the values of its sensor in a product, and nothing of that sensor may reach what comes of the product by
another way: else a gate that is shut would not shut the sensor out. Which of several gates scales which sensor is
not read from the structure; see :mod:`mmedge_export.gates.proof`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import onnx
from onnx import numpy_helper

from mmedge.manifest import TensorSpec
from mmedge_export.graph import reads

__all__ = ["Candidate", "candidates", "depending"]

GATES = {"Softmax", "Sigmoid"}
PRODUCTS = {"Mul", "MatMul", "Gemm", "Einsum"}
MOST_ONES = 4096  # values of the one of 1 - z; what is larger is not looked at
MOST_SLICES = 32  # tokens that an attention over sensors looks at
GATE, GATED = "the gate", "gated"
Sources = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Tensors that could be gates.

    Attributes:
        kind: See :class:`mmedge.gates.Gates`.
        tensors: One whose slices along ``axis`` are the gates, or one gate each.
        axis: None if each tensor is a gate.
        size: How many gates there are.
        ports: Sensors that reach some outputs only through products with them, in the model's order.
        outputs: These outputs.
    """

    kind: Literal["softmax", "complement", "sigmoid"]
    tensors: tuple[str, ...]
    axis: int | None
    size: int
    ports: tuple[str, ...]
    outputs: tuple[str, ...]


def candidates(
    model: onnx.ModelProto, sensors: Collection[str], specs: Mapping[str, TensorSpec], *, declared: str = ""
) -> list[Candidate]:
    """All that could be gates over two or more sensors.

    Args:
        model: The whole graph.
        sensors: Its inputs that are no states.
        specs: Of its tensors.
        declared: An output that the user says is made of the gates alone; without it, sigmoids that look at a single
            sensor are left out, as encoders are full of them.
    """
    graph = model.graph
    inputs = {value.name: frozenset([value.name]) for value in graph.input}
    reached = depending(graph.node, inputs)
    ones = {tensor.name for tensor in graph.initializer if _is_one(tensor)}
    near = _nearest(graph, declared) if declared else None
    found, alone = list[Candidate](), list[Candidate]()
    for node in graph.node:
        made = specs.get(node.output[0]) if node.op_type in GATES else None
        if made is None or made.dtype != "float32":  # as weights are
            continue
        looks_around = node.op_type == "Softmax" or len(reached[node.output[0]] & set(sensors)) > 1
        if not (looks_around if near is None else node.output[0] in near):
            continue
        for shape in _shapes(node, graph.node, ones, made.shape):
            if shape.size == 1:
                alone.append(shape)
            else:
                found.append(_through(graph, inputs, sensors, shape))
    found += _joined(graph, inputs, sensors, alone)
    found = [each for each in found if len(each.ports) > 1 and _enough(each)]
    return [each for each in found if not declared or _makes(graph, inputs, each, declared)]


def depending(nodes: Iterable[onnx.NodeProto], sources: Sources) -> dict[str, frozenset[str]]:
    """What every tensor depends on, where some tensors are given, whatever would make them."""
    depends = dict(sources)
    for node in nodes:
        here = frozenset[str]().union(*(depends.get(name, frozenset()) for name in reads(node)))
        for name in node.output:
            depends.setdefault(name, here)
    return depends


def _shapes(
    node: onnx.NodeProto, nodes: Iterable[onnx.NodeProto], ones: Collection[str], shape: tuple[int, ...]
) -> Iterator[Candidate]:
    """The ways in which the output of a softmax or sigmoid could hold gates."""
    name = node.output[0]
    plain = Candidate(kind="sigmoid", tensors=(name,), axis=None, size=1, ports=(), outputs=())
    if node.op_type == "Softmax":
        axis = next((a.i for a in node.attribute if a.name == "axis"), -1) % len(shape)
        if axis and shape[axis] <= MOST_SLICES:
            yield replace(plain, kind="softmax", axis=axis, size=shape[axis])
        return
    yield plain
    for other in nodes:
        if other.op_type == "Sub" and other.input[0] in ones and other.input[1] == name:
            yield replace(plain, kind="complement", tensors=(name, other.output[0]), size=2)
    for axis, size in enumerate(shape):
        if axis and 1 < size <= MOST_SLICES:
            yield replace(plain, axis=axis, size=size)


def _through(graph: onnx.GraphProto, inputs: Sources, sensors: Collection[str], candidate: Candidate) -> Candidate:
    """The candidate with the sensors that go through it, and the outputs that they go to."""
    given = dict(inputs) | dict.fromkeys(candidate.tensors, frozenset([GATE]))
    entering, products = _products(graph, given)
    behind = depending(graph.node, given | dict.fromkeys(products, frozenset([GATED])))
    ends = {value.name: behind[value.name] for value in graph.output if GATED in behind.get(value.name, ())}
    past = frozenset[str]().union(*ends.values())
    ports = tuple(name for name in sensors if name in entering and name not in past)
    return replace(candidate, ports=ports, outputs=tuple(ends))


def _products(graph: onnx.GraphProto, given: Sources) -> tuple[set[str], set[str]]:
    """What enters the products of gates with something else, and what they make."""
    depends = depending(graph.node, given)
    entering, products = set[str](), set[str]()
    for node in graph.node:
        sets = [depends.get(name, frozenset()) for name in node.input]
        values = [each for each in sets if each and GATE not in each]
        if node.op_type in PRODUCTS and frozenset([GATE]) in sets and values:
            products |= set(node.output)
            entering |= set().union(*values)
    return entering, products


def _makes(graph: onnx.GraphProto, inputs: Sources, candidate: Candidate, output: str) -> bool:
    """Whether an output depends on these gates and on nothing else."""
    gates = dict.fromkeys(candidate.tensors, frozenset([GATE]))
    return depending(graph.node, dict(inputs) | gates)[output] == {GATE}


def _enough(candidate: Candidate) -> bool:
    """Whether there is a gate for every sensor; of a softmax there may be several, one for each token."""
    if candidate.kind == "softmax":
        return candidate.size >= len(candidate.ports)
    return candidate.size == len(candidate.ports)


def _nearest(graph: onnx.GraphProto, output: str) -> set[str]:
    """What a softmax or sigmoid makes, where the way back from an output meets one first."""
    makers = {name: node for node in graph.node for name in node.output}
    waiting, seen, found = [output], set[str](), set[str]()
    while waiting:
        name = waiting.pop()
        node = makers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in GATES:
            found.add(name)
        else:
            waiting += reads(node)
    return found


def _joined(
    graph: onnx.GraphProto, inputs: Sources, sensors: Collection[str], alone: list[Candidate]
) -> Iterator[Candidate]:
    """Gates with a tensor each, as one candidate: if every sensor that has one has exactly one."""
    owned = dict[str, str]()
    for candidate in alone:
        entering, _ = _products(graph, dict(inputs) | {candidate.tensors[0]: frozenset([GATE])})
        if len(entering) == 1 and entering <= set(sensors):
            (port,) = entering
            if port in owned:  # of several for one sensor, nobody can say which is meant
                return
            owned[port] = candidate.tensors[0]
    if owned:
        plain = Candidate(
            kind="sigmoid", tensors=tuple(owned.values()), axis=None, size=len(owned), ports=(), outputs=()
        )
        yield _through(graph, inputs, sensors, plain)


def _is_one(tensor: onnx.TensorProto) -> bool:
    if tensor.data_type != onnx.TensorProto.FLOAT or not 0 < prod(tensor.dims) <= MOST_ONES:
        return False
    return bool((numpy_helper.to_array(tensor) == 1).all())
