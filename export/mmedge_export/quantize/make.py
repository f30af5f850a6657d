"""``mmedge quantize`` as a function: calibrate, make variants, hold them to their budget, put them into the bundle."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmedge.bundle import Bundle, open_bundle
from mmedge.calibration import CALIBRATION, MOMENTS, Calibration, read_calibration
from mmedge.errors import BundleError, InputError
from mmedge.manifest import Variant
from mmedge.policies import PolicyScore
from mmedge.records import to_plain
from mmedge_export.quantize.calibrate import calibrate, embeddings, model_sha256, pack_moments
from mmedge_export.quantize.data import golden_windows, random_windows, read_clips, read_windows
from mmedge_export.quantize.evaluator import Evaluator
from mmedge_export.quantize.held import score_held
from mmedge_export.quantize.missing import score_missing
from mmedge_export.quantize.page import page
from mmedge_export.quantize.produce import Choice, produce
from mmedge_export.quantize.report import QuantizeReport, VariantReport
from mmedge_export.quantize.runner import run_windows
from mmedge_export.quantize.store import alone, rewrite
from mmedge_export.quantize.variants import VARIANTS, parse_precision

__all__ = ["QuantizeOptions", "quantize"]

DEFAULT = ("int8-cpu", "int8-trt", "fp16")
REPORT_JSON, REPORT_PAGE = "reports/quantize.json", "reports/quantize.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeOptions:
    """What a user chooses.

    Attributes:
        calibration: A folder of clips or of .npz files, or one of them; None to use what the bundle has.
        random: Calibrate with noise.
        variants: Which to make; () for the usual ones, or those that the bundle has.
        choice: What is asked of them.
        windows: How many windows at most.
    """

    calibration: Path | None = None
    random: bool = False
    variants: tuple[str, ...] = ()
    choice: Choice
    windows: int = 256


def quantize(path: Path, options: QuantizeOptions, say: Callable[[str], None]) -> QuantizeReport:
    """Calibrate a bundle and add variants to it.

    Args:
        path: The bundle; it is replaced at the end, in one step.
        options: See there.
        say: Told what is done.

    Raises:
        BundleError: The bundle cannot be used, or its calibration is of other weights.
        ExportError: The bundle cannot be written to.
        InputError: The calibration data or an option does not fit.
        SourceError: A recording cannot be read.
    """
    if unknown := [name for name in options.variants if name not in VARIANTS]:
        raise InputError(f"variant {unknown[0]!r} is not known; expected {', '.join(VARIANTS)}")
    with alone(path):
        bundle = open_bundle(path)
        say("reading calibration data")
        calibration, new, evaluator, notes = _calibrated(bundle, options, say)
        again = evaluator is None and not options.choice.precision
        if evaluator is None:
            evaluator = Evaluator(bundle, calibration.ranges, golden_windows(bundle))
            notes.append(f"no clips were given: what is new was measured on {len(evaluator.windows)} recorded windows")
        scores = _scores(bundle, evaluator, options.calibration) if new else bundle.manifest.scores
        variants, reports = dict(bundle.manifest.variants), []
        for name in _names(bundle, options):
            old = variants.pop(name, None)
            report, graphs = produce(bundle, evaluator, name, options.choice, old if again else None, say)
            reports.append(report)
            if graphs:
                variants[name] = _record(report, _tolerances(bundle, evaluator, report))
            new |= {f"onnx/{name}/{stage}.onnx": graph for stage, graph in graphs.items()}
        whole = QuantizeReport(
            bundle=bundle.manifest.name,
            windows=len(evaluator.windows),
            labelled=tuple(evaluator.windows.labels),
            real=evaluator.windows.real and calibration.real,
            sources=calibration.sources,
            data_sha256=calibration.data_sha256,
            budget=options.choice.budget,
            variants=tuple(reports),
            missing=scores,
            notes=tuple(notes),
        )
        if any(report.guarded for report in reports):
            new[REPORT_JSON] = (json.dumps(to_plain(whole), indent=1) + "\n").encode()
            new[REPORT_PAGE] = page(whole).encode()
        say("writing the bundle")
        rewrite(bundle, variants, CALIBRATION, new, scores)
    return whole


def _names(bundle: Bundle, options: QuantizeOptions) -> tuple[str, ...]:
    """What was asked for; else what the bundle has; else the usual ones that the precisions are possible in."""
    if options.variants:
        return options.variants
    there = tuple(name for name, variant in bundle.manifest.variants.items() if name in VARIANTS and variant.stages)
    usual = there if there and options.calibration is None else DEFAULT
    fitting = [name for name in usual if _fits(options, bundle, name)]
    if not fitting:  # say what does not fit
        parse_precision(options.choice.precision, bundle.manifest, usual[0])
    return tuple(fitting)


def _fits(options: QuantizeOptions, bundle: Bundle, name: str) -> bool:
    try:
        parse_precision(options.choice.precision, bundle.manifest, name)
    except InputError:
        return False
    return True


def _calibrated(
    bundle: Bundle, options: QuantizeOptions, say: Callable[[str], None]
) -> tuple[Calibration, dict[str, bytes], Evaluator | None, list[str]]:
    """The calibration, what is new of it, and an evaluator if there is data to measure with."""
    before = _stored(bundle)
    if options.calibration is None and not options.random:
        if before is None or not before.ranges:
            raise InputError(
                f"{bundle.path} was not calibrated; give --calibration CLIPS, a folder of recordings or .npz files"
            )
        if before.model_sha256 != model_sha256(bundle.manifest):
            raise BundleError(f"{bundle.path / CALIBRATION} is of other weights; calibrate again with --calibration")
        return before, {}, None, []
    if options.calibration is not None:
        windows = read_windows(options.calibration, bundle, options.windows)
    else:
        windows = random_windows(bundle, min(options.windows, 32))
    say(f"calibrating with {len(windows)} windows")
    calibration, moments, tensors = calibrate(bundle, windows)
    notes = [] if windows.real else ["calibrated with RANDOM data: ranges and accuracy mean little"]
    if before is not None and before.ranges and before.data_sha256 != calibration.data_sha256:
        notes.append(f"calibrated before with other data, {before.windows} windows; variants not made now are of that")
    new = {CALIBRATION: calibration.to_json().encode(), MOMENTS: pack_moments(moments)}
    return calibration, new, Evaluator(bundle, calibration.ranges, windows, tensors), notes


def _scores(bundle: Bundle, evaluator: Evaluator, clips: Path | None) -> tuple[PolicyScore, ...]:
    """What is left without each sensor; noise has nothing to say about that."""
    if not evaluator.windows.real:
        return ()
    means = {name: evaluator.reference[name].mean(0, dtype=np.float64) for name in embeddings(bundle.manifest)}
    scores = score_missing(bundle.manifest, evaluator.fp32, evaluator.windows, evaluator.reference, means)
    return scores + (() if clips is None else score_held(bundle, read_clips(clips, bundle)))


def _stored(bundle: Bundle) -> Calibration | None:
    name = bundle.manifest.calibration
    return read_calibration(bundle.read(name), str(bundle.path / name)) if name else None


def _tolerances(bundle: Bundle, evaluator: Evaluator, report: VariantReport) -> dict[str, float]:
    """What ``mmedge check`` may find: twice the differences of the recorded windows here."""
    golden, manifest = bundle.read_golden(), bundle.manifest
    tensors = run_windows(manifest, evaluator.graphs(report.name, report.stages), golden_windows(bundle))
    found = {}
    for key, expected in golden.items():
        kind, _, name = key.partition("/")
        if kind in {"output", "tensor"}:
            made = tensors[manifest.results[name] if kind == "output" else name].reshape(expected.shape)
            found[name] = 2 * float(np.abs(made.astype(np.float64) - expected).max())
    return found


def _record(report: VariantReport, tolerances: dict[str, float]) -> Variant:
    return Variant(
        files={stage: f"onnx/{report.name}/{stage}.onnx" for stage in report.stages},
        backends=report.backends,
        stages=dict(report.stages),
        drop=report.drop,
        note=report.note,
        tolerances=tolerances,
    )
