"""Holds a variant to its budget: a branch at a time, then all of them, then without the layers that cost most."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import get_args

from mmedge.bundle import Bundle
from mmedge.calibration import Method
from mmedge.manifest import StagePlan
from mmedge_export.quantize.evaluator import Alone, EmbeddingShift, Evaluator, Plans, first_windows
from mmedge_export.quantize.placement import products
from mmedge_export.quantize.score import Budget, Loss

__all__ = ["Guarded", "Reverted", "Trial", "guard", "judge"]

RANKING_WINDOWS = 48
SCALED = {"int8", "fp8"}  # precisions whose activations have ranges
PLAIN = {"Constant", "Flatten", "Identity", "Reshape", "Shape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
ALONE_FACTOR = 4.0  # one sensor alone is further from what was trained, and ties are closer


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Something that was tried.

    Attributes:
        what: It.
        error: Mean relative error of the raw outputs.
        drop: Largest loss of a score.
        holds: Whether it stayed within the budget.
    """

    what: str
    error: float
    drop: float
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverted:
    """A layer that stayed in float32.

    Attributes:
        stage: Where it is.
        node: Its name.
        contribution: Mean relative error of the raw outputs when it alone is quantized.
    """

    stage: str
    node: str
    contribution: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """How it went.

    Attributes:
        plans: How the stages are made in the end.
        holds: Whether that stays within the budget.
        losses: Of the outputs.
        alone: Of the outputs with one sensor alone.
        shifts: Of the embeddings.
        reverted: Layers that were taken back.
        trials: Everything that was tried, in order.
    """

    plans: dict[str, StagePlan]
    holds: bool
    losses: tuple[Loss, ...]
    alone: tuple[Alone, ...]
    shifts: tuple[EmbeddingShift, ...]
    reverted: tuple[Reverted, ...]
    trials: tuple[Trial, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judgement:
    losses: tuple[Loss, ...]
    alone: tuple[Alone, ...]
    shifts: tuple[EmbeddingShift, ...]
    error: float
    holds: bool

    def trial(self, what: str) -> Trial:
        worst = max((loss.drop for loss in self.losses if not loss.relative), default=0.0)
        return Trial(what=what, error=self.error, drop=worst, holds=self.holds)


def judge(evaluator: Evaluator, family: str, plans: Plans, budget: Budget) -> _Judgement:
    """Measure one set of plans; it holds when every output does, with all sensors and with each alone."""
    tensors = evaluator.tensors(family, plans)
    rows = tuple(evaluator.losses(tensors, budget))
    alone = tuple(evaluator.alone(family, plans, tensors))
    return _Judgement(
        losses=rows,
        alone=alone,
        shifts=tuple(evaluator.shifts(tensors)),
        error=evaluator.error(tensors),
        holds=all(row.holds for row in rows) and all(row.error <= ALONE_FACTOR * budget.error for row in alone),
    )


def guard(
    bundle: Bundle,
    evaluator: Evaluator,
    family: str,
    plans: Plans,
    budget: Budget,
    say: Callable[[str], None],
) -> Guarded:
    """Find plans that stay within the budget and quantize as much as possible.

    Args:
        bundle: The bundle.
        evaluator: Measures.
        family: Of the variant.
        plans: Where to start from.
        budget: What may be lost.
        say: Told what is tried.
    """
    fewer = first_windows(evaluator, bundle, RANKING_WINDOWS)
    trials = []
    chosen: dict[str, StagePlan] = {}
    for name, plan in plans.items():
        if plan.precision == "fp32":
            continue
        say(f"{family}: {name} alone")
        chosen[name] = _best_method(fewer, family, name, plan)
        method = f", {chosen[name].method}" if plan.precision in SCALED else ""
        one = judge(evaluator, family, {name: chosen[name]}, budget)
        trials.append(one.trial(f"only {name} in {plan.precision}{method}"))
    found = judge(evaluator, family, chosen, budget)
    trials.append(found.trial("all stages"))
    if found.holds or not chosen:
        return _guarded(chosen, found, (), trials)
    say(f"{family}: ranking layers")
    ranked = _ranked(fewer, family, chosen)
    low, high = 0, len(ranked)  # reverting low does not hold; high would be fp32 again
    best = None
    while high - low > 1:
        middle = (low + high) // 2
        say(f"{family}: without the worst {middle} of {len(ranked)} layers")
        plans_now = _without(chosen, ranked[:middle])
        now = judge(evaluator, family, plans_now, budget)
        trials.append(now.trial(f"without the worst {middle} of {len(ranked)} layers"))
        if now.holds:
            high, best = middle, (plans_now, now)
        else:
            low = middle
    if best is None:
        return _guarded(chosen, found, (), trials)
    return _guarded(best[0], best[1], tuple(ranked[:high]), trials)


def _guarded(
    plans: dict[str, StagePlan], found: _Judgement, reverted: tuple[Reverted, ...], trials: list[Trial]
) -> Guarded:
    return Guarded(
        plans=plans,
        holds=found.holds,
        losses=found.losses,
        alone=found.alone,
        shifts=found.shifts,
        reverted=reverted,
        trials=tuple(trials),
    )


def _best_method(evaluator: Evaluator, family: str, stage: str, plan: StagePlan) -> StagePlan:
    """The way to choose ranges that moves the outputs least when this stage alone is quantized."""
    if plan.precision not in SCALED:
        return plan
    candidates = [replace(plan, method=method) for method in get_args(Method)]
    errors = [evaluator.error(evaluator.tensors(family, {stage: candidate})) for candidate in candidates]
    return candidates[errors.index(min(errors))]


def _ranked(evaluator: Evaluator, family: str, plans: Plans) -> list[Reverted]:
    """Every layer of the plans, the one that moves the outputs most by itself first."""
    rows = []
    for stage, plan in plans.items():
        layers = _layers(evaluator, stage, plan)
        for node in layers:
            alone = replace(plan, exact=tuple(other for other in layers if other != node))
            contribution = evaluator.error(evaluator.tensors(family, {stage: alone}))
            rows.append(Reverted(stage=stage, node=node, contribution=contribution))
    return sorted(rows, key=lambda row: -row.contribution)


def _layers(evaluator: Evaluator, stage: str, plan: StagePlan) -> list[str]:
    model = evaluator.models[stage]
    if plan.precision in {"fp16", "bf16"}:
        return [node.name for node in model.graph.node if node.op_type not in PLAIN]
    return [name for name in products(model) if name not in plan.exact]


def _without(plans: Mapping[str, StagePlan], reverted: list[Reverted]) -> dict[str, StagePlan]:
    return {
        name: replace(plan, exact=(*plan.exact, *(row.node for row in reverted if row.stage == name)))
        for name, plan in plans.items()
    }
