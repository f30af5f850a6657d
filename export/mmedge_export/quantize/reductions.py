"""Means and maxima over a leading axis, as ONNX Runtime's CPU kernels compute them fastest.

A window of T embeddings is reduced over its first real axis. The kernels of ReduceMean and ReduceMax walk such an axis
with a stride; a product with a row of 1/T, and the maximum of T parts, read the same values in order. Measured on
[1, 8, 32, 15, 20] float32, one AVX-512 core: mean 55 us against 14, maximum 58 us against 33.
"""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization.onnx_model import ONNXModel

from mmedge_export.graph import Shapes, tensor_specs

__all__ = ["faster_reductions"]

MOST_PARTS = 64
WORTH_SPLITTING = 1024  # numbers in a row; below, making the parts takes longer than the stride costs


def faster_reductions(model: onnx.ModelProto, small: Mapping[str, str] | None = None) -> onnx.ModelProto:
    """The same model with such reductions written differently; sums are taken in another order, maxima are exact.

    Args:
        model: With static shapes, at opset 18 or later (below, nothing is changed).
        small: Tensors that will have 8-bit values, and which tensor of the same numbers has them. Their maxima are
            pools over one long row of channels, which ONNX Runtime computes 64 at a time.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    if next((entry.version for entry in model.opset_import if not entry.domain), 0) < 18:
        return changed
    specs = tensor_specs(model)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        axis = _leading_axis(node, specs, constants)
        nodes += [node] if axis is None else _instead(node, axis, specs, changed.graph, small or {})
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    sorting = ONNXModel(changed)  # what a maximum reads now may be made after it
    sorting.topological_sort()
    result: onnx.ModelProto = sorting.model
    return result


def _leading_axis(node: onnx.NodeProto, specs: Shapes, constants: dict[str, onnx.TensorProto]) -> int | None:
    """The axis, if there is exactly one, nothing but ones is before it and something is after it."""
    if node.op_type not in {"ReduceMean", "ReduceMax"} or len(node.input) < 2 or node.input[1] not in constants:
        return None
    spec, made = specs.get(node.input[0]), specs.get(node.output[0])
    axes = numpy_helper.to_array(constants[node.input[1]]).reshape(-1).tolist()
    if spec is None or made is None or spec.dtype != "float32" or len(axes) != 1:
        return None
    axis = int(axes[0]) % len(spec.shape)
    fits = prod(spec.shape[:axis]) == 1 and prod(spec.shape[axis + 1 :]) > 1 and 1 < spec.shape[axis] <= MOST_PARTS
    short = node.op_type == "ReduceMax" and prod(spec.shape[axis + 1 :]) < WORTH_SPLITTING
    return axis if fits and not short else None


def _instead(
    node: onnx.NodeProto, axis: int, specs: Shapes, graph: onnx.GraphProto, small: Mapping[str, str]
) -> list[onnx.NodeProto]:
    shape, made, name = specs[node.input[0]].shape, specs[node.output[0]].shape, node.output[0]
    parts = shape[axis]

    def constant(suffix: str, value: np.typing.NDArray[np.generic]) -> str:
        graph.initializer.append(numpy_helper.from_array(value, f"{name}.{suffix}"))
        return f"{name}.{suffix}"

    def reshaped(source: str, target: str, sizes: Sequence[int], suffix: str) -> onnx.NodeProto:
        where = constant(f"{suffix}_shape", np.array(sizes, np.int64))
        return helper.make_node("Reshape", [source, where], [target], name=f"{node.name}.{suffix}")

    size = prod(shape[axis + 1 :])
    rows, result = f"{name}.rows", name if made == (1, size) else f"{name}.reduced"
    begin = reshaped(node.input[0], rows, (parts, size), "rows")
    end = [] if result == name else [reshaped(result, name, made, "back")]
    if node.op_type == "ReduceMean":
        row = constant("weights", np.full((1, parts), 1 / parts, np.float32))
        return [begin, helper.make_node("MatMul", [row, rows], [result], name=f"{node.name}.mean"), *end]
    if node.input[0] in small:
        frames, channels, pooled = f"{name}.frames", f"{name}.channels", f"{name}.pooled"
        return [
            reshaped(small[node.input[0]], frames, (1, parts, 1, size), "frames"),
            helper.make_node("Transpose", [frames], [channels], name=f"{node.name}.channels", perm=[0, 3, 1, 2]),
            helper.make_node("MaxPool", [channels], [pooled], name=f"{node.name}.pool", kernel_shape=[parts, 1]),
            reshaped(pooled, name, made, "back"),
        ]
    pieces = [f"{name}.part{i}" for i in range(parts)]
    split = helper.make_node("Split", [rows], pieces, name=f"{node.name}.split", axis=0, num_outputs=parts)
    return [begin, split, helper.make_node("Max", pieces, [result], name=f"{node.name}.max"), *end]
