"""What a model takes and gives, as far as its code, an example or its graph says."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnx import helper

from mmedge.errors import SpecError
from mmedge_export.call import Call
from mmedge_export.graph_check import dims
from mmedge_export.onnx_file import read_onnx
from mmedge_export.onnx_ports import graph_inputs
from mmedge_export.source import existing

__all__ = ["Shape", "Signature", "Tensor", "onnx_signature"]

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One input or output.

    Attributes:
        name: Its name.
        shape: Batch axis included; None if nobody knows.
        dtype: numpy's name.
    """

    name: str
    shape: Shape | None = None
    dtype: str = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a model takes and gives.

    Attributes:
        origin: ``package.module:function``, or the name of an ``.onnx`` file.
        factory: The same, if it is a function.
        arguments: What the factory was called with.
        call: How forward() takes the inputs; constants are guesses.
        inputs: In order.
        outputs: In order; empty if nothing was run.
        left_out: Arguments of forward() that have a default, with it.
    """

    origin: str
    factory: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    call: Call = field(default_factory=Call)
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...] = ()
    left_out: dict[str, Any] = field(default_factory=dict)


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
    tensors = [_tensor(value, shapes.get(name)) for name, value in given.items()]
    constants = {tensor.name: 0 for tensor in tensors if tensor.shape == ()}
    return Signature(
        origin=path.name,
        call=Call(constants=constants),
        inputs=tuple(tensor for tensor in tensors if tensor.name not in constants),
        outputs=tuple(_tensor(value, None) for value in model.graph.output),
    )


def _tensor(value: Any, shape: Shape | None) -> Tensor:
    sizes = dims(value)
    sizes[:1] = [size if isinstance(size, int) else 1 for size in sizes[:1]]
    known = tuple(sizes) if all(isinstance(size, int) for size in sizes) else None
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
    return Tensor(name=value.name, shape=shape or known, dtype=dtype)
