"""The model in its stages at the rates of the clip: what each costs and how often it runs."""

from mmedge.cost import StageCost
from mmedge.manifest import Stage
from mmedge.page.graph import StageNotes, macs_text, stage_graph
from mmedge.page.markup import Markup
from mmedge.page.numbers import rounded
from mmedge_export.demo.result import DemoResult

__all__ = ["graph", "runs_per_s"]


def runs_per_s(result: DemoResult, stage: Stage) -> float:
    """How often a stage runs at the rates of the clip: when a sensor of its has something new."""
    rates = result.saving.rates_hz
    return min(result.saving.decisions_hz, sum(rates[port] for port in stage.ports))


def graph(result: DemoResult) -> Markup:
    """The drawing, with measured times."""
    pairs = list(zip(result.manifest.stages, result.costs, strict=True))
    stages = "; ".join(
        f"{stage.name} depends on {' and '.join(stage.ports)}, takes {rounded(cost.ms)} ms, "
        f"runs {runs_per_s(result, stage):g} times per second"
        for stage, cost in pairs
    )
    return stage_graph(
        result.manifest,
        {stage.name: _notes(result, stage, cost) for stage, cost in pairs},
        {name: f"{rate:g} new per s" for name, rate in result.saving.rates_hz.items()},
        f"The model {result.manifest.name} in its stages. {stages}.",
    )


def _notes(result: DemoResult, stage: Stage, cost: StageCost) -> StageNotes:
    rate, whole = runs_per_s(result, stage), result.saving.decisions_hz * cost.runs_unsplit
    load = rate * cost.ms
    return StageNotes(
        lines=(f"{rounded(cost.ms)} ms · {macs_text(cost.macs)}", f"{rate:g} runs per second"),
        note=f"instead of {whole:g}" if whole != rate else "as in the whole model",
        load=f"{rounded(load)} ms of work per s",
        share=load / result.saving.staged_ms if result.saving.staged_ms else 0.0,
    )
