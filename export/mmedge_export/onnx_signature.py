"""What an ONNX graph takes and gives."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from onnx import helper

from mmedge.errors import SpecError
from mmedge_export.call import Call
from mmedge_export.graph_check import dims
from mmedge_export.onnx_file import read_onnx
from mmedge_export.onnx_ports import graph_inputs
from mmedge_export.signature import Shape, Signature, Tensor
from mmedge_export.source import existing

__all__ = ["onnx_signature"]


def onnx_signature(path: Path, shapes: dict[str, Shape]) -> Signature:
    """What an ONNX graph takes and gives; torch is not needed.

    Args:
        path: The file.
        shapes: Shapes of inputs that the graph leaves open, by name.

    Raises:
        CheckpointError: It cannot be read.
        SpecError: A shape is of an input that is not there.
    """
    model = read_onnx(existing(path))
    given = graph_inputs(model)
    if unknown := sorted(shapes.keys() - given.keys()):
        raise SpecError(f"{path} has no input {unknown[0]}; it takes {', '.join(given)}")
    batch = {size for value in given.values() for size in dims(value)[:1] if isinstance(size, str)}
    tensors = [_tensor(value, shapes.get(name), batch) for name, value in given.items()]
    constants = {tensor.name: 0 for tensor in tensors if tensor.shape == ()}
    return Signature(
        origin=path.name,
        call=Call(constants=constants),
        inputs=tuple(tensor for tensor in tensors if tensor.name not in constants),
        outputs=tuple(_tensor(value, None, batch) for value in model.graph.output),
    )


def _tensor(value: Any, shape: Shape | None, batch: Collection[str]) -> Tensor:
    sizes = [1 if size in batch else size for size in dims(value)]  # a state may have its batch axis anywhere
    sizes[:1] = [size if isinstance(size, int) else 1 for size in sizes[:1]]
    known = tuple(sizes) if all(isinstance(size, int) for size in sizes) else None
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
    return Tensor(name=value.name, shape=shape or known, dtype=dtype)
