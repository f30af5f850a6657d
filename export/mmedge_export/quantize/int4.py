"""Weights of large matrix products as 4-bit numbers in blocks, for models that wait for memory more than for sums."""

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mmedge.errors import InputError
from mmedge.types import Array
from mmedge_export.quantize.placement import weights_of
from mmedge_export.quantize.tidy import at_opset, tidied

__all__ = ["BLOCK", "fitting", "int4"]

BLOCK = 32
LARGEST = 7  # symmetric; -8 is left out
OPSET = 21  # the first with 4-bit integers and blocks
WORTH_VALUES = 1 << 14


def fitting(model: onnx.ModelProto) -> set[str]:
    """Products of a matrix whose rows come in whole blocks, and which is large enough to be worth it."""
    weights = weights_of(model)
    return {
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in weights and _fits(list(weights[node.input[1]].dims))
    }


def int4(model: onnx.ModelProto, exact: Collection[str] = ()) -> onnx.ModelProto:
    """The same stage at opset 21, with the weights of such products behind a blocked DQ.

    Args:
        model: Nodes named.
        exact: Products that stay as they are.

    Raises:
        InputError: It has no such products.
    """
    chosen = fitting(model) - set(exact)
    if not chosen:
        raise InputError("int4 has nothing to work on: no matrix product with a large constant matrix")
    newer = onnx.ModelProto()
    newer.CopyFrom(at_opset(model, OPSET))
    weights = weights_of(newer)
    nodes = []
    for node in newer.graph.node:
        if node.name in chosen:
            name = node.input[1]
            if f"{name}.int4" not in weights_of(newer):
                packed, scales = _blocks(numpy_helper.to_array(weights[name]))
                newer.graph.initializer.append(_packed(packed, f"{name}.int4"))
                newer.graph.initializer.append(numpy_helper.from_array(scales, f"{name}.scale"))
                inputs = [f"{name}.int4", f"{name}.scale"]
                keywords: dict[str, Any] = {"axis": 0, "block_size": BLOCK}
                nodes.append(
                    helper.make_node("DequantizeLinear", inputs, [f"{name}.dq"], name=f"{name}.Dequantize", **keywords)
                )
            node.input[1] = f"{name}.dq"
    newer.graph.node.extend(nodes)
    return tidied(newer, model)


def _fits(shape: list[int]) -> bool:
    return len(shape) == 2 and shape[0] % BLOCK == 0 and shape[0] * shape[1] >= WORTH_VALUES


def _blocks(values: Array) -> tuple[Array, Array]:
    """Values in -7..7 [K, N] and scales [K / 32, N]."""
    blocks = values.reshape(-1, BLOCK, values.shape[1])
    scales = np.abs(blocks).max(1) / LARGEST
    scales = np.where(scales > 0, scales, 1).astype(np.float32)
    small = np.clip(np.rint(blocks / scales[:, np.newaxis]), -LARGEST, LARGEST)
    return small.reshape(values.shape).astype(np.int8), scales


def _packed(values: Array, name: str) -> onnx.TensorProto:
    flat = values.reshape(-1).astype(np.int8) & 0x0F
    flat = np.append(flat, np.zeros(flat.size % 2, np.int8)).astype(np.uint8)
    content = (flat[::2] | (flat[1::2] << 4)).astype(np.uint8).tobytes()
    return helper.make_tensor(name, onnx.TensorProto.INT4, values.shape, content, raw=True)
