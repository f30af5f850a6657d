"""Axes that a spec calls symbolic: exported as such, read back, and tried at several sizes; shipped at the spec's size.

An exporter may freeze an axis to the size of the example and say nothing, all the more after it has exported something
else in the same process. So it runs in a process of its own, and its graph is read, not believed.

As a program, ``python -m mmedge_export.symbolic JOB.json``, this is that process.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx

from mmedge.errors import ExportError, MmedgeError, ParityError
from mmedge.types import Array
from mmedge_export.graph_check import dims
from mmedge_export.isolate import run_isolated
from mmedge_export.spec import Axis, Spec

__all__ = ["export_symbolic", "require_symbolic", "try_sizes"]

SEED = 13
LOOSE = 1e-4  # of the largest output: a frozen axis or a size that went into a constant is far larger
TIMEOUT_S = 1800
Tensors = Mapping[str, Array]


def export_symbolic(checkpoint: Path, spec: Path | None, path: Path, *, trust_pickle: bool) -> None:
    """Export a checkpoint with the spec's symbolic axes, in a process of its own.

    Args:
        checkpoint: See :func:`mmedge_export.source.open_source`.
        spec: A SPEC.toml other than the one inside or beside it.
        path: The file to write.
        trust_pickle: Let the checkpoint run the code that is in it.

    Raises:
        ExportError: The exporter failed.
    """
    job = path.with_suffix(".json")
    job.write_text(
        json.dumps(
            {
                "checkpoint": str(checkpoint.resolve()),
                "spec": spec and str(spec.resolve()),
                "path": str(path),
                "trust_pickle": trust_pickle,
                "import_from": sys.path,
            }
        ),
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "mmedge_export.symbolic", str(job)]
    try:  # from a folder where no file of the user's can be taken for a library
        child = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"exporting symbolic axes took more than {TIMEOUT_S} s") from error
    if child.returncode:
        last = (child.stderr.strip().splitlines() or [f"exit status {child.returncode}"])[-1]
        raise ExportError(f"{last}; leave symbolic out of the spec to export at its sizes only")


def require_symbolic(model: onnx.ModelProto, spec: Spec, where: str) -> None:
    """Check that the axes that the spec calls symbolic are.

    Args:
        model: The graph.
        spec: The spec.
        where: Who made the graph, for the message.

    Raises:
        ExportError: One of them has a fixed size.
    """
    shapes = {value.name: dims(value) for value in model.graph.input}
    for axis in spec.symbolic:
        size = shapes[axis.port][axis.number]
        if isinstance(size, int):
            raise ExportError(
                f"{where} has axis {axis.name} of {axis.port} frozen at {size}, the spec calls it symbolic; look for a "
                "Python loop over it or a size that becomes a number, or leave symbolic out"
            )


def try_sizes(
    path: Path, spec: Spec, inputs: Tensors, reference: Callable[[Tensors], Tensors] | None
) -> tuple[str, ...]:
    """Run a symbolic graph at the least, the middle and the largest sizes of its axes.

    Args:
        path: The graph.
        spec: With symbolic axes.
        inputs: Port tensors at the sizes of the spec, batch axis included.
        reference: What the original gives for inputs, [1, ...] by output; None if the graph is the original.

    Returns:
        What a person should know about it.

    Raises:
        ExportError: It does not run at a size.
        ParityError: It computes something else than the original there.
    """
    random = np.random.default_rng(SEED)
    tried = [{axis: axis.sizes[k] for axis in spec.symbolic} for k in range(3)]
    for sizes in tried:
        given = {name: _resized(array, name, sizes, random) for name, array in inputs.items()}
        told = ", ".join(f"{axis.name} of {axis.port} = {size}" for axis, size in sizes.items())
        try:
            made = run_isolated(path, [given])
        except ExportError as error:
            raise ExportError(f"at {told}: {error}; narrow the range of symbolic") from error
        for name, expected in (reference(given) if reference else {}).items():
            found = made[name][:, 0]
            scale = float(np.abs(expected).max(initial=0.0))
            if found.shape != expected.shape or not np.abs(found - expected).max(initial=0.0) <= LOOSE * scale:
                raise ParityError(
                    f"at {told}, {name} of the symbolic graph is not what the model gives; leave symbolic out"
                )
    return tuple(
        f"axis {axis.name} of {axis.port} is symbolic, tried at {', '.join(map(str, axis.sizes))}; fixed at "
        f"{inputs[axis.port].shape[axis.number]} here, as the spec says"
        for axis in spec.symbolic
    )


def _resized(array: Array, port: str, sizes: Mapping[Axis, int], random: np.random.Generator) -> Array:
    shape = list(array.shape)
    for axis, size in sizes.items():
        if axis.port == port:
            shape[axis.number] = size
    picked = random.choice(array.ravel(), shape)
    return np.ascontiguousarray(picked, dtype=array.dtype)


def _export(job: Mapping[str, str]) -> None:
    import torch

    from mmedge_export.checkpoint import build_model, load_checkpoint
    from mmedge_export.named import named_copy
    from mmedge_export.trace import OPSET
    from mmedge_export.user_code import USER_ERRORS, first_line

    checkpoint = load_checkpoint(job["checkpoint"], job["spec"], trust_pickle=bool(job["trust_pickle"]))
    spec = checkpoint.spec
    named = named_copy(build_model(checkpoint), spec.call, spec.returns)

    class InOrder(torch.nn.Module):
        """torch.export confuses the names of dynamic shapes where forward() takes any keyword."""

        def __init__(self) -> None:
            super().__init__()
            self.named = named

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            result: tuple[torch.Tensor, ...] = self.named(**dict(zip(spec.ports, inputs, strict=True)))
            return result

    examples, shapes = [], []
    for name, port in spec.ports.items():
        dtype = getattr(torch, port.dtype)
        examples.append(torch.zeros(1, *port.shape, dtype=dtype))
        own = {axis.number: _dim(axis) for axis in spec.symbolic if axis.port == name}
        shapes.append(own or None)
    try:
        program = torch.onnx.export(
            InOrder(),
            tuple(examples),
            input_names=list(spec.ports),
            output_names=spec.returns,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            dynamic_shapes=(tuple(shapes),),
        )
    except USER_ERRORS as error:
        raise ExportError(f"torch.onnx could not export the symbolic axes: {first_line(error)}") from error
    assert program is not None  # it is None only for the old exporter
    program.save(job["path"], external_data=True)


def _dim(axis: Axis) -> object:
    import torch

    return torch.export.Dim(
        f"{axis.port}_{axis.name}".replace(".", "_").replace("-", "_"), min=axis.least, max=axis.most
    )


def main() -> None:
    """The child."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.path[:] = job["import_from"]
    try:
        _export(job)
    except MmedgeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
