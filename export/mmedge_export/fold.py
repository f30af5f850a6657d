"""Shape arithmetic out of the way: what other exporters leave in a graph to compute shapes that are known by now."""

from collections.abc import Mapping
from math import prod

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from mmedge.errors import ExportError
from mmedge.types import Array
from mmedge_export.branches import take_branches
from mmedge_export.graph import tensor_specs
from mmedge_export.user_code import USER_ERRORS, first_line

__all__ = ["fold_shapes"]

MAX_VALUES = 1 << 12  # of a tensor that can be a shape, an index or a mask; weights are left as they are
ARITHMETIC = {
    *("Abs", "Add", "And", "Cast", "Ceil", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Floor", "Gather"),
    *("Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or"),
    *(
        "Range",
        "ReduceProd",
        "Reshape",
        "ScatterND",
        "Slice",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
        "Where",
    ),
}


def fold_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph, with constants and all that is computed from shapes alone as initialisers.

    Args:
        model: Its inputs have static shapes.

    Returns:
        A new model, in which branches that constants decide are taken. Nothing that depends on data is touched, and
        nothing large is made.
    """
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    _fold_constant_nodes(folded.graph)
    while True:
        del folded.graph.value_info[:]
        found = _pass(folded)
        if take_branches(folded.graph, _small(folded) | found):
            _fold_constant_nodes(folded.graph)
        elif not found:
            return folded
        kept = [node for node in folded.graph.node if not set(node.output) & found.keys()]
        del folded.graph.node[:]
        folded.graph.node.extend(kept)
        folded.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in found.items())


def _fold_constant_nodes(graph: onnx.GraphProto) -> None:
    kept = []
    for node in graph.node:
        tensor = next((a.t for a in node.attribute if a.name == "value"), None) if node.op_type == "Constant" else None
        if tensor is None:
            kept.append(node)
            continue
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = node.output[0]
    del graph.node[:]
    graph.node.extend(kept)


def _pass(model: onnx.ModelProto) -> dict[str, Array]:
    specs = tensor_specs(model)
    finals = {value.name for value in model.graph.output}
    known = _small(model)
    made: dict[str, Array] = {}
    for node in model.graph.node:
        if len(node.output) != 1 or node.output[0] in finals:
            continue
        if node.op_type == "Shape" and node.input[0] in specs:
            made[node.output[0]] = _shape(node, specs[node.input[0]].shape)
        elif _foldable(node, known | made):
            array = _evaluate(model, node, known | made)
            if array.size <= MAX_VALUES:
                made[node.output[0]] = array
    return made


def _small(model: onnx.ModelProto) -> dict[str, Array]:
    small = (tensor for tensor in model.graph.initializer if prod(tensor.dims) <= MAX_VALUES)
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in small}


def _foldable(node: onnx.NodeProto, known: Mapping[str, Array]) -> bool:
    if node.op_type == "Constant":
        return any(a.name.startswith("value_") for a in node.attribute)
    known_inputs = all(not name or name in known for name in node.input)
    return node.op_type in ARITHMETIC and known_inputs and _made_size(node, known) <= MAX_VALUES


def _made_size(node: onnx.NodeProto, known: Mapping[str, Array]) -> float:
    """Values that an operator makes whose output can be larger than its inputs: what a damaged file can ask for."""
    if node.op_type == "ConstantOfShape":
        return prod(map(int, known[node.input[0]]))
    if node.op_type == "Expand":
        return prod(map(int, known[node.input[1]]))
    if node.op_type == "Range":
        start, limit, delta = (float(known[name]) for name in node.input)
        return abs(limit - start) / abs(delta) if delta else float("inf")
    return 0


def _shape(node: onnx.NodeProto, shape: tuple[int, ...]) -> Array:
    ends = {a.name: a.i for a in node.attribute}
    return np.array(shape[ends.get("start", 0) : ends.get("end", len(shape))], np.int64)


def _evaluate(model: onnx.ModelProto, node: onnx.NodeProto, known: Mapping[str, Array]) -> Array:
    names = list(dict.fromkeys(name for name in node.input if name))
    function = helper.make_function("mmedge", "fold", names, list(node.output), [node], list(model.opset_import))
    given = {name: known[name] for name in names}
    try:
        (array,) = ReferenceEvaluator(function).run(None, given, attributes={})
    except USER_ERRORS as error:
        raise ExportError(
            f"{node.op_type} of constants, {node.output[0]}, cannot be computed: {first_line(error)}"
        ) from error
    return np.asarray(array)
