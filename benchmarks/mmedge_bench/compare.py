"""What changed between two results, beyond what two runs of the same code differ by."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mmedge.errors import InputError
from mmedge.types import NS
from mmedge_bench.result import Result
from mmedge_bench.statistics import Estimate, estimate_ratio, percentile
from mmedge_bench.summary import latencies_ms, segments_of, work_ms_per_s

__all__ = [
    "CHANGE_COLUMNS",
    "Change",
    "Limit",
    "compare_results",
    "exceeded",
    "parse_limit",
    "require_verdict",
    "to_change_rows",
]

CONFIDENCE = 0.999  # a comparison looks at tens of figures, and none of them shall cry wolf
FLOOR = (
    0.03  # runs of the same code differ by this much for reasons of memory layout; nothing below it is called a change
)
LATENCIES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
METRICS = (*LATENCIES, "work", "stage", "start", "memory")
CHANGE_COLUMNS = ("contestant", "figure", "before", "after", "change", "verdict")
Verdict = Literal["slower", "faster", "within noise", "larger", "smaller", "too few rounds to tell"]
UNDECIDED: Verdict = "too few rounds to tell"
Groups = list[npt.NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One figure, before and after.

    Attributes:
        contestant: Whose.
        metric: One of p50 ... max, work, stage, start, memory.
        name: The figure, e.g. "stage camera".
        before: Its value.
        after: Its value.
        unit: Of both.
        ratio: after / before with an interval; times are taken relative to the fixed piece of work beside them.
        verdict: What the interval says.
    """

    contestant: str
    metric: str
    name: str
    before: float
    after: float
    unit: str
    ratio: Estimate
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What a change may not exceed.

    Attributes:
        text: As typed.
        metric: Of the changes that it is about.
        share: Largest growth, e.g. 0.05.
    """

    text: str
    metric: str
    share: float


def parse_limit(text: str) -> Limit:
    """Read ``p99 > 5%``.

    Raises:
        InputError: It is not of this form.
    """
    found = re.fullmatch(r"\s*(\S+)\s*>\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    if not found or found[1] not in METRICS:
        raise InputError(f"--fail-if {text!r} is not known; expected e.g. 'p99 > 5%', with one of {', '.join(METRICS)}")
    return Limit(text=text.strip(), metric=found[1], share=float(found[2]) / 100)


def compare_results(before: Result, after: Result) -> list[Change]:
    """Every figure that both results have.

    Raises:
        InputError: They are of different settings or machines, so that nothing can be concluded.
    """
    for what in ("tick", "rates", "threads"):
        if before.settings.get(what) != after.settings.get(what):
            raise InputError(
                f"the results were made with {what} {before.settings.get(what)} and {after.settings.get(what)}; "
                "run both with the same settings"
            )
    if before.machine.get("processor") != after.machine.get("processor"):
        raise InputError("the results come from different processors; compare ratios to peers on their pages instead")
    common = [c.name for c in before.took_part if c.name in {other.name for other in after.took_part}]
    return [change for name in common for change in _changes(before, after, name)]


def exceeded(limit: Limit, changes: Sequence[Change]) -> list[Change]:
    """Changes that are beyond noise and beyond the limit."""
    return [
        change
        for change in changes
        if change.metric == limit.metric
        and change.verdict in {"slower", "larger"}
        and change.ratio.value - 1 > limit.share
    ]


def require_verdict(limit: Limit, changes: Sequence[Change]) -> None:
    """See to it that a limit can be exceeded, so that a check that passes has looked at something.

    Raises:
        InputError: Neither result has its figure, or too few rounds of it.
    """
    looked_at = [change for change in changes if change.metric == limit.metric]
    if not looked_at:
        known = ", ".join(dict.fromkeys(change.metric for change in changes)) or "nothing"
        raise InputError(f"--fail-if {limit.text!r}: not in both results, which have {known}; measure it in both")
    if all(change.verdict == UNDECIDED for change in looked_at):
        raise InputError(f"--fail-if {limit.text!r}: one round tells nothing; measure with --rounds 2 or more")


def to_change_rows(changes: Sequence[Change]) -> list[list[str]]:
    """Rows of text under :data:`CHANGE_COLUMNS`."""
    return [
        [
            change.contestant,
            change.name,
            f"{change.before:.4g} {change.unit}",
            f"{change.after:.4g} {change.unit}",
            f"{change.ratio.value - 1:+.1%} [{change.ratio.low - 1:+.1%}, {change.ratio.high - 1:+.1%}]",
            change.verdict,
        ]
        for change in changes
    ]


def _changes(before: Result, after: Result, name: str) -> Iterator[Change]:
    figures = [list(_figures(result, name)) for result in (before, after)]
    for first in figures[0]:
        for second in figures[1]:
            if first.name == second.name:
                yield _change(name, first, second)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figure:
    metric: str
    name: str
    value: float
    unit: str
    groups: Groups  # samples by process or round, in units that the machine's speed does not change
    percent: float = 50.0


def _figures(result: Result, name: str) -> Iterator[_Figure]:
    """What a result says of one contestant."""
    mine = [block for block in result.blocks if block.contestant == name]
    for part in dict.fromkeys(block.part for block in mine):
        blocks = [block for block in mine if block.part == part]
        value = percentile(np.concatenate([block.cpu_ns for block in blocks]), 50) / 1e6
        groups = [np.array(b.cpu_ns) / np.median(b.reference_ns) for b in blocks]  # single ones are noisy
        yield _Figure(metric="stage", name=f"{part}, alone", value=value, unit="ms", groups=groups)
    if closed := segments_of(result, name, "closed-loop"):
        groups = [np.array([segment.cpu_ns / segment.reference_ns]) for segment in closed]
        value = percentile(work_ms_per_s(closed), 50)
        yield _Figure(metric="work", name="work per second", value=value, unit="ms", groups=groups)
    if paced := latencies_ms(segments_of(result, name, "paced")):
        for metric, percent in LATENCIES.items():
            value = percentile(np.concatenate(paced), percent)
            yield _Figure(
                metric=metric, name=f"latency {metric}", value=value, unit="ms", groups=paced, percent=percent
            )
    for metric, field, unit, scale in (("start", "first_ns", "s", NS), ("memory", "peak_kib", "MiB", 1024)):
        values = [getattr(start, field) / scale for start in result.starts if start.contestant == name]
        if values:
            groups = [np.array([value]) for value in values]
            yield _Figure(metric=metric, name=metric, value=percentile(values, 50), unit=unit, groups=groups)


def _change(contestant: str, before: _Figure, after: _Figure) -> Change:
    ratio = estimate_ratio(before.groups, after.groups, before.percent, CONFIDENCE)
    words: tuple[Verdict, Verdict] = ("larger", "smaller") if before.metric == "memory" else ("slower", "faster")
    verdict: Verdict = "within noise"
    if min(len(before.groups), len(after.groups)) < 2:
        verdict = UNDECIDED
    elif ratio.low > 1 and ratio.value > 1 + FLOOR:
        verdict = words[0]
    elif ratio.high < 1 and ratio.value < 1 - FLOOR:
        verdict = words[1]
    return Change(
        contestant=contestant,
        metric=before.metric,
        name=before.name,
        before=before.value,
        after=after.value,
        unit=before.unit,
        ratio=ratio,
        verdict=verdict,
    )
