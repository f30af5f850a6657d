"""Makes one variant: plans, guard, timing, and the verdict whether it is worth having."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from mmedge.bundle import Bundle
from mmedge.manifest import StagePlan, Variant
from mmedge_export.quantize.evaluator import Evaluator
from mmedge_export.quantize.guard import Guarded, guard
from mmedge_export.quantize.int4 import fitting
from mmedge_export.quantize.placement import products
from mmedge_export.quantize.report import VariantReport
from mmedge_export.quantize.score import Budget
from mmedge_export.quantize.speed import Speed, fastest_placement, measure_speed
from mmedge_export.quantize.variants import CPU, VARIANTS, made_stage, parse_precision

__all__ = ["Choice", "produce"]

HALVES = {"fp16", "bf16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a user asks of a variant.

    Attributes:
        budget: What it may lose.
        precision: ``WHAT=PRECISION``, see :func:`mmedge_export.quantize.variants.parse_precision`.
        ship_slower: Keep it even if it is not faster here than fp32.
    """

    budget: Budget
    precision: tuple[str, ...] = ()
    ship_slower: bool = False


def produce(
    bundle: Bundle,
    evaluator: Evaluator,
    name: str,
    choice: Choice,
    old: Variant | None,
    say: Callable[[str], None],
) -> tuple[VariantReport, dict[str, bytes]]:
    """One variant, and its graphs if it is to be shipped.

    Args:
        bundle: The bundle.
        evaluator: Has its fp32 graphs, the ranges, and windows to measure with.
        name: Of VARIANTS.
        choice: What the user asked of it.
        old: The variant as it was made before, to be made again just so; None to find out how.
        say: Told what is done.

    Raises:
        InputError: A precision does not fit.
    """
    family = VARIANTS[name]
    if old is not None and old.stages:
        graphs = _graphs(evaluator, name, old.stages)
        say(f"{name} as before")
        return _as_before(name, old, graphs, evaluator), graphs
    plans = {stage.name: StagePlan(precision=family.precisions[0]) for stage in bundle.manifest.stages}
    forced = parse_precision(choice.precision, bundle.manifest, name)
    plans |= {stage: StagePlan(precision=precision) for stage, precision in forced.items()}
    plans = _possible(evaluator, name, plans)
    if name == "int8-cpu":
        say(f"{name}: timing placements")
        tried = fastest_placement(evaluator, plans)
        plans = {stage: plans[stage] if stage in forced else plan for stage, plan in tried.items()}
    guarded = guard(bundle, evaluator, name, plans, choice.budget, say)
    final = {stage.name: guarded.plans.get(stage.name, plans[stage.name]) for stage in bundle.manifest.stages}
    graphs = _graphs(evaluator, name, final)
    speed = None
    if set(family.backends) & set(CPU):
        say(f"{name}: timing against fp32")
        speed = measure_speed(evaluator, graphs)
        slower = {
            row.stage for row in speed.stages if row.variant.times_faster < 1 and final[row.stage].precision == "int8"
        }
        if guarded.reverted and slower - forced.keys():  # what was taken back has undone what the rest had gained
            lighter = {
                stage: replace(plan, precision="int8-weights") if stage in slower else plan
                for stage, plan in final.items()
            }
            guarded = guard(bundle, evaluator, name, lighter, choice.budget, say)
            final = {stage: guarded.plans.get(stage, lighter[stage]) for stage in lighter}
            graphs = _graphs(evaluator, name, final)
            speed = measure_speed(evaluator, graphs)
    shipped, why = _verdict(guarded, speed, final, ship_slower=choice.ship_slower)
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
