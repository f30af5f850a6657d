"""Explicit Q/DQ as TensorRT wants it: at the inputs of products only, symmetric, weights stored small, biases float.

One file serves TensorRT 10.3 to 11 and TensorRT-RTX: nothing stands between a convolution and its ReLU or sum, no
output is quantized, and the rest of the graph has half precision by its types (strong typing needs no flags).

Source: NVIDIA, Working with Quantized Types, TensorRT documentation, section on Q/DQ placement.
"""

from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np
import onnx
from ml_dtypes import float8_e4m3fn
from onnx import helper, numpy_helper

from mmedge.calibration import Method, TensorRange
from mmedge.types import Array
from mmedge_export.quantize.placement import products, weights_of
from mmedge_export.quantize.tidy import at_opset, tidied
from mmedge_export.quantize.weights import LARGEST, channel_axis, per_channel

__all__ = ["Kind", "explicit", "too_small"]

Kind = Literal["int8", "fp8"]
FP8_LARGEST = 448.0
SCALES_OPSET = 20
SMALLEST_SCALE = 2.0**-20  # a half-precision number with 4 bits left; smaller scales are not kept well enough


def explicit(
    model: onnx.ModelProto,
    ranges: Mapping[str, TensorRange],
    method: Method,
    exact: Collection[str] = (),
    kind: Kind = "int8",
) -> onnx.ModelProto:
    """A stage with Q/DQ pairs in front of its products, everything else in float32.

    Args:
        model: The fp32 stage, nodes named, shapes static; below opset 19, which has no scales in half precision, it is
            brought to 20.
        ranges: Of its activations.
        method: How they are clipped.
        exact: Products that stay as they are.
        kind: What the values between Q and DQ are.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(at_opset(model, SCALES_OPSET) if _opset(model) < SCALES_OPSET - 1 else model)
    graph = changed.graph
    chosen = products(model).keys() - set(exact)
    weights = weights_of(model)
    done: dict[str, str] = {}  # what a tensor is called behind its DQ
    pairs: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.name not in chosen:
            continue
        for place, name in enumerate(node.input[:2]):
            if name in weights:
                node.input[place] = _weight(graph, node, weights[name], kind, pairs)
            elif name not in done:
                done[name] = f"{name}.dq"
                scale = _scale(ranges[name].clipped(method), kind)
                pairs += _pair(graph, name, scale, kind)
    for node in graph.node:  # every reader sees the same values, so that a shortcut joins without a conversion
        for place, name in enumerate(node.input):
            node.input[place] = done.get(name, name)
    graph.node.extend(pairs)
    return tidied(changed, model)


def too_small(model: onnx.ModelProto, ranges: Mapping[str, TensorRange], method: Method, kind: Kind) -> set[str]:
    """Products whose activations have a scale that half precision does not hold."""
    weights = weights_of(model)
    small = set()
    for node in model.graph.node:
        if node.name in products(model):
            scales = [_scale(ranges[name].clipped(method), kind) for name in node.input[:2] if name not in weights]
            if any(scale < SMALLEST_SCALE for scale in scales):
                small.add(node.name)
    return small


def _opset(model: onnx.ModelProto) -> int:
    return max(int(entry.version) for entry in model.opset_import if not entry.domain)


def _scale(bounds: tuple[float, float], kind: Kind) -> np.float32:
    magnitude = max(-bounds[0], bounds[1])
    scale = magnitude / (LARGEST if kind == "int8" else FP8_LARGEST)
    # the scale that will stand in the file, where the rest has half precision
    rounded = np.float16(scale)
    return np.float32(rounded if rounded > 0 else SMALLEST_SCALE / 2 if magnitude > 0 else 1.0)


def _pair(graph: onnx.GraphProto, name: str, scale: np.float32, kind: Kind) -> list[onnx.NodeProto]:
    scale_name, zero_name = f"{name}.scale", f"{name}.zero"
    graph.initializer.append(numpy_helper.from_array(np.array(scale, np.float32), scale_name))
    graph.initializer.append(_stored(np.zeros((), np.float32), zero_name, kind))
    inputs = [scale_name, zero_name]
    return [
        helper.make_node("QuantizeLinear", [name, *inputs], [f"{name}.q"], name=f"{name}.Quantize"),
        helper.make_node("DequantizeLinear", [f"{name}.q", *inputs], [f"{name}.dq"], name=f"{name}.Dequantize"),
    ]


def _weight(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    tensor: onnx.TensorProto,
    kind: Kind,
    pairs: list[onnx.NodeProto],
) -> str:
    """Store a weight small, with a DQ in front of its reader; the name to read."""
    values = numpy_helper.to_array(tensor)
    axis = channel_axis(node, values.ndim) if tensor.name == node.input[1] else None
    scales = per_channel(values, axis, LARGEST if kind == "int8" else FP8_LARGEST)
    scales = np.maximum(scales.astype(np.float16), np.float16(2.0**-24)).astype(np.float32)
    shape = [1] * values.ndim
    if axis is not None:
        shape[axis] = -1
    name = f"{node.name}.{tensor.name}"
    graph.initializer.append(_stored(values / scales.reshape(shape), f"{name}.{kind}", kind))
    graph.initializer.append(numpy_helper.from_array(scales, f"{name}.scale"))
    graph.initializer.append(_stored(np.zeros(scales.shape, np.float32), f"{name}.zero", kind))
    inputs = [f"{name}.{kind}", f"{name}.scale", f"{name}.zero"]
    keywords: dict[str, Any] = {} if axis is None else {"axis": axis}
    pairs.append(helper.make_node("DequantizeLinear", inputs, [f"{name}.dq"], name=f"{name}.Dequantize", **keywords))
    return f"{name}.dq"


def _stored(scaled: Array, name: str, kind: Kind) -> onnx.TensorProto:
    if kind == "int8":
        return numpy_helper.from_array(np.clip(np.rint(scaled), -LARGEST, LARGEST).astype(np.int8), name)
    small = np.clip(scaled, -FP8_LARGEST, FP8_LARGEST).astype(float8_e4m3fn)
    return helper.make_tensor(name, onnx.TensorProto.FLOAT8E4M3FN, small.shape, small.tobytes(), raw=True)
