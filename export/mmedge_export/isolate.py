"""Runs graphs in a child process, because a bad graph can abort the process that loads it.

As a program, ``python -m mmedge_export.isolate WHAT INPUTS.npz OUTPUTS.npz``, it is the child.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.backends.ort import OrtSession
from mmedge.errors import ExportError, MmedgeError
from mmedge.model import load
from mmedge.types import Array

__all__ = ["run_isolated", "write_arrays"]


def run_isolated(what: Path, samples: Sequence[Mapping[str, Array]], *, timeout_s: float = 600) -> dict[str, Array]:
    """Run an ONNX file or a bundle on port tensors, in a child process.

    Args:
        what: An ``.onnx`` file with static shapes, or the folder of a bundle.
        samples: Port tensors with a batch axis of one.
        timeout_s: After that the child is given up.

    Returns:
        Every output, and for a bundle every tensor between stages, [S, ...] by name.

    Raises:
        ExportError: The child refused, died, or took too long.
    """
    with tempfile.TemporaryDirectory(prefix="mmedge-") as folder:
        inputs, outputs = Path(folder) / "inputs.npz", Path(folder) / "outputs.npz"
        write_arrays(inputs, {name: np.concatenate([s[name] for s in samples]) for name in samples[0]})
        command = [sys.executable, "-m", "mmedge_export.isolate", str(what.resolve()), str(inputs), str(outputs)]
        try:  # from a folder where no file of the user's can be taken for a library
            child = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise ExportError(f"running {what.name} took more than {timeout_s:.0f} s") from error
        if child.returncode < 0:
            raise ExportError(f"running {what.name} killed its process (signal {-child.returncode})")
        if child.returncode:
            last = (child.stderr.strip().splitlines() or [f"exit status {child.returncode}"])[-1]
            raise ExportError(f"running {what.name} failed: {last}")
        with np.load(outputs, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """An .npz of these arrays."""
    keywords: Any = arrays  # savez has a keyword of its own among them, which no array is named after
    np.savez(path, **keywords)


def _run_onnx(path: Path, inputs: Mapping[str, Array]) -> dict[str, list[Array]]:
    session = OrtSession(path.read_bytes(), threads=1, name=path.stem)
    count = len(next(iter(inputs.values())))
    rows = [session.run({name: array[i : i + 1] for name, array in inputs.items()}) for i in range(count)]
    return {name: [row[name] for row in rows] for name in session.outputs}


def _run_bundle(path: Path, inputs: Mapping[str, Array]) -> dict[str, list[Array]]:
    with load(path, backend="onnxruntime-cpu", variant="fp32") as model:
        graph = model.new_graph()
        names = [name for name in graph.tensors if name not in model.manifest.ports]
        rows: dict[str, list[Array]] = {name: [] for name in names}
        for i in range(len(next(iter(inputs.values())))):
            for port in model.manifest.ports:
                graph.load_window(port, inputs[port][i])
            graph.run()
            for name in names:
                rows[name].append(graph.tensors[name].copy())
    return rows


def main() -> None:
    """The child."""
    what, source, target = map(Path, sys.argv[1:])
    with np.load(source, allow_pickle=False) as archive:
        inputs = {name: archive[name] for name in archive.files}
    try:
        rows = _run_bundle(what, inputs) if what.is_dir() else _run_onnx(what, inputs)
    except MmedgeError as error:
        sys.exit(str(error))
    write_arrays(target, {name: np.stack(values) for name, values in rows.items()})


if __name__ == "__main__":
    main()
