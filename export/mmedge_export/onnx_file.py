"""ONNX files of others: read without trust, and brought to the versions that every backend takes."""

from collections.abc import Iterator
from math import prod
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, inliner, version_converter
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from mmedge.errors import CheckpointError
from mmedge_export.graph_check import MAX_IR_VERSION, OPSETS
from mmedge_export.weights import all_tensors, check_whole, with_paths

__all__ = ["read_onnx", "supported"]

MAX_GRAPH_BYTES = (1 << 31) - 1  # where protobuf ends
STANDARD = {"", "ai.onnx"}
MIN_IR_VERSION = 8  # from here on an initialiser needs not be an input, and opset 15 is known
HALF_BYTES = {TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1}
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}


def read_onnx(path: Path) -> onnx.ModelProto:
    """A checked model; its large weights stay where they are.

    Args:
        path: The file; weights may lie in files beside it or in folders below.

    Raises:
        CheckpointError: It is damaged, too large, not valid, or wants files from elsewhere.
    """
    if path.stat().st_size > MAX_GRAPH_BYTES:
        raise CheckpointError(
            f"{path} has {path.stat().st_size / 1e9:.1f} GB, the most is {MAX_GRAPH_BYTES / 1e9:.1f} GB; save it "
            "with its weights in a file of their own"
        )
    try:
        model = onnx.load(path, load_external_data=False)
        _check_external(model, path)
        model = with_paths(model, path.parent)
        check_whole(model)
    except (DecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not a whole ONNX file ({_line(error)}); copy it again") from error
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} is not a valid ONNX model: {_line(error)}") from error
    _name_apart(_nodes(model.graph))
    return model


def supported(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """The same model in standard operators of a supported version, without functions of its own.

    Args:
        model: A checked model.
        where: The file's name, for messages.

    Raises:
        CheckpointError: It has operators that only one runtime knows, draws random numbers, or cannot be converted.
    """
    model = inliner.inline_local_functions(model) if model.functions else model
    if foreign := sorted(
        {f"{node.domain}.{node.op_type}" for node in _nodes(model.graph) if node.domain not in STANDARD}
    ):
        raise CheckpointError(
            f"{where} uses {', '.join(foreign[:3])}, which ONNX does not define; write it without the "
            "optimisations of one runtime, and quantised models in the QDQ format"
        )
    if random := sorted({node.op_type for node in _nodes(model.graph)} & RANDOM):
        raise CheckpointError(
            f"{where} draws random numbers ({random[0]}), so nothing can be proved; export it in eval mode"
        )
    opset = next((entry.version for entry in model.opset_import if entry.domain in STANDARD), 0)
    if opset not in OPSETS:
        model = _converted(model, opset, min(max(opset, OPSETS[0]), OPSETS[-1]), where)
    fresh = onnx.ModelProto()
    fresh.CopyFrom(model)
    del fresh.opset_import[:]
    fresh.opset_import.add(domain="", version=min(max(opset, OPSETS[0]), OPSETS[-1]))
    fresh.ir_version = min(max(model.ir_version, MIN_IR_VERSION), MAX_IR_VERSION)
    return fresh


def _converted(model: onnx.ModelProto, opset: int, target: int, where: str) -> onnx.ModelProto:
    try:
        return version_converter.convert_version(model, target)
    except (RuntimeError, ValueError, version_converter.ConvertError) as error:
        raise CheckpointError(
            f"{where} has opset {opset}, expected {OPSETS[0]} to {OPSETS[-1]}, and cannot be converted "
            f"({_line(error)}); export it again with one of these"
        ) from error


def _check_external(model: onnx.ModelProto, path: Path) -> None:
    folder = path.parent.resolve()
    for tensor in filter(uses_external_data, all_tensors(model.graph)):
        info = ExternalDataInfo(tensor)
        file = (folder / info.location).resolve()
        if Path(info.location).is_absolute() or not file.is_relative_to(folder):
            raise CheckpointError(f"{path}: the weights {tensor.name} lie outside its folder, in {info.location!r}")
        if not file.is_file():
            raise CheckpointError(f"{path}: the weights {tensor.name} are missing; expected them in {file}")
        begin, size = info.offset or 0, file.stat().st_size
        length = size - begin if info.length is None else info.length
        if begin < 0 or not 0 <= length <= size - begin or length != _bytes_of(tensor):
            raise CheckpointError(
                f"{path}: the weights {tensor.name} are {list(tensor.dims)}, {_bytes_of(tensor)} bytes, expected in "
                f"{info.location} at {begin} of {size}, with a length of {length}; copy both files again"
            )


def _name_apart(nodes: Iterator[onnx.NodeProto]) -> None:
    """The names of nodes mean nothing to ONNX, and ONNX Runtime refuses two that are the same."""
    seen = set[str]()
    for node in nodes:
        if node.name in seen:
            node.name = ""
        elif node.name:
            seen.add(node.name)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _bytes_of(tensor: onnx.TensorProto) -> int:
    count, itemsize = prod(tensor.dims), helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return int(-(-count // 2) if tensor.data_type in HALF_BYTES else count * itemsize)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
