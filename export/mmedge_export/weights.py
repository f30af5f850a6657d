"""Weights that stay on the disk, so that a graph of any size is small in memory, whatever is done with it.

In memory, a large weight is a reference with an absolute path. In files it is inside the graph, or in one file beside
it that has the graph's name and ``.data``: what every runtime and the bundle know how to find.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from mmedge.types import Array

__all__ = [
    "all_tensors",
    "check_whole",
    "move_outside",
    "outside_bytes",
    "read_graph",
    "weight_values",
    "with_paths",
    "write_beside",
    "write_whole",
]

LARGE_BYTES = 1 << 16  # smaller ones stay inside: shapes, indices and what folding looks at
INSIDE_BYTES = 1 << 28  # a graph of more weights gets a file for them: it is mapped, not copied, where it runs
PAGE_BYTES = 4096  # where weights begin in such a file, so that they can be mapped
PIECE_BYTES = 1 << 24

Message = onnx.ModelProto | onnx.GraphProto


def read_graph(path: Path) -> onnx.ModelProto:
    """A graph whose large weights stay where they are.

    Args:
        path: A file that :mod:`mmedge_export` wrote; weights are in it or in its folder.
    """
    return with_paths(onnx.load(path, load_external_data=False), path.parent)


def with_paths(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """The same model with paths for references to weights, and small weights inside.

    Args:
        model: As it was read from a file; it is not changed.
        folder: That of the file. What the references name must be there.
    """
    complete = onnx.ModelProto()
    complete.CopyFrom(model)
    for tensor in filter(uses_external_data, all_tensors(complete.graph)):
        _refer(tensor, folder.resolve() / ExternalDataInfo(tensor).location)
        if _bytes(tensor) <= LARGE_BYTES:
            _fill(tensor)
    for node in complete.graph.node:  # what they hold may be copied to where nobody looks for references
        for tensor in filter(uses_external_data, _held(node)):
            _fill(tensor)
    return complete


def move_outside(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The same model, with what large weights it holds moved to a file, those of Constant nodes among them.

    Args:
        model: It is not changed.
        path: The file to write.
    """
    light = onnx.ModelProto()
    _copy_fields(model, light, "graph")
    _copy_fields(model.graph, light.graph, "initializer", "node")
    with path.open("wb") as file:
        for node in model.graph.node:
            constant = next((a.t for a in node.attribute if a.name == "value"), None)
            if node.op_type == "Constant" and constant is not None and _is_large(constant):
                light.graph.initializer.append(_moved(constant, node.output[0], file))
            else:
                light.graph.node.add().CopyFrom(node)
        for tensor in model.graph.initializer:
            light.graph.initializer.append(_moved(tensor, tensor.name, file) if _is_large(tensor) else tensor)
    return light


def all_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a graph that has values: weights, constants, and those of graphs inside."""
    yield from graph.initializer
    for node in graph.node:
        yield from _held(node)


def outside_bytes(model: onnx.ModelProto) -> int:
    """Size of the weights that are not inside the model."""
    return sum(_bytes(tensor) for tensor in model.graph.initializer if uses_external_data(tensor))


def weight_values(tensor: onnx.TensorProto) -> Array:
    """The values of a weight; those of one outside are mapped, not read, and cannot be written."""
    if not uses_external_data(tensor):
        return numpy_helper.to_array(tensor)
    info, dtype = ExternalDataInfo(tensor), helper.tensor_dtype_to_np_dtype(tensor.data_type)
    count = int(np.prod(tensor.dims, dtype=np.int64))
    if count * dtype.itemsize != _bytes(tensor):  # several values in a byte
        filled = onnx.TensorProto()
        filled.CopyFrom(tensor)
        _fill(filled)
        return numpy_helper.to_array(filled)
    mapped: Array = np.memmap(info.location, dtype, "r", info.offset or 0, tuple(tensor.dims))
    return mapped


def check_whole(model: onnx.ModelProto) -> None:
    """``onnx.checker`` on all but the values of the weights outside, which it takes for inputs.

    Raises:
        onnx.checker.ValidationError: The model is not valid.
        onnx.shape_inference.InferenceError: Its shapes do not fit.
    """
    outside = [tensor for tensor in model.graph.initializer if uses_external_data(tensor)]
    if outside:
        names = {tensor.name for tensor in outside}
        inside = [tensor for tensor in model.graph.initializer if tensor.name not in names]
        checked = onnx.ModelProto()
        checked.CopyFrom(model)
        del checked.graph.initializer[:]
        checked.graph.initializer.extend(inside)
        checked.graph.input.extend(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims) for tensor in outside
        )
        model = checked
    onnx.checker.check_model(model, full_check=True)


def write_beside(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph into the folder where its weights outside are; for graphs that are thrown away."""
    folder = path.parent.resolve()
    written = onnx.ModelProto()
    written.CopyFrom(model)
    for tensor in written.graph.initializer:
        if uses_external_data(tensor):
            info = ExternalDataInfo(tensor)
            _refer(tensor, Path(info.location).relative_to(folder), info.offset or 0, info.length)
    onnx.save(written, path)


def write_whole(model: onnx.ModelProto, path: Path, *, inside_bytes: int = INSIDE_BYTES) -> None:
    """Write a graph with all of its weights: inside, or those outside in ``PATH.data`` when they are so many."""
    written = onnx.ModelProto()
    written.CopyFrom(model)
    outside = [tensor for tensor in written.graph.initializer if uses_external_data(tensor)]
    if outside_bytes(model) <= inside_bytes:
        for tensor in outside:
            _fill(tensor)
        onnx.save(written, path)
        return
    data = path.with_name(f"{path.name}.data")
    with data.open("wb") as file:
        for tensor in outside:
            info = ExternalDataInfo(tensor)
            _pad(file)
            begin = file.tell()
            _copy_range(Path(info.location), info.offset or 0, _bytes(tensor), file)
            _refer(tensor, Path(data.name), begin, file.tell() - begin)
    onnx.save(written, path)


def _held(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        yield from (attribute.t, *attribute.tensors)
        for inner in (attribute.g, *attribute.graphs):
            yield from all_tensors(inner)


def _copy_fields(source: Message, target: Message, *but: str) -> None:
    for field, value in source.ListFields():
        if field.name in but:
            continue
        if field.is_repeated:
            getattr(target, field.name).extend(value)
        elif field.message_type is not None:
            getattr(target, field.name).CopyFrom(value)
        else:
            setattr(target, field.name, value)


def _is_large(tensor: onnx.TensorProto) -> bool:
    """Whether the values of a tensor are inside the model and worth moving."""
    return tensor.data_type != onnx.TensorProto.STRING and tensor.ByteSize() > LARGE_BYTES


def _moved(tensor: onnx.TensorProto, name: str, file: IO[bytes]) -> onnx.TensorProto:
    """A reference to the end of a file, to which the values are written."""
    raw = tensor if tensor.HasField("raw_data") else numpy_helper.from_array(numpy_helper.to_array(tensor))
    moved = onnx.TensorProto(name=name, data_type=tensor.data_type, dims=tensor.dims)
    _pad(file)
    _refer(moved, Path(file.name).resolve(), file.tell(), len(raw.raw_data))
    file.write(raw.raw_data)
    return moved


def _bytes(tensor: onnx.TensorProto) -> int:
    """Size of a weight outside."""
    info = ExternalDataInfo(tensor)
    return info.length if info.length else Path(info.location).stat().st_size - (info.offset or 0)


def _fill(tensor: onnx.TensorProto) -> None:
    """Bring a weight inside."""
    info, size = ExternalDataInfo(tensor), _bytes(tensor)
    with Path(info.location).open("rb") as file:
        file.seek(info.offset or 0)
        tensor.raw_data = file.read(size)
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.DEFAULT


def _refer(tensor: onnx.TensorProto, location: Path, offset: int | None = None, length: int | None = None) -> None:
    """Point a tensor to a file; offset and length that are not given stay."""
    info = ExternalDataInfo(tensor)
    values = {
        "location": location.as_posix(),
        "offset": info.offset or 0 if offset is None else offset,
        "length": info.length if length is None else length,
    }
    del tensor.external_data[:]
    for key, value in values.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    tensor.data_location = onnx.TensorProto.EXTERNAL


def _pad(file: IO[bytes]) -> None:
    file.seek(-file.tell() % PAGE_BYTES, os.SEEK_CUR)


def _copy_range(source: Path, offset: int, size: int, target: IO[bytes]) -> None:
    with source.open("rb") as file:
        file.seek(offset)
        while size:
            piece = file.read(min(size, PIECE_BYTES))
            if not piece:
                raise OSError(f"{source} is shorter than it was")
            target.write(piece)
            size -= len(piece)
