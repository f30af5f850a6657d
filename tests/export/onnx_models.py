"""ONNX graphs as other tools leave them, made without torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FRAMES = 48  # of the log-mel spectrum of half a second
NODES = [
    ("Conv", ["image", "wc"], ["c"], {"strides": [2, 2], "kernel_shape": [3, 3]}),
    ("Relu", ["c"], ["r"], {}),
    ("GlobalAveragePool", ["r"], ["pooled"], {}),
    # how exporters flatten when they do not know the batch: from the shape, at run time
    ("Shape", ["pooled"], ["shape"], {}),
    ("Gather", ["shape", "zero"], ["batch"], {}),
    ("Unsqueeze", ["batch", "axis0"], ["batch1"], {}),
    ("Constant", [], ["minus"], {"value": numpy_helper.from_array(np.array([-1], np.int64))}),
    ("Concat", ["batch1", "minus"], ["flat"], {"axis": 0}),
    ("Reshape", ["pooled", "flat"], ["seen"], {}),
    ("MatMul", ["audio", "wa"], ["a"], {}),
    ("Relu", ["a"], ["ra"], {}),
    ("ReduceMax", ["ra"], ["heard"], {"axes": [1], "keepdims": 0}),
    ("Concat", ["seen", "heard"], ["both"], {"axis": 1}),
    ("Gemm", ["both", "wh"], ["event"], {}),
    ("Gemm", ["seen", "wl"], ["level"], {}),
]


def late_graph(
    *,
    batch: int | str = "batch",
    frames: int | str = FRAMES,
    opset: int = 17,
    ir: int = 8,
    extra: Sequence[onnx.ValueInfoProto] = (),
    also: Sequence[tuple[str, list[str], list[str], dict[str, Any]]] = (),
) -> onnx.ModelProto:
    """Picture and sound, concatenated late; a second output that only the picture decides."""
    random = np.random.default_rng(3)
    shapes = {"wc": (8, 3, 3, 3), "wa": (20, 8), "wh": (16, 3), "wl": (8, 1)}
    weights = {name: 0.3 * random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    weights |= {"zero": np.array(0, np.int64), "axis0": np.array([0], np.int64)}
    graph = helper.make_graph(
        [helper.make_node(kind, *tensors, **keys) for kind, *tensors, keys in (*NODES, *also)],
        "late",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 16, 16]),
            helper.make_tensor_value_info("audio", TensorProto.FLOAT, [batch, frames, 20]),
            *extra,
        ],
        [
            helper.make_tensor_value_info("level", TensorProto.FLOAT, [batch, 1]),
            helper.make_tensor_value_info("event", TensorProto.FLOAT, [batch, 3]),
        ],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
