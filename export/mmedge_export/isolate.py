"""Runs graphs in a child process, because a bad graph can abort the process that loads it.

As a program, ``python -m mmedge_export.isolate WHAT INPUTS.npz OUTPUTS.npz``, it is the child. Arrays of several feeds
are named ``0/port``, ``1/port`` and so on, so that each may have its own shape.
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

__all__ = ["run_each", "run_isolated", "write_arrays"]


def run_isolated(what: Path, samples: Sequence[Mapping[str, Array]], *, timeout_s: float = 600) -> dict[str, Array]:
    """Run an ONNX file or a bundle on port tensors of one shape, in a child process.

    Args:
        what: An ``.onnx`` file, or the folder of a bundle.
        samples: Port tensors with a batch axis of one.
        timeout_s: After that the child is given up.

    Returns:
        Every output, and for a bundle every tensor between stages, [S, ...] by name.

    Raises:
        ExportError: The child refused, died, or took too long.
    """
    rows = run_each(what, samples, timeout_s=timeout_s)
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def run_each(what: Path, feeds: Sequence[Mapping[str, Array]], *, timeout_s: float = 600) -> list[dict[str, Array]]:
    """As :func:`run_isolated`, on feeds of any shapes; what it gives for each of them."""
    with tempfile.TemporaryDirectory(prefix="mmedge-") as folder:
        inputs, outputs = Path(folder) / "inputs.npz", Path(folder) / "outputs.npz"
        write_arrays(inputs, {f"{i}/{name}": array for i, feed in enumerate(feeds) for name, array in feed.items()})
        command = [sys.executable, "-m", "mmedge_export.isolate", str(what.resolve()), str(inputs), str(outputs)]
        try:  # from a folder where no file of the user's can be taken for a library
            child = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise ExportError(f"running {what.name} took more than {timeout_s:.0f} s") from error
        if child.returncode < 0:
            raise ExportError(
                f"running {what.name} killed its process (signal {-child.returncode}), as ONNX Runtime does where "
                "shapes do not fit while it runs; look for a .squeeze() without a dim, which at batch 1 takes that axis"
            )
        if child.returncode:
            last = (child.stderr.strip().splitlines() or [f"exit status {child.returncode}"])[-1]
            raise ExportError(f"running {what.name} failed: {last}")
        return _read_feeds(outputs)


def _read_feeds(path: Path) -> list[dict[str, Array]]:
    feeds: dict[int, dict[str, Array]] = {}
    with np.load(path, allow_pickle=False) as archive:
        for key in archive.files:
            number, _, name = key.partition("/")
            feeds.setdefault(int(number), {})[name] = archive[key]
    return [feeds[i] for i in sorted(feeds)]


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """An .npz of these arrays."""
    keywords: Any = arrays  # savez has a keyword of its own among them, which no array is named after
    np.savez(path, **keywords)


def _run_onnx(path: Path, feeds: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
    weights = sorted(path.parent.glob("*.data"))
    session = OrtSession(path.read_bytes(), threads=1, name=path.stem, weights=weights)
    return [session.run(feed) for feed in feeds]


def _run_bundle(path: Path, feeds: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
    rows = []
    with load(path, backend="onnxruntime-cpu", variant="fp32") as model:
        graph = model.new_graph()
        names = [name for name in graph.tensors if name not in model.manifest.ports]
        for feed in feeds:
            for port in model.manifest.ports:
                graph.load_window(port, feed[port][0])
            graph.run()
            rows.append({name: graph.tensors[name].copy() for name in names})
    return rows


def main() -> None:
    """The child."""
    what, source, target = map(Path, sys.argv[1:])
    feeds = _read_feeds(source)
    try:
        rows = _run_bundle(what, feeds) if what.is_dir() else _run_onnx(what, feeds)
    except MmedgeError as error:
        sys.exit(str(error))
    write_arrays(target, {f"{i}/{name}": array for i, row in enumerate(rows) for name, array in row.items()})


if __name__ == "__main__":
    main()
