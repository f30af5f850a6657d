"""What every new graph goes through before it is kept."""

import onnx
from onnx import version_converter
from onnxruntime.quantization.onnx_model import ONNXModel

from mmedge.errors import ExportError

__all__ = ["at_opset", "tidied"]

STANDARD = {"", "ai.onnx"}


def at_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The same model at this version of the standard operators or a later one.

    Raises:
        ExportError: It cannot be converted.
    """
    if max(entry.version for entry in model.opset_import if entry.domain in STANDARD) >= opset:
        return model
    try:
        newer: onnx.ModelProto = version_converter.convert_version(model, opset)
    except (RuntimeError, ValueError, version_converter.ConvertError) as error:
        told = " ".join(str(error).split())[:200]
        raise ExportError(f"the graph {model.graph.name} cannot be brought to opset {opset}: {told}") from error
    newer.ir_version = model.ir_version
    return newer


def tidied(model: onnx.ModelProto, original: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its nodes in order and without what tools left in it, checked.

    Args:
        model: It is changed.
        original: What it was made from; it keeps that one's IR version.
    """
    sorting = ONNXModel(model)
    sorting.topological_sort()
    model = sorting.model
    used = {node.domain for node in model.graph.node}
    kept = [entry for entry in model.opset_import if entry.domain in STANDARD or entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    read = {name for node in model.graph.node for name in node.input} | {value.name for value in model.graph.output}
    weights = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(weights)
    del model.metadata_props[:]
    del model.graph.value_info[:]
    model.ir_version = original.ir_version
    model.producer_name, model.producer_version = "mmedge", ""
    onnx.checker.check_model(model, full_check=True)
    return model
