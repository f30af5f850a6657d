"""From a torch module to one static ONNX graph, with what the exporter did read back instead of believed."""

import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from mmedge.errors import ExportError, SpecError
from mmedge.types import Array

__all__ = ["OPSET", "reference_outputs", "trace"]

OPSET = 20
NOT_USERS = (str(Path(torch.__file__).parent), str(Path(__file__).parent), str(Path(logging.__file__).parent), "<")
MAX_IR_VERSION = 10  # what ONNX Runtime 1.20 and TensorRT 10.3 read
Tensors = Mapping[str, Array]


class _Named(torch.nn.Module):
    """Calls the model by argument names and gives its outputs as a tuple in the spec's order."""

    def __init__(self, model: torch.nn.Module, outputs: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.outputs = tuple(outputs)

    def forward(self, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = self.model(**inputs)
        if isinstance(given, torch.Tensor):
            given = (given,)
        if isinstance(given, Mapping):
            missing = [name for name in self.outputs if name not in given]
            if missing:
                raise SpecError(f"forward() returns {', '.join(given)}, the spec expects {', '.join(self.outputs)}")
            return tuple(given[name] for name in self.outputs)
        if not isinstance(given, tuple | list) or len(given) != len(self.outputs):
            count = len(given) if isinstance(given, tuple | list) else type(given).__name__
            raise SpecError(f"forward() returns {count}, the spec has {len(self.outputs)} output(s)")
        return tuple(given)


def trace(model: torch.nn.Module, inputs: Tensors, outputs: Sequence[str], path: Path) -> None:
    """Export to ONNX at exactly the shapes of the inputs.

    Args:
        model: In eval mode.
        inputs: One array for each argument of forward(), batch axis included.
        outputs: Names for what forward() returns.
        path: The file to write.

    Raises:
        SpecError: forward() takes or returns something else than the spec says.
        ExportError: The exporter failed, or its graph is not what was asked.
    """
    named = _Named(model, outputs).eval()
    arguments = _tensors(inputs, torch.float32)
    _call(named, arguments)  # a mistake in the spec is told in forward()'s own words, not in the exporter's
    try:
        with _quiet():
            program = torch.onnx.export(
                named,
                (),
                kwargs=arguments,
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(f"torch.onnx could not export the model: {_reason(error)}") from error
    if program is None:
        raise ExportError("torch.onnx gave no program")
    program.save(path, external_data=False)
    _check(path, inputs, outputs)


def reference_outputs(
    model: torch.nn.Module, samples: Sequence[Tensors], outputs: Sequence[str], dtype: torch.dtype
) -> dict[str, npt.NDArray[np.float64]]:
    """What the torch model gives for each sample, [S, ...] by output name.

    Args:
        model: In eval mode; it is cast to dtype and back.
        samples: One mapping of port tensors for each sample, batch axis included.
        outputs: Names for what forward() returns.
        dtype: torch.float32, or torch.float64 for the exact values that rounding is measured against.
    """
    named = _Named(model, outputs).eval().to(dtype)
    rows = [_call(named, _tensors(sample, dtype)) for sample in samples]
    named.to(torch.float32)
    return {name: np.stack([row[i][0].double().numpy() for row in rows]) for i, name in enumerate(outputs)}


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks of optional libraries and deprecations, and prints graphs when it fails; the error says it all."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.fx", "torch._dynamo")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _tensors(sample: Tensors, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in sample.items()}
    return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def _call(named: _Named, arguments: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    try:
        with torch.inference_mode():
            result: tuple[torch.Tensor, ...] = named(**arguments)
    except (TypeError, RuntimeError, AssertionError) as error:
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in arguments.items())
        raise SpecError(f"forward() failed on {shapes}: {_first_line(error)}") from error
    return result


def _check(path: Path, inputs: Tensors, outputs: Sequence[str]) -> None:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets.get("", 0) != OPSET or model.ir_version > MAX_IR_VERSION:
        raise ExportError(f"the exporter wrote opset {opsets} and IR {model.ir_version}, asked was opset {OPSET}")
    shapes = {value.name: _dims(value) for value in model.graph.input}
    for name, array in inputs.items():
        if shapes.get(name) != list(array.shape):
            raise ExportError(f"the exporter gave input {name} the shape {shapes.get(name)}, not {list(array.shape)}")
    if [value.name for value in model.graph.output] != list(outputs):
        raise ExportError(f"the exporter wrote outputs {[value.name for value in model.graph.output]}")
    for value in model.graph.output:
        if not all(isinstance(size, int) for size in _dims(value)):
            raise ExportError(f"output {value.name} has the shape {_dims(value)}, which depends on the data")


def _dims(value: onnx.ValueInfoProto) -> list[Any]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _reason(error: BaseException) -> str:
    """The first cause, and the line of the user's code that it came from."""
    where = ""
    while True:
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(NOT_USERS)]
        if own:
            where = f" (at {own[-1].filename}:{own[-1].lineno}: {own[-1].line})"
        cause = error.__cause__ or error.__context__
        if cause is None:
            return f"{_first_line(error)}{where}"
        error = cause


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
