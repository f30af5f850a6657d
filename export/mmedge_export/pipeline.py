"""The steps of an export, file to file; the bundle appears under its name when the last one has passed."""

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from mmedge.errors import ExportError, SpecError
from mmedge.manifest import Manifest
from mmedge.types import Array
from mmedge_export.checkpoint import build_model, load_checkpoint
from mmedge_export.cut import CutGraph, cut_graph
from mmedge_export.graph import extract
from mmedge_export.isolate import run_isolated
from mmedge_export.pack import make_golden, new_folder, refuse_to_replace, seal, write_bundle, write_report
from mmedge_export.parity import ParityReport, compare, noise_tolerance, require_parity, split_tolerance
from mmedge_export.samples import draw_samples, port_tensors
from mmedge_export.trace import reference_outputs, trace

__all__ = ["ExportOptions", "Exported", "export"]

Progress = Callable[[str], None]
MAX_WEIGHT_BYTES = 1_900_000_000  # protobuf ends at 2 GiB, graph and names included
FALLBACK = 1e-4  # of the largest output, for models whose rounding noise cannot be measured


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What an export may be told.

    Attributes:
        spec: A SPEC.toml other than the one inside or beside the checkpoint.
        samples: An .npz of raw sensor data to prove the export with.
        random_samples: Prove it with random data.
        keep_whole: Where to keep the unsplit graph, for comparisons.
        force: Replace a bundle of the same name.
        trust_pickle: Let a ``.pt`` checkpoint run the code that is pickled in it.
    """

    spec: Path | None = None
    samples: Path | None = None
    random_samples: bool = False
    keep_whole: Path | None = None
    force: bool = False
    trust_pickle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export made, and the proof."""

    manifest: Manifest
    parity: ParityReport


def export(checkpoint: Path, out: Path, options: ExportOptions, progress: Progress | None = None) -> Exported:
    """Make a bundle from a checkpoint, or leave nothing behind.

    Args:
        checkpoint: A ``.safetensors`` or ``.pt`` state dict.
        out: The folder to make.
        options: See :class:`ExportOptions`.
        progress: Told the name of each step as it begins.

    Raises:
        CheckpointError: The checkpoint cannot be read or does not fit its model.
        SpecError: The description does not fit the model or the samples.
        ParityError: What was exported does not compute what the model computes.
        ExportError: Tracing or splitting failed, or ``out`` exists.
    """
    progress = progress or (lambda _: None)
    refuse_to_replace(out, force=options.force)
    progress("reading the checkpoint")
    source = load_checkpoint(checkpoint, options.spec, trust_pickle=options.trust_pickle)
    model = build_model(source)
    _refuse_too_large(model)
    progress("drawing samples")
    samples = draw_samples(source.spec, options.samples, random=options.random_samples)
    tensors = [port_tensors(source.spec.ports, sample) for sample in samples]
    outputs = list(source.spec.outputs)
    with tempfile.TemporaryDirectory(prefix="mmedge-export-") as temporary, new_folder(out) as draft:
        whole_path = Path(temporary) / "whole.onnx"
        progress("tracing to ONNX")
        trace(model, tensors[0], outputs, whole_path)
        whole = onnx.load(whole_path)
        progress("splitting by sensor and by time")
        cut = cut_graph(whole, source.spec.ports, tensors, Path(temporary))
        progress("computing what torch gives")
        references = _references(model, tensors, outputs)
        inside = _inside(cut.whole, cut, tensors, Path(temporary))
        golden = make_golden(samples, references.rounded, inside, references.tolerances())
        manifest = write_bundle(draft, source, cut, golden)
        progress("proving parity in another process")
        report = _prove(draft, manifest, tensors, references, inside, real=not options.random_samples)
        write_report(draft, "parity", report)
        require_parity(report.comparisons)
        manifest = seal(draft, manifest)
        kept = whole_path.read_bytes() if options.keep_whole else b""
    if options.keep_whole:
        options.keep_whole.write_bytes(kept)
    return Exported(manifest=manifest, parity=report)


def _refuse_too_large(model: torch.nn.Module) -> None:
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    if size > MAX_WEIGHT_BYTES:
        raise ExportError(
            f"the model has {size / 1e9:.1f} GB of weights, an ONNX file holds {MAX_WEIGHT_BYTES / 1e9:.1f} GB; weights in "
            "files of their own are not supported yet"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _References:
    """What torch gives for every sample, [S, ...] by output.

    Attributes:
        exact: In float64, or as ``rounded`` if the model cannot compute in it.
        rounded: In float32.
        precision: Of ``exact``.
    """

    exact: dict[str, Array]
    rounded: dict[str, Array]
    precision: str

    def tolerances(self) -> dict[str, float]:
        """Allowed differences of each output, from the model's own rounding noise where it can be measured."""
        if self.precision == "float64":
            return noise_tolerance(self.exact, self.rounded)
        return {name: FALLBACK * float(np.abs(array).max()) for name, array in self.rounded.items()}


def _references(model: torch.nn.Module, tensors: Sequence[Mapping[str, Array]], outputs: list[str]) -> _References:
    rounded = dict(reference_outputs(model, tensors, outputs, torch.float32))
    try:
        exact = dict(reference_outputs(copy.deepcopy(model), tensors, outputs, torch.float64))
    except SpecError:  # a dtype is written into its forward()
        return _References(exact=rounded, rounded=rounded, precision="float32")
    return _References(exact=exact, rounded=rounded, precision="float64")


def _inside(
    whole: onnx.ModelProto, cut: CutGraph, tensors: Sequence[Mapping[str, Array]], folder: Path
) -> dict[str, Array]:
    """Outputs of the unsplit graph, and the tensors where it will be cut, [S, ...] by name."""
    names = [value.name for value in whole.graph.output]
    names += [name for planned in cut.stages for name in planned.stage.outputs if name not in names]
    path = folder / "tapped.onnx"
    ports = [value.name for value in whole.graph.input]
    onnx.save(extract(whole, range(len(whole.graph.node)), ports, names, "tapped"), path)
    return run_isolated(path, tensors)


def _prove(
    draft: Path,
    manifest: Manifest,
    tensors: Sequence[Mapping[str, Array]],
    references: _References,
    inside: Mapping[str, Array],
    *,
    real: bool,
) -> ParityReport:
    outputs = {name: inside[name][:, 0] for name in manifest.outputs}
    staged = run_isolated(draft, tensors)
    against_torch = compare(
        f"torch {references.precision} against the ONNX graph", references.exact, outputs, references.tolerances()
    )
    against_whole = compare("the ONNX graph against its stages", inside, staged, split_tolerance(inside))
    return ParityReport(
        samples=len(tensors),
        real=real,
        reference=f"torch {torch.__version__} {references.precision}",
        comparisons=(*against_torch, *against_whole),
    )
