"""The steps of an export, file to file; the bundle appears under its name when the last one has passed."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from mmedge.errors import ExportError
from mmedge.manifest import Manifest
from mmedge.types import Array
from mmedge_export.cut import CutGraph, cut_graph
from mmedge_export.graph import extract
from mmedge_export.isolate import run_isolated
from mmedge_export.pack import make_golden, new_folder, refuse_to_replace, seal, write_bundle, write_report
from mmedge_export.parity import ParityReport, compare, require_parity, split_tolerance
from mmedge_export.samples import draw_samples, port_tensors
from mmedge_export.source import References, open_source
from mmedge_export.weights import read_graph, write_beside, write_whole

__all__ = ["ExportOptions", "Exported", "export"]

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What an export may be told.

    Attributes:
        spec: A SPEC.toml other than the one inside or beside the checkpoint.
        samples: An .npz of raw sensor data to prove the export with.
        random_samples: Prove it with random data.
        keep_whole: Where to keep the unsplit graph, for comparisons.
        force: Replace a bundle of the same name.
        trust_pickle: Let a ``.pt`` or ``.pt2`` file run the code that is in it.
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
        checkpoint: A ``.safetensors`` or ``.pt`` state dict, a pickled module or ``.pt2`` archive that is trusted, or
            an ``.onnx`` graph; the last one needs no torch.
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
    if options.keep_whole and not options.keep_whole.parent.is_dir():
        raise ExportError(f"{options.keep_whole.parent} is not a folder; make it first, or choose another --keep-whole")
    progress("reading the checkpoint")
    source = open_source(checkpoint, options.spec, trust_pickle=options.trust_pickle)
    progress("drawing samples")
    samples = draw_samples(source.spec, options.samples, random=options.random_samples)
    tensors = [port_tensors(source.spec.ports, sample, source.spec.read) for sample in samples]
    with (
        tempfile.TemporaryDirectory(prefix="mmedge-export-") as temporary,
        new_folder(out, force=options.force) as draft,
    ):
        whole_path = Path(temporary) / "whole.onnx"
        progress("making one ONNX graph")
        notes = source.write_graph(tensors[0], whole_path)
        whole = read_graph(whole_path)
        progress("splitting by sensor and by time")
        cut = cut_graph(whole, source.spec.ports, tensors, Path(temporary))
        progress("computing what the original gives")
        references = source.references(tensors, Path(temporary))
        inside = _inside(cut.whole, cut, tensors, Path(temporary))
        golden = make_golden(samples, references.rounded, inside, references.tolerances)
        manifest = write_bundle(draft, source, replace(cut, notes=(*notes, *cut.notes)), golden)
        progress("proving parity in another process")
        report = _prove(draft, tensors, references, inside, real=not options.random_samples)
        write_report(draft, "parity", report)
        require_parity(report.comparisons)
        manifest = seal(draft, manifest)
        if options.keep_whole:
            _keep(whole, options.keep_whole)
    return Exported(manifest=manifest, parity=report)


def _keep(whole: onnx.ModelProto, path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as aside:
        write_whole(whole, Path(aside) / path.name)
        for written in Path(aside).iterdir():
            written.replace(path.with_name(written.name))


def _inside(
    whole: onnx.ModelProto, cut: CutGraph, tensors: Sequence[Mapping[str, Array]], folder: Path
) -> dict[str, Array]:
    """Outputs of the unsplit graph, and the tensors where it will be cut, [S, ...] by name."""
    names = [value.name for value in whole.graph.output]
    names += [name for planned in cut.stages for name in planned.stage.outputs if name not in names]
    path = folder / "tapped.onnx"
    ports = [value.name for value in whole.graph.input]
    write_beside(extract(whole, range(len(whole.graph.node)), ports, names, "tapped"), path)
    return run_isolated(path, tensors)


def _prove(
    draft: Path,
    tensors: Sequence[Mapping[str, Array]],
    references: References,
    inside: Mapping[str, Array],
    *,
    real: bool,
) -> ParityReport:
    outputs = {name: inside[name][:, 0] for name in references.exact}
    staged = run_isolated(draft, tensors)
    against_original = compare(
        f"{references.name} against the ONNX graph", references.exact, outputs, references.tolerances
    )
    against_whole = compare("the ONNX graph against its stages", inside, staged, split_tolerance(inside))
    return ParityReport(
        samples=len(tensors),
        real=real,
        reference=references.computed_by,
        comparisons=(*references.comparisons, *against_original, *against_whole),
    )
