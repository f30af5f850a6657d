"""The tables: contestants side by side, decisions against truth, export against PyTorch, and the machine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np

from mmedge.page.markup import Markup, element, escaped, join
from mmedge.page.numbers import UNKNOWN, count_text, datum, rounded, times_text
from mmedge_export.demo.page.rivals import baseline, latency_ms, latency_ratio, ours, work_ratio
from mmedge_export.demo.result import Contestant, DemoResult

__all__ = ["column_notes", "confusion_table", "contest_table", "definitions", "parity_table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of the contest.

    Attributes:
        head: Its name.
        unit: Stands under the name.
        note: What it means.
        value: The number for one contestant; NaN where there is none.
        text: How it is written.
        best: Which one is emphasised: min, max or None.
        latency: It says nothing of a contestant that does not keep up.
    """

    head: str
    unit: str
    note: str
    value: Callable[[Contestant], float]
    text: Callable[[float], str] = rounded
    best: Callable[[Sequence[float]], float] | None = min
    latency: bool = False


LATENCY_NOTE = (
    "from the arrival of the sound that completes a tick to its decision, waiting for a camera encode that is running "
    "included; half, 95 % and 99 % of the decisions came within p50, p95 and p99"
)
PROCESS_COLUMNS = (
    Column(
        head="memory",
        unit="MB, peak",
        note="largest resident memory of its process, interpreter and libraries included",
        value=lambda contestant: contestant.peak_mb,
    ),
    Column(
        head="ready",
        unit="s",
        note="from the start of its process to its first decision",
        value=lambda contestant: contestant.first_decision_s,
    ),
    Column(
        head="difference",
        unit="largest",
        note="largest absolute difference of its outputs from those of mmedge",
        value=lambda contestant: contestant.worst_difference,
        text=lambda value: rounded(value, 2),
        best=None,
    ),
)


def contest_table(result: DemoResult) -> Markup:
    """One row for each contestant, the best of every column emphasised."""
    columns = _columns(result)
    head = element("tr", element("th", escaped("the same model as"), scope="col"), *map(_head, columns))
    best = [_best(column, result.contestants) for column in columns]
    rows = [_row(contestant, columns, best, mine=contestant is ours(result)) for contestant in result.contestants]
    caption = "One clip, one process each, one core. Bold: the best of the column."
    return _table(caption, head, rows, "contest")


def column_notes(result: DemoResult) -> Markup:
    """What each column means, in a line each."""
    notes = {column.head: column.note for column in _columns(result)}
    lines = [element("div", element("dt", escaped(k)), element("dd", escaped(v))) for k, v in notes.items() if v]
    return element("dl", *lines, class_="columns")


def confusion_table(result: DemoResult) -> Markup:
    """Scored decisions by what was true and what was decided."""
    size, scored = len(result.labels), result.truth.settled
    counts = np.zeros((size, size), np.int64)
    np.add.at(counts, (result.truth.labels[scored], result.decided.labels[scored]), 1)
    heads = [element("th", escaped(name), scope="col") for name in (*result.labels, "found")]
    rows = []
    for i, name in enumerate(result.labels):
        total = int(counts[i].sum())
        cells = [_count(int(counts[i, j]), total, error=i != j) for j in range(size)]
        recall = counts[i, i] / total if total else nan
        found = element("td", datum(recall, f"{recall:.1%}" if total else UNKNOWN))
        rows.append(element("tr", element("th", escaped(name), scope="row"), *cells, found))
    count = count_text(int(scored.sum()))
    caption = f"The {count} decisions that are scored: a row for each truth, a column for each decision."
    return _table(
        caption, element("tr", element("th", escaped("truth"), scope="col"), *heads), rows, "confusion narrow"
    )


def parity_table(result: DemoResult) -> Markup:
    """Largest differences of the exported graphs from PyTorch."""
    rows = [
        element(
            "tr",
            element("th", escaped(name), scope="row"),
            element("td", datum(worst, rounded(worst, 2))),
            element("td", datum(allowed, rounded(allowed, 2))),
            element("td", datum(worst / allowed, f"{worst / allowed:.1%}") if allowed else escaped(UNKNOWN)),
        )
        for name, (worst, allowed) in result.parity_worst.items()
    ]
    names = ("output", "largest difference", "allowed", "of what is allowed")
    head = element("tr", *(element("th", escaped(name), scope="col") for name in names))
    return _table("The exported stages against PyTorch in float32, on recorded inputs.", head, rows, "parity narrow")


def definitions(facts: dict[str, str]) -> Markup:
    """Names and values, one under the other."""
    pairs = (pair for name, value in facts.items() for pair in (_term("dt", name), _term("dd", value)))
    return element("dl", join(pairs))


def _columns(result: DemoResult) -> list[Column]:
    return [*_work_columns(result), *_latency_columns(result), *PROCESS_COLUMNS]


def _work_columns(result: DemoResult) -> list[Column]:
    slowest, other = max(contestant.work_ms_per_s for contestant in result.contestants), baseline(result)
    work = Column(
        head="work",
        unit="ms per s",
        note="time inside the model for one second of stream; a core has 1000 ms",
        value=lambda contestant: contestant.work_ms_per_s,
    )
    share = Column(
        head="share",
        unit="of the slowest",
        note="its work as a share of the slowest one’s",
        value=lambda contestant: contestant.work_ms_per_s / slowest if slowest else nan,
        text=_percent,
    )
    if other is None:
        return [work, share]
    less = Column(
        head="less work",
        unit="times",
        note=f"how many times less it works than “{other.name}”; below 1 it works more",
        value=lambda contestant: work_ratio(other, contestant),
        text=times_text,
        best=max,
    )
    return [work, share, less]


def _latency_columns(result: DemoResult) -> list[Column]:
    other = baseline(result)
    columns = [
        Column(head=head, unit="ms", note=LATENCY_NOTE if percent == 50 else "", value=_latency(percent), latency=True)
        for head, percent in (("latency p50", 50), ("p95", 95), ("p99", 99))
    ]
    if other is None:
        return columns
    sooner = Column(
        head="sooner",
        unit="times",
        note=f"how many times sooner it decides than “{other.name}”, at the median; below 1 it is later",
        value=lambda contestant: latency_ratio(other, contestant),
        text=times_text,
        best=max,
    )
    return [*columns, sooner]


def _latency(percent: float) -> Callable[[Contestant], float]:
    return lambda contestant: latency_ms(contestant, percent)


def _percent(value: float) -> str:
    return f"{value:.1%}" if value < 0.1 else f"{value:.0%}"


def _best(column: Column, contestants: Sequence[Contestant]) -> float:
    values = [value for value in map(column.value, contestants) if isfinite(value)]
    return column.best(values) if column.best and len(values) > 1 else nan


def _head(column: Column) -> Markup:
    return element("th", escaped(column.head), element("span", escaped(column.unit), class_="unit"), scope="col")


def _row(contestant: Contestant, columns: Sequence[Column], best: Sequence[float], *, mine: bool) -> Markup:
    name = element("th", escaped(contestant.name), scope="row")
    shown = [i for i, column in enumerate(columns) if contestant.keeps_up or not column.latency]
    cells = [_cell(columns[i], contestant, best[i]) for i in shown]
    if len(shown) < len(columns):
        first = next(i for i, column in enumerate(columns) if column.latency)
        refusal = escaped("does not keep up")
        cells.insert(first, element("td", refusal, class_="refused", colspan=len(columns) - len(shown)))
    return element("tr", name, *cells, class_="ours" if mine else None)


def _cell(column: Column, contestant: Contestant, winner: float) -> Markup:
    value = column.value(contestant)
    text = datum(value, column.text(value)) if isfinite(value) else escaped(UNKNOWN)
    return element("td", text, class_="best" if value == winner else None)


def _count(count: int, total: int, *, error: bool) -> Markup:
    share = count / total if total else 0.0
    inside = [datum(count, count_text(count))]
    if count:
        inside.append(element("span", escaped(f"{share:.1%}"), class_="of"))
    return element("td", *inside, class_="cell error" if error else "cell", style=f"--share:{share:.4f}")


def _term(tag: str, text: str) -> Markup:
    return element(tag, escaped(text))


def _table(caption: str, head: Markup, rows: Sequence[Markup], kind: str) -> Markup:
    body = element("tbody", join(rows))
    table = element("table", element("caption", escaped(caption)), element("thead", head), body, class_=kind)
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label=caption)
