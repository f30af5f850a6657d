"""From a torch module to one static ONNX graph, with what the exporter did read back instead of believed."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from mmedge.errors import ExportError, MmedgeError, SpecError
from mmedge.types import Array
from mmedge_export.call import Call
from mmedge_export.graph_check import check_graph
from mmedge_export.named import Named, named_copy
from mmedge_export.program import Program
from mmedge_export.recorded import Precision, Signatures
from mmedge_export.untouched import random_kept
from mmedge_export.user_code import USER_ERRORS, interrupted, reason

__all__ = ["OPSET", "reference_outputs", "rounds_inside", "signatures", "trace"]

OPSET = 20
Tensors = Mapping[str, Array]
BY_NAME = Call()


def trace(model: torch.nn.Module, inputs: Tensors, outputs: Sequence[str], path: Path, call: Call = BY_NAME) -> Program:
    """Export to ONNX at exactly the shapes of the inputs.

    Args:
        model: It is not changed, and nor are the random numbers that come after.
        inputs: One array for each port, batch axis included.
        outputs: Names for what forward() returns.
        path: The file to write.
        call: How forward() takes the inputs.

    Returns:
        What the file was written from, which gives its tensors the same names.

    Raises:
        SpecError: forward() takes or returns something else than the spec says.
        ExportError: The exporter failed, or its graph is not what was asked.
    """
    named = named_copy(model, call, outputs)
    arguments = _tensors(inputs, torch.float32)
    _call(named, arguments)  # a mistake in the spec is told in forward()'s own words, not in the exporter's
    try:
        # With gradients, one pass of the exporter lays out what attention gives in another way than the pass before it
        # took for granted ("Cannot view a tensor with shape ...": Swin's, and others with a learned bias).
        with _quiet(), random_kept(), torch.no_grad():
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
        if interrupted(error):
            raise KeyboardInterrupt from error
        raise ExportError(f"torch.onnx could not export the model: {reason(error)}{_advice(error)}") from error
    if program is None or program.exported_program is None:
        raise ExportError("torch.onnx gave no program")
    program.save(path, external_data=True)
    check_graph(path, inputs, outputs, OPSET)
    return Program(exported=program.exported_program, outputs=tuple(outputs))


def reference_outputs(
    model: torch.nn.Module,
    samples: Sequence[Tensors],
    outputs: Sequence[str],
    dtype: torch.dtype,
    call: Call = BY_NAME,
) -> dict[str, npt.NDArray[np.float64]]:
    """What the torch model gives for each sample, [S, ...] by output name.

    Args:
        model: It is not changed, and nor are the random numbers that come after.
        samples: One mapping of port tensors for each sample, batch axis included.
        outputs: Names for what forward() returns.
        dtype: torch.float32, or torch.float64 for the exact values that rounding is measured against.
        call: How forward() takes the inputs.

    Raises:
        SpecError: forward() fails on the samples, or returns something else than the spec says.
    """
    named = named_copy(model, call, outputs, dtype)
    rows = [_call(named, _tensors(sample, dtype)) for sample in samples]
    return {name: np.concatenate([row[i].double().numpy() for row in rows]) for i, name in enumerate(outputs)}


def rounds_inside(model: torch.nn.Module, sample: Tensors, outputs: Sequence[str], call: Call = BY_NAME) -> bool:
    """Whether forward() makes float32 tensors although its weights and inputs are float64, as a cast inside does.

    Args:
        model: It is not changed, and nor are the random numbers that come after.
        sample: Port tensors, batch axis included.
        outputs: Names for what forward() returns.
        call: How forward() takes the inputs.

    Raises:
        SpecError: forward() fails in float64.
    """
    named, arguments = named_copy(model, call, outputs, torch.float64), _tensors(sample, torch.float64)
    seen = Precision()
    with seen:
        _call(named, arguments)
    return seen.rounded


def signatures(model: torch.nn.Module, sample: Tensors, outputs: Sequence[str], call: Call = BY_NAME) -> Signatures:
    """What forward() makes on the way in float64; arguments and errors as for :func:`rounds_inside`."""
    named, arguments = named_copy(model, call, outputs, torch.float64), _tensors(sample, torch.float64)
    seen = Signatures()
    with seen:
        _call(named, arguments)
    return seen


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks of optional libraries and prints graphs when it fails; the error says it all."""
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


def _call(named: Named, arguments: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    try:
        with torch.inference_mode(), random_kept():
            result: tuple[torch.Tensor, ...] = named(**arguments)
    except MmedgeError:
        raise
    except USER_ERRORS as error:
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in arguments.items())
        raise SpecError(f"forward() failed on {shapes}: {reason(error)}{_advice(error)}") from error
    batch = len(next(iter(arguments.values())))
    for name, tensor in zip(named.outputs, result, strict=True):
        if tensor.ndim == 0 or len(tensor) != batch:
            raise SpecError(
                f"forward() returns {name} with the shape {list(tensor.shape)} for a batch of {batch}, expected the "
                "batch axis in front; look for a .squeeze() without a dim, or put the axis back in a wrapper module"
            )
    return result


def _advice(error: BaseException) -> str:
    text = reason(error)
    if "data-dependent" in text:
        return (
            "; a graph is the same for all inputs, so what is computed, and of which size, must not depend on their "
            "values: choose with torch.where(), or leave it out in a wrapper module"
        )
    if "CUDA" in text or "cuda" in text:
        return "; this machine exports on the CPU: write .to(self.some_parameter.device) instead of a fixed device"
    return ""
