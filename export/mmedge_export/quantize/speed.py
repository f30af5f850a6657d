"""Whether a variant is worth having: its stages timed against the fp32 ones on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mmedge.manifest import Stage, StagePlan
from mmedge_export.quantize.evaluator import Evaluator, Plans
from mmedge_export.quantize.placement import products, stem
from mmedge_export.quantize.race import Lap, race
from mmedge_export.quantize.runner import stage_inputs

__all__ = ["Speed", "StageSpeed", "fastest_placement", "measure_speed"]

SMALL_MACS = 400_000  # below, conversions take what 8-bit products save; tried, not believed
WORTH = 1.03  # a placement must be this much faster than fp32 to be taken


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpeed:
    """One stage, fp32 against variant, in processor time of one thread.

    Attributes:
        stage: Its name.
        fp32: Time of the fp32 graph.
        variant: Time of the variant's.
    """

    stage: str
    fp32: Lap
    variant: Lap


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """A variant on ONNX Runtime, one thread, on the machine that quantized it; for one run of every stage.

    Attributes:
        stages: Each of them.
        cold: How many times faster after other work, when the caches hold something else.
        warm: How many times faster right after another run of the same stage.
    """

    stages: tuple[StageSpeed, ...]
    cold: float
    warm: float

    @property
    def times_faster(self) -> float:
        """Between the two: a stream runs each stage again and again, and others in between."""
        return float(np.sqrt(self.cold * self.warm))


def fastest_placement(evaluator: Evaluator, plans: Plans) -> dict[str, StagePlan]:
    """Plans of int8-cpu with the products left wide that are faster so; stages that gain nothing keep small weights.

    Args:
        evaluator: Has the graphs, and a window to time them with.
        plans: Stages in int8 are tried in several ways; others stay as they are.
    """
    chosen = dict(plans)
    for stage in evaluator.manifest.stages:
        plan = plans[stage.name]
        if plan.precision != "int8":
            continue
        model = evaluator.models[stage.name]
        narrow = stem(model)
        small = {name for name, macs in products(model).items() if macs < SMALL_MACS}
        ways = {tuple(sorted(wide)) for wide in (set[str](), narrow, small, narrow | small)}
        tried = [replace(plan, wide=wide) for wide in sorted(ways)]
        graphs = [evaluator.graphs("int8-cpu", {stage.name: each})[stage.name] for each in tried]
        laps = _race(evaluator, stage, dict(zip(map(str, range(len(tried))), graphs, strict=True)))
        best = max(range(len(tried)), key=lambda i: laps[str(i)].times_faster)
        slow = laps[str(best)].times_faster < WORTH
        nothing = set(tried[best].wide) >= products(model).keys()
        chosen[stage.name] = replace(plan, precision="int8-weights") if slow or nothing else tried[best]
    return chosen


def measure_speed(evaluator: Evaluator, graphs: Mapping[str, bytes]) -> Speed:
    """Time every stage of a variant against fp32.

    Args:
        evaluator: Has the fp32 graphs.
        graphs: The variant's, by stage.
    """
    rows = []
    for stage in evaluator.manifest.stages:
        laps = _race(evaluator, stage, {"variant": graphs[stage.name]})
        rows.append(StageSpeed(stage=stage.name, fp32=laps["fp32"], variant=laps["variant"]))
    return Speed(
        stages=tuple(rows),
        cold=sum(row.fp32.cold_ms for row in rows) / sum(row.variant.cold_ms for row in rows),
        warm=sum(row.fp32.warm_ms for row in rows) / sum(row.variant.warm_ms for row in rows),
    )


def _race(evaluator: Evaluator, stage: Stage, graphs: Mapping[str, bytes]) -> dict[str, Lap]:
    manifest = evaluator.manifest
    window = {name: evaluator.reference[name][0] for name in stage.inputs}
    specs = {name: manifest.tensors[name] for name in stage.outputs}
    outputs = {name: np.zeros(spec.item_shape, spec.dtype) for name, spec in specs.items()}
    inputs = stage_inputs(manifest, stage, window)[-1]
    return race({"fp32": evaluator.fp32[stage.name], **graphs}, inputs, outputs)
