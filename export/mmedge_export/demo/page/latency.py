"""How long decisions took, contestant by contestant."""

from mmedge.page.distribution import Distribution, distribution_figure
from mmedge.page.markup import Markup
from mmedge.page.numbers import milliseconds
from mmedge_export.demo.page.rivals import latency_ms, ours
from mmedge_export.demo.result import Contestant, DemoResult

__all__ = ["latency_figure"]

QUANTILES = (50, 95, 99)
WORDS = "from the arrival of the sound to the decision; strokes at p50, p95, p99"


def latency_figure(result: DemoResult) -> Markup:
    """Small multiples; the dashed line is when the next decision is due."""
    rows = [
        Distribution(
            name=contestant.name,
            numbers=_numbers(contestant),
            samples_ms=contestant.latency_ms,
            strokes_ms=tuple(latency_ms(contestant, percent) for percent in QUANTILES),
            ours=contestant is ours(result),
        )
        for contestant in result.contestants
    ]
    return distribution_figure(rows, 1e3 / result.decisions_hz, "latency", WORDS)


def _numbers(contestant: Contestant) -> str:
    if not contestant.latency_ms.size:
        return "no decisions"
    if not contestant.keeps_up:
        longest = milliseconds(float(contestant.latency_ms.max()))
        return f"does not keep up: the wait grew to {longest} in this clip"
    return ", ".join(f"p{percent} {milliseconds(latency_ms(contestant, percent))}" for percent in QUANTILES)
