"""What a whole graph must be before it is split, read back from the file instead of believed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from mmedge.errors import ExportError
from mmedge.types import Array
from mmedge_export.weights import check_whole, read_graph

__all__ = ["MAX_IR_VERSION", "OPSETS", "check_graph", "dims"]

OPSETS = range(13, 21)
MAX_IR_VERSION = 10  # what ONNX Runtime 1.20 and TensorRT 10.3 read


def check_graph(path: Path, inputs: Mapping[str, Array], outputs: Sequence[str], opset: int) -> None:
    """Check a graph that has just been written.

    Args:
        path: The file.
        inputs: One array for each input, batch axis included.
        outputs: Names of its outputs, in their order.
        opset: The version of the standard operators that was asked for; exporters take it as a wish.

    Raises:
        ExportError: It has other inputs, outputs, shapes or versions than asked for.
    """
    model = read_graph(path)
    try:
        check_whole(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"the exporter wrote a graph that is not valid: {' '.join(str(error).split())[:300]}"
        ) from error
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets.get("", 0) != opset or model.ir_version > MAX_IR_VERSION:
        raise ExportError(f"the exporter wrote opset {opsets} and IR {model.ir_version}, asked was opset {opset}")
    shapes = {value.name: dims(value) for value in model.graph.input}
    for name, array in inputs.items():
        if shapes.get(name) != list(array.shape):
            raise ExportError(f"the exporter gave input {name} the shape {shapes.get(name)}, not {list(array.shape)}")
    if [value.name for value in model.graph.output] != list(outputs):
        raise ExportError(f"the exporter wrote outputs {[value.name for value in model.graph.output]}")
    for value in model.graph.output:
        _check_output(value)


def dims(value: onnx.ValueInfoProto) -> list[Any]:
    """Sizes of a graph's input or output: numbers, or the names of symbolic axes ("" for one without a name)."""
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in value.type.tensor_type.shape.dim]


def _check_output(value: onnx.ValueInfoProto) -> None:
    shape = dims(value)
    if not all(isinstance(size, int) for size in shape):
        raise ExportError(f"output {value.name} has the shape {shape}, which depends on the data")
    if not shape or shape[0] != 1:
        raise ExportError(
            f"output {value.name} has the shape {shape}, expected a batch axis of 1 in front; look for a .squeeze() "
            "without a dim, or let the factory return a wrapper that puts the axis back"
        )
