"""torch.export archives: a model as torch's own graph, which needs no file of the user's and yet runs code."""

import inspect
import logging
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.export import ExportedProgram

from mmedge.errors import CheckpointError, SpecError
from mmedge_export.spec import Spec
from mmedge_export.user_code import USER_ERRORS, first_line

__all__ = ["read_archive"]


def read_archive(file: Path, spec: Spec, *, trusted: bool) -> torch.nn.Module:
    """The module in a ``.pt2`` archive.

    Args:
        file: The archive.
        spec: Its inputs must be those that the program was exported with.
        trusted: torch.export.load unpickles tensors and examples and evaluates expressions, so that reading an archive
            is running it.

    Raises:
        CheckpointError: It is not to be run, damaged, from another torch, or was exported in training mode.
        SpecError: It has other inputs than the spec.

    Source: the warning in the documentation of torch.export.load.
    """
    if not zipfile.is_zipfile(file):
        raise CheckpointError(f"{file} is not a torch.export archive; expected what torch.export.save wrote")
    if not trusted:
        raise CheckpointError(
            f"{file}: loading a torch.export archive runs code in it, as a pickle does; give --trust-pickle if you "
            "trust whoever made it, or export model.state_dict() or an .onnx instead"
        )
    program = _load(file)
    if operator := next((str(node.target) for node in program.graph.nodes if _trains(node)), ""):
        raise CheckpointError(
            f"{file} was exported in training mode ({operator}); call model.eval() before torch.export.export"
        )
    module = program.module()
    _check_inputs(program, module, spec)
    return module


def _load(file: Path) -> ExportedProgram:
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # what it would say comes with the error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.load(file)
    except USER_ERRORS as error:
        raise CheckpointError(
            f"{file} cannot be loaded by torch {torch.__version__} ({first_line(error)}); copy it again, or export it "
            "with this version"
        ) from error
    finally:
        logger.setLevel(level)


def _trains(node: torch.fx.Node) -> bool:
    """Whether an operator, such as a dropout, has its flag for training set."""
    schema = getattr(node.target, "_schema", None)
    names = [argument.name for argument in schema.arguments] if schema else []
    given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    return given.get("training") is True or given.get("train") is True


def _check_inputs(program: ExportedProgram, module: torch.nn.Module, spec: Spec) -> None:
    named = list(inspect.signature(module.forward).parameters)
    expected = _expected(spec)
    if expected is not None and sorted(named) != sorted(expected):
        raise SpecError(
            f"the archive takes {', '.join(named)}, the spec gives {', '.join(expected)}; names must be the same"
        )
    if spec.call.style not in {"keyword", "positional"}:
        return  # the graph's own guards compare what is inside a list or dict
    shapes = _shapes(program)
    order = list(spec.ports) if spec.call.style == "positional" else [name for name in named if name in spec.ports]
    for name, shape in zip(order, shapes, strict=False):
        given = [1, *spec.ports[name].shape]
        taken = [size if isinstance(size, int) else str(size) for size in shape]
        if len(shape) != len(given) or any(isinstance(s, int) and s != g for s, g in zip(shape, given, strict=True)):
            raise SpecError(
                f"input {name} of the archive is {taken}, the spec gives {given}; export it again with that, or "
                "change the spec"
            )


def _expected(spec: Spec) -> list[str] | None:
    """Names of forward()'s arguments as the spec would call it, where it calls them by name."""
    constants = list(spec.call.constants)
    if spec.call.style == "keyword":
        return [*spec.ports, *constants]
    return [spec.call.argument, *constants] if spec.call.argument else None


def _shapes(program: ExportedProgram) -> list[Sequence[object]]:
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    tensors = [values.get(name) for name in program.graph_signature.user_inputs if isinstance(name, str)]
    return [list(tensor.shape) for tensor in tensors if isinstance(tensor, torch.Tensor)]
