"""Weights as signed 8-bit numbers, one scale for each output channel."""

from collections.abc import Collection

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mmedge.types import Array
from mmedge_export.quantize.placement import PRODUCTS, weights_of

__all__ = ["channel_axis", "eight_bit_weights", "per_channel"]

LARGEST = 127
WORTH_BYTES = 2048  # below, the scales and nodes take what the numbers save


def channel_axis(node: onnx.NodeProto, rank: int) -> int | None:
    """Along which axis the output channels of a product's weights lie; None for weights of another rank than usual."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    if rank != 2:
        return None
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if transposed else 1


def per_channel(values: Array, axis: int | None, largest: float = LARGEST) -> Array:
    """Scales of weights, float32: [channels], or [] for axis None; never zero."""
    others = tuple(i for i in range(values.ndim) if i != axis)
    magnitude = np.abs(values).max(axis=others) if values.size else np.float32(0)
    scales: Array = np.asarray(magnitude / largest, np.float32)
    return np.where(scales > 0, scales, np.float32(1)).astype(np.float32)


def eight_bit_weights(model: onnx.ModelProto, exact: Collection[str] = ()) -> onnx.ModelProto:
    """The same model, whose products read weights that are stored as 8-bit numbers and computed with as float32.

    A Cast and a Mul of constants are folded when a session is made, so the graph is as fast as before and a quarter
    of its size. (A DequantizeLinear would be kept for a fused 8-bit kernel, and computed at every run without one.)

    Args:
        model: With named nodes.
        exact: Nodes whose weights stay as they are.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    weights = weights_of(changed)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in changed.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    nodes: list[onnx.NodeProto] = []
    for name, tensor in weights.items():
        values = numpy_helper.to_array(tensor)
        products = [node for node in readers.get(name, ()) if node.op_type in PRODUCTS and name in node.input[:2]]
        if tensor.data_type != onnx.TensorProto.FLOAT or values.nbytes < WORTH_BYTES or not products:
            continue
        if len(products) != len(readers[name]) or any(node.name in exact for node in products):
            continue
        nodes += _stored(changed.graph, tensor, values, products[0])
    kept = list(changed.graph.node)
    del changed.graph.node[:]
    changed.graph.node.extend(nodes + kept)
    return changed


def _stored(
    graph: onnx.GraphProto, tensor: onnx.TensorProto, values: Array, reader: onnx.NodeProto
) -> list[onnx.NodeProto]:
    name = tensor.name
    axis = channel_axis(reader, values.ndim) if name == reader.input[1] else None
    scales = per_channel(values, axis)
    shape = [1] * values.ndim
    if axis is not None:
        shape[axis] = -1
        scales = scales.reshape(shape)
    small = np.clip(np.rint(values / scales), -LARGEST, LARGEST).astype(np.int8)
    graph.initializer.remove(tensor)
    graph.initializer.append(numpy_helper.from_array(small, f"{name}.int8"))
    graph.initializer.append(numpy_helper.from_array(scales, f"{name}.scale"))
    cast = helper.make_node("Cast", [f"{name}.int8"], [f"{name}.cast"], name=f"{name}.Cast", to=onnx.TensorProto.FLOAT)
    return [cast, helper.make_node("Mul", [f"{name}.cast", f"{name}.scale"], [name], name=f"{name}.Mul")]
