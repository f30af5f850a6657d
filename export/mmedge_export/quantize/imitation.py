"""Float32 graphs that round as bfloat16 and FP8 do, for a runtime that has no kernels for these."""

from collections.abc import Collection

import numpy as np
import onnx
from ml_dtypes import bfloat16
from onnx import helper, numpy_helper, shape_inference

from mmedge.types import Array
from mmedge_export.quantize.tidy import tidied

__all__ = ["imitate_bfloat16", "imitate_fp8"]

FLOAT = onnx.TensorProto.FLOAT
FP8 = onnx.TensorProto.FLOAT8E4M3FN


def imitate_bfloat16(model: onnx.ModelProto, wide: Collection[str] = ()) -> onnx.ModelProto:
    """The same graph, whose weights and node outputs are rounded to bfloat16; sums inside a node are float32.

    Args:
        model: Nodes named.
        wide: Nodes that are not rounded.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    inferred = shape_inference.infer_shapes(model, strict_mode=True).graph
    floats = {v.name for v in (*inferred.value_info, *inferred.output) if v.type.tensor_type.elem_type == FLOAT}
    rounded = {name for node in copy.graph.node if node.name not in wide for name in node.input}
    for tensor in copy.graph.initializer:
        if tensor.data_type == FLOAT and tensor.name in rounded:
            small = numpy_helper.to_array(tensor).astype(bfloat16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(small, tensor.name))
    casts = []
    for node in copy.graph.node:
        for place, name in enumerate(node.output):
            if name in floats and node.name not in wide:
                node.output[place] = f"{name}.exact"
                casts += _there_and_back(f"{name}.exact", name, onnx.TensorProto.BFLOAT16)
    copy.graph.node.extend(casts)
    return tidied(copy, model)


def imitate_fp8(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with divisions, casts and products in the place of Q and DQ of FP8 values.

    Args:
        model: With Q/DQ as :func:`mmedge_export.quantize.explicit.explicit` makes it.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weights = {tensor.name: tensor for tensor in copy.graph.initializer}
    nodes = []
    for node in copy.graph.node:
        if node.op_type == "QuantizeLinear":
            scaled = f"{node.output[0]}.scaled"
            nodes.append(helper.make_node("Div", list(node.input[:2]), [scaled], name=f"{node.name}.Div"))
            nodes.append(helper.make_node("Cast", [scaled], [node.output[0]], name=node.name, to=FP8, saturate=1))
        elif node.op_type == "DequantizeLinear" and node.input[0] in weights:
            values = _dequantized(node, weights)
            copy.graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        elif node.op_type == "DequantizeLinear":
            wide = f"{node.output[0]}.scaled"
            nodes.append(helper.make_node("Cast", [node.input[0]], [wide], name=node.name, to=FLOAT))
            nodes.append(helper.make_node("Mul", [wide, node.input[1]], [node.output[0]], name=f"{node.name}.Mul"))
        else:
            nodes.append(node)
    kept = list(nodes)
    del copy.graph.node[:]
    copy.graph.node.extend(kept)
    return tidied(copy, model)


def _dequantized(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> Array:
    values = numpy_helper.to_array(weights[node.input[0]]).astype(np.float32)
    scales = numpy_helper.to_array(weights[node.input[1]])
    axis = next((a.i for a in node.attribute if a.name == "axis"), None)
    shape = [1] * values.ndim
    if axis is not None and scales.ndim:
        shape[axis] = -1
    product: Array = values * scales.reshape(shape)
    return product


def _there_and_back(source: str, target: str, element: int) -> list[onnx.NodeProto]:
    small = f"{target}.small"
    return [
        helper.make_node("Cast", [source], [small], name=f"{target}.ToSmall", to=element),
        helper.make_node("Cast", [small], [target], name=f"{target}.ToFloat", to=FLOAT),
    ]
