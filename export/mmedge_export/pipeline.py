"""The steps of an export, file to file; the bundle appears under its name when the last one has passed."""

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from mmedge.calibration import CALIBRATION
from mmedge.errors import ExportError, InputError, SpecError
from mmedge.gates import shut_out
from mmedge.manifest import Manifest
from mmedge.policies import PolicyScore, PortPolicy
from mmedge_export.cut import CutGraph, cut_graph
from mmedge_export.front_stages import place_front_ends
from mmedge_export.gates.find import NO_WEIGHTS
from mmedge_export.graph import stripped
from mmedge_export.pack import make_golden, new_folder, refuse_to_replace, seal, write_bundle, write_report
from mmedge_export.parity.cases import plan_cases
from mmedge_export.parity.comparison import ParityReport, require_parity
from mmedge_export.parity.diagnose import first_divergence
from mmedge_export.parity.page import render_parity
from mmedge_export.parity.prove import gather, prove
from mmedge_export.samples import draw_labelled, draw_samples, port_tensors
from mmedge_export.source import Source, open_source
from mmedge_export.statistics import look_at, sample_windows
from mmedge_export.weights import read_graph, write_whole

__all__ = ["PARITY_PAGE", "ExportOptions", "Exported", "export", "export_source"]

LOOKED_AT = 64  # samples that embeddings are looked at on
PARITY_PAGE = "reports/parity.html"
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
    return export_source(source, out, options, progress)


def export_source(source: Source, out: Path, options: ExportOptions, progress: Progress) -> Exported:
    """As :func:`export`, from what has been read already."""
    spec = source.spec
    progress("drawing samples")
    samples = draw_samples(spec, options.samples, random=options.random_samples)
    tensors = [port_tensors(spec.ports, sample, spec.read) for sample in samples]
    with (
        tempfile.TemporaryDirectory(prefix="mmedge-export-") as temporary,
        new_folder(out, force=options.force) as draft,
    ):
        whole_path = Path(temporary) / "whole.onnx"
        progress("making one ONNX graph")
        traced = source.write_graph(tensors[0], whole_path)
        whole = read_graph(whole_path)
        progress("splitting by sensor and by time")
        cut = cut_graph(whole, spec.ports, tensors, Path(temporary), spec.in_graph, spec.gates)
        cut = replace(cut, notes=(*traced.notes, *cut.notes))
        _check_policies(spec.policies, cut)
        progress("computing what the original gives")
        evidence = gather(traced, cut, plan_cases(spec.ports, tensors), Path(temporary))
        references, own = evidence.references, slice(len(samples))
        rounded, inside = (
            {name: array[own] for name, array in arrays.items()} for arrays in (references.rounded, evidence.whole)
        )
        allowed = references.allowed(own)
        proved = Path(temporary) / "on_features" if spec.in_graph else draft
        proved.mkdir(exist_ok=True)
        manifest = write_bundle(proved, source, spec.ports, cut, make_golden(samples, rounded, inside, allowed))
        progress("proving parity in another process")
        report = prove(proved, evidence, real=not options.random_samples)
        if not report.holds:
            progress("looking for the first node that differs")
            first = first_divergence(report, evidence, traced, proved, Path(temporary))
            require_parity(report.comparisons, first)
        if spec.in_graph:
            progress("putting audio front ends into the graph")
            pairs = list(zip(samples, tensors, strict=True))
            placed = place_front_ends(cut, spec, pairs, Path(temporary))
            inside = {name: array for name, array in inside.items() if name in placed.unchanged}
            allowed = {name: value + placed.off[name] for name, value in allowed.items()}
            golden = make_golden(samples, rounded, inside, allowed)
            manifest = write_bundle(draft, source, spec.bundle_ports, placed.cut, golden)
            report = replace(report, comparisons=(*report.comparisons, *placed.prove(draft)))
            require_parity(report.comparisons)
            cut, whole = placed.cut, placed.whole(whole)
        operators = {name: Counter(node.op_type for node in graph.graph.node) for name, graph in cut.graphs.items()}
        write_report(draft, "parity", report)
        (draft / PARITY_PAGE).write_text(render_parity(report, manifest, operators), encoding="utf-8")
        calibration, scores = _look(draft, manifest, source, options, progress)
        manifest = seal(draft, manifest, calibration, scores)
        if options.keep_whole:
            _keep(stripped(whole), options.keep_whole)
    return Exported(manifest=manifest, parity=report)


def _check_policies(policies: Mapping[str, PortPolicy], cut: CutGraph) -> None:
    try:
        shut_out(policies, cut.gates)
    except InputError as error:
        why = [note for note in cut.notes if note.startswith(NO_WEIGHTS)]
        raise SpecError("; ".join([f"policies: {error}", *why])) from error


def _look(
    draft: Path, manifest: Manifest, source: Source, options: ExportOptions, progress: Progress
) -> tuple[str, tuple[PolicyScore, ...]]:
    """Statistics of embeddings on real samples, by the name of their file, and what is left without each sensor."""
    if options.random_samples:
        return "", ()
    progress("looking at embeddings and at missing sensors")
    labelled = draw_labelled(source.spec, options.samples, LOOKED_AT)
    where = str(options.samples or source.spec.samples)
    windows = sample_windows(labelled, manifest, source.spec.read, where)
    try:
        return CALIBRATION, look_at(draft, manifest, windows)
    except InputError as error:
        progress(f"without mean embeddings: {error}")
        return "", ()


def _keep(whole: onnx.ModelProto, path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as aside:
        write_whole(whole, Path(aside) / path.name)
        for written in Path(aside).iterdir():
            written.replace(path.with_name(written.name))
