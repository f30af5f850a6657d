"""``mmedge quantize`` as a function: calibrate, make variants, hold them to their budget, put them into the bundle."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mmedge.bundle import Bundle, open_bundle
from mmedge.calibration import CALIBRATION, MOMENTS, Calibration, read_calibration
from mmedge.errors import BundleError, InputError
from mmedge.manifest import StagePlan, Variant
from mmedge.records import to_plain
from mmedge_export.quantize.calibrate import calibrate, model_sha256, pack_moments
from mmedge_export.quantize.data import golden_windows, random_windows, read_windows
from mmedge_export.quantize.evaluator import Evaluator
from mmedge_export.quantize.guard import Guarded, guard
from mmedge_export.quantize.int4 import fitting
from mmedge_export.quantize.page import page
from mmedge_export.quantize.placement import products
from mmedge_export.quantize.report import QuantizeReport, VariantReport
from mmedge_export.quantize.score import Budget
from mmedge_export.quantize.speed import Speed, fastest_placement, measure_speed
from mmedge_export.quantize.store import alone, rewrite
from mmedge_export.quantize.variants import CPU, VARIANTS, made_stage, parse_precision

__all__ = ["QuantizeOptions", "quantize"]

HALVES = {"fp16", "bf16"}
DEFAULT = ("int8-cpu", "int8-trt", "fp16")
REPORT_JSON, REPORT_PAGE = "reports/quantize.json", "reports/quantize.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeOptions:
    """What a user chooses.

    Attributes:
        calibration: A folder of clips or of .npz files, or one of them; None to use what the bundle has.
        random: Calibrate with noise.
        variants: Which to make; () for the usual ones.
        budget: What a variant may lose.
        precision: ``WHAT=PRECISION``, see :func:`mmedge_export.quantize.variants.parse_precision`.
        windows: How many windows at most.
        ship_slower: Also ship variants that are not faster here than fp32.
    """

    calibration: Path | None = None
    random: bool = False
    variants: tuple[str, ...] = ()
    budget: Budget
    precision: tuple[str, ...] = ()
    windows: int = 256
    ship_slower: bool = False


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
        known = evaluator is None
        names = options.variants or DEFAULT
        if evaluator is None:
            evaluator = Evaluator(bundle, calibration.ranges, golden_windows(bundle))
            notes.append(f"no clips were given: measured on {len(evaluator.windows)} recorded windows only")
        reports = []
        variants = dict(bundle.manifest.variants)
        for name in names:
            old = bundle.manifest.variants.get(name) if known and not options.precision else None
            report, graphs = _variant(bundle, evaluator, name, options, old, say)
            reports.append(report)
            variants.pop(name, None)
            if graphs:
                variants[name] = _record(report)
            new |= {f"onnx/{name}/{stage}.onnx": graph for stage, graph in graphs.items()}
        whole = QuantizeReport(
            bundle=bundle.manifest.name,
            windows=len(evaluator.windows),
            labelled=tuple(evaluator.windows.labels),
            real=evaluator.windows.real and calibration.real,
            sources=calibration.sources,
            data_sha256=calibration.data_sha256,
            budget=options.budget,
            variants=tuple(reports),
            notes=tuple(notes),
        )
        new[REPORT_JSON] = (json.dumps(to_plain(whole), indent=1) + "\n").encode()
        new[REPORT_PAGE] = page(whole).encode()
        say("writing the bundle")
        rewrite(bundle, variants, CALIBRATION, new)
    return whole


def _calibrated(
    bundle: Bundle, options: QuantizeOptions, say: Callable[[str], None]
) -> tuple[Calibration, dict[str, bytes], Evaluator | None, list[str]]:
    """The calibration, what is new of it, and an evaluator if there is data to measure with."""
    before = _stored(bundle)
    if options.calibration is None and not options.random:
        if before is None:
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
    calibration, arrays, tensors = calibrate(bundle, windows)
    notes = [] if windows.real else ["calibrated with RANDOM data: ranges and accuracy mean little"]
    if before is not None and before.data_sha256 != calibration.data_sha256:
        notes.append(f"calibrated before with other data, {before.windows} windows; variants not made now are of that")
    new = {CALIBRATION: calibration.to_json().encode(), MOMENTS: pack_moments(arrays)}
    return calibration, new, Evaluator(bundle, calibration.ranges, windows, tensors), notes


def _stored(bundle: Bundle) -> Calibration | None:
    name = bundle.manifest.calibration
    return read_calibration(bundle.read(name), str(bundle.path / name)) if name else None


def _variant(
    bundle: Bundle,
    evaluator: Evaluator,
    name: str,
    options: QuantizeOptions,
    old: Variant | None,
    say: Callable[[str], None],
) -> tuple[VariantReport, dict[str, bytes]]:
    """One variant, and its graphs if it is to be shipped; one that was made before is made again as it was."""
    family = VARIANTS[name]
    if old is not None and old.stages:
        graphs = _graphs(evaluator, name, old.stages)
        say(f"{name} as before")
        return _as_before(name, old, graphs, evaluator), graphs
    plans = {stage.name: StagePlan(precision=family.precisions[0]) for stage in bundle.manifest.stages}
    forced = parse_precision(options.precision, bundle.manifest, name)
    plans |= {stage: StagePlan(precision=precision) for stage, precision in forced.items()}
    plans = _possible(evaluator, name, plans)
    if name == "int8-cpu":
        say(f"{name}: timing placements")
        tried = fastest_placement(evaluator, plans)
        plans = {stage: plans[stage] if stage in forced else plan for stage, plan in tried.items()}
    guarded = guard(bundle, evaluator, name, plans, options.budget, say)
    final = {stage.name: guarded.plans.get(stage.name, plans[stage.name]) for stage in bundle.manifest.stages}
    graphs = _graphs(evaluator, name, final)
    speed = None
    if set(family.backends) & set(CPU):
        say(f"{name}: timing against fp32")
        speed = measure_speed(evaluator, graphs)
    shipped, why = _verdict(guarded, speed, final, ship_slower=options.ship_slower)
    report = VariantReport(
        name=name,
        shipped=shipped,
        why=why,
        backends=family.backends,
        note=family.note,
        imitated=not family.measured,
        stages=final,
        bytes=sum(map(len, graphs.values())),
        fp32_bytes=sum(map(len, evaluator.fp32.values())),
        guarded=guarded,
        speed=speed,
    )
    return report, graphs if shipped else {}


def _possible(evaluator: Evaluator, name: str, plans: dict[str, StagePlan]) -> dict[str, StagePlan]:
    """Stages that a precision has nothing to do in stay fp32."""
    possible = {}
    for stage, plan in plans.items():
        model = evaluator.models[stage]
        fits = bool(fitting(model)) if plan.precision == "int4" else bool(products(model)) or name in HALVES
        possible[stage] = plan if fits else StagePlan(precision="fp32")
    return possible


def _graphs(evaluator: Evaluator, name: str, plans: Mapping[str, StagePlan]) -> dict[str, bytes]:
    return {
        stage: evaluator.fp32[stage]
        if plan.precision == "fp32"
        else made_stage(evaluator.models[stage], evaluator.ranges[stage], plan, name).SerializeToString()
        for stage, plan in plans.items()
    }


def _verdict(
    guarded: Guarded, speed: Speed | None, plans: Mapping[str, StagePlan], *, ship_slower: bool
) -> tuple[bool, str]:
    if all(plan.precision == "fp32" for plan in plans.values()):
        return False, "nothing in this model can be made smaller so"
    if not guarded.holds:
        return False, "it misses its budget even without the layers that cost most"
    if speed is not None and speed.times_faster <= 1:
        why = f"it is not faster here than fp32 ({speed.times_faster:.2f} times as fast)"
        return ship_slower, f"{why}; shipped because you asked" if ship_slower else f"{why}; --ship-slower ships it"
    if speed is None:
        return True, "within its budget; its speed was not measured, its backends are not here"
    return True, f"within its budget, {speed.times_faster:.2f} times as fast as fp32 here"


def _as_before(name: str, old: Variant, graphs: Mapping[str, bytes], evaluator: Evaluator) -> VariantReport:
    return VariantReport(
        name=name,
        shipped=True,
        why="made again as it was",
        backends=old.backends,
        note=old.note,
        imitated=not VARIANTS[name].measured,
        stages=old.stages,
        bytes=sum(map(len, graphs.values())),
        fp32_bytes=sum(map(len, evaluator.fp32.values())),
        before=old.drop,
    )


def _record(report: VariantReport) -> Variant:
    return Variant(
        files={stage: f"onnx/{report.name}/{stage}.onnx" for stage in report.stages},
        backends=report.backends,
        stages=dict(report.stages),
        drop=report.drop,
        note=report.note,
    )
