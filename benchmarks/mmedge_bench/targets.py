"""What mmedge wants to reach against the unsplit graph, and what one run says of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from mmedge_bench.claims import ratio_of
from mmedge_bench.result import Contestant, Result
from mmedge_bench.summary import shares_ms_per_s

__all__ = ["Target", "targets_of"]

STAGED = 1 / 3  # of the work, and of the median latency, of the unsplit graph
QUANTIZED = 1 / 6  # of the work of the unsplit float32 graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One target.

    Attributes:
        what: What is compared with what.
        at_most: Share of the unsplit graph's that is allowed.
        share: What was measured.
        why: What takes most of the time, where the target is missed; else "".
    """

    what: str
    at_most: float
    share: float
    why: str

    @property
    def reached(self) -> bool:
        """Whether it was."""
        return self.share <= self.at_most


def targets_of(result: Result) -> list[Target]:
    """Every target that can be judged: the unsplit graph in ONNX Runtime took part."""
    whole = next((c for c in result.took_part if c.kind == "whole"), None)
    return list(_targets(result, whole)) if whole else []


def _targets(result: Result, whole: Contestant) -> Iterator[Target]:
    ours = result.ours
    if work := ratio_of(result, ours.name, whole.name, "work"):
        what = f"work per second of stream, {ours.name} against {whole.name}"
        yield _target(result, ours, what, STAGED, 1 / work)
    if latency := ratio_of(result, ours.name, whole.name, "latency"):
        what = f"median from sensor to decision, {ours.name} against {whole.name}"
        yield _target(result, ours, what, STAGED, 1 / latency)
    for variant in result.took_part:
        if variant.kind == "staged" and variant.variant.startswith("int8"):
            work = ratio_of(result, variant.name, whole.name, "work")
            what = f"work per second of stream, {variant.name} against {whole.name} in float32"
            if work:
                yield _target(result, variant, what, QUANTIZED, 1 / work)


def _target(result: Result, contestant: Contestant, what: str, at_most: float, share: float) -> Target:
    return Target(what=what, at_most=at_most, share=share, why="" if share <= at_most else _why(result, contestant))


def _why(result: Result, contestant: Contestant) -> str:
    shares = shares_ms_per_s(result, contestant.name)
    total = sum(shares.values())
    if not total:
        return "the closed loop was not run, which would tell"
    largest = sorted(shares, key=lambda part: -shares[part])[:2]
    told = " and ".join(f"{part} ({shares[part] / total:.0%})" for part in largest)
    busy = f"; {result.warnings[0]}" if result.warnings else ""
    return f"most of its time is {told}{busy}"
