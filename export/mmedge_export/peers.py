"""What needs torch in a comparison: the original module behind the runtime's seam, and the unsplit graph.

Benchmarks find these by the entry-point group ``mmedge.peers``, so that they do not depend on torch.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from mmedge.backends.base import Buffers, Session
from mmedge.bundle import Bundle
from mmedge.errors import InputError
from mmedge.feeds import front_end
from mmedge.manifest import Manifest
from mmedge_export.named import Named, named_copy
from mmedge_export.source import open_source
from mmedge_export.torch_source import open_torch_source
from mmedge_export.weights import read_graph
from mmedge_export.weights import write_whole as write_complete

__all__ = ["TorchSession", "open_compiled", "open_eager", "write_whole"]


class TorchSession:
    """A torch module behind the same seam as the ONNX graphs.

    Args:
        model: With flat named inputs.
        manifest: Of its bundle.
        outputs: What the module returns, by the manifest's names of results.
    """

    def __init__(
        self, model: Callable[..., tuple[torch.Tensor, ...]], manifest: Manifest, outputs: Sequence[str]
    ) -> None:
        self._model = model
        self.inputs = tuple(manifest.ports)
        self.outputs = tuple(manifest.results[name] for name in outputs)

    def bind(self, buffers: Buffers) -> Callable[[], None]:
        """See :meth:`mmedge.backends.base.Session.bind`."""
        inputs = {name: torch.from_numpy(buffers[name]) for name in self.inputs}
        outputs = [torch.from_numpy(buffers[name]) for name in self.outputs]

        def run() -> None:
            with torch.inference_mode():
                for target, made in zip(outputs, self._model(**inputs), strict=True):
                    target.copy_(made)

        return run


def open_eager(checkpoint: Path, spec: Path | None, bundle: Bundle, threads: int) -> Session:
    """The module of a checkpoint as torch runs it by default.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        InputError: It is not the one that the bundle was made of.
    """
    named = _module(checkpoint, spec, bundle, threads)
    return TorchSession(named, bundle.manifest, named.outputs)


def open_compiled(checkpoint: Path, spec: Path | None, bundle: Bundle, threads: int) -> Session:
    """The same after ``torch.compile``; the first run compiles."""
    named = _module(checkpoint, spec, bundle, threads)
    return TorchSession(torch.compile(named), bundle.manifest, named.outputs)


def write_whole(checkpoint: Path, spec: Path | None, bundle: Bundle, path: Path) -> None:
    """Trace the checkpoint to one ONNX graph again, without splitting it.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        InputError: It is not the one that the bundle was made of.
    """
    source = open_source(checkpoint, spec, trust_pickle=False)
    _require_same(checkpoint, source.sha256, bundle)
    golden = bundle.read_golden()
    windows = {
        name: front_end(port, bundle.read).window(golden[f"sensor/{name}"][0])[None]
        for name, port in bundle.manifest.ports.items()
    }
    with tempfile.TemporaryDirectory(prefix="mmedge-whole-") as folder:
        traced = Path(folder) / "whole.onnx"
        source.write_graph(windows, traced)
        write_complete(read_graph(traced), path)


def _module(checkpoint: Path, spec: Path | None, bundle: Bundle, threads: int) -> Named:
    torch.set_num_threads(threads)
    source = open_torch_source(checkpoint, spec, trust_pickle=False)
    _require_same(checkpoint, source.sha256, bundle)
    return named_copy(source.model, source.spec.call, source.spec.returns)


def _require_same(checkpoint: Path, sha256: str, bundle: Bundle) -> None:
    if bundle.manifest.made_with.get("checkpoint_sha256") != sha256:
        raise InputError(f"{checkpoint} is not the checkpoint of {bundle.path}; give that one, or export it again")
    if inside := [n for n, port in bundle.manifest.ports.items() if port.audio and port.audio.front_end == "graph"]:
        raise InputError(
            f"{bundle.path} computes the features of {inside[0]} in its graph, {checkpoint} takes features; compare "
            'with a bundle that was exported with front_end = "host"'
        )
