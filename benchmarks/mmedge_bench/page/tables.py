"""The tables of the page."""

from collections.abc import Mapping, Sequence

import numpy as np

from mmedge.page.markup import Markup, element, escaped, join
from mmedge.page.numbers import UNKNOWN, datum, rounded
from mmedge_bench.result import Result
from mmedge_bench.statistics import Estimate, estimate
from mmedge_bench.summary import Row, paced_segments, skipped
from mmedge_bench.targets import Target

__all__ = [
    "ages_table",
    "caveats",
    "contest_table",
    "definitions",
    "energy_table",
    "parts_table",
    "skipped_list",
    "targets_table",
    "who_list",
]

LATENCIES = ("p50", "p90", "p95", "p99", "p99.9", "max")
ENOUGH = {"p99": 300, "p99.9": 3000}  # decisions, so that about three lie beyond


def contest_table(result: Result, rows: Sequence[Row]) -> Markup:
    """Work, latency with intervals, misses, start and memory of everyone."""
    heads = [
        ("work", "ms per s"), ("at most", "per s"), *((name, "ms") for name in LATENCIES), ("n", ""), ("missed", ""),
        ("ready", "s"), ("memory", "MiB"), ("difference", "largest"),
    ]  # fmt: skip
    head = element("tr", element("th", escaped("contestant"), scope="col"), *[_head(*pair) for pair in heads])
    lines = []
    for row in rows:
        cells = [_value(float(np.median(row.work_ms_per_s)) if row.work_ms_per_s else None)]
        cells.append(_value(row.throughput_hz or None))
        cells += [_estimate(row.latency_ms.get(name), name) for name in LATENCIES]
        n = row.latency_ms["p50"].n if row.latency_ms else None
        cells += [_value(n), _share(row.missed if row.latency_ms else None), _value(row.start_s or None)]
        cells += [_value(row.peak_mib or None), _value(row.contestant.difference)]
        name = element("th", escaped(row.contestant.name), scope="row")
        lines.append(element("tr", name, *cells, class_="ours" if row.contestant == result.ours else None))
    return element("table", element("thead", head), element("tbody", join(lines)))


def who_list(result: Result) -> Markup:
    """What each contestant is, in a line."""
    return definitions({contestant.name: contestant.what for contestant in result.took_part})


def parts_table(result: Result) -> Markup:
    """Each part alone: percentiles of wall time, and processor time."""
    heads = [("p50", "ms"), ("p99", "ms"), ("max", "ms"), ("processor", "ms, p50"), ("n", "")]
    head = element("tr", element("th", escaped("part"), scope="col"), *[_head(*pair) for pair in heads])
    lines = []
    for name, part in dict.fromkeys((block.contestant, block.part) for block in result.blocks):
        blocks = [block for block in result.blocks if (block.contestant, block.part) == (name, part)]
        wall = [np.array(block.wall_ns) / 1e6 for block in blocks]
        cpu = estimate([np.array(block.cpu_ns) / 1e6 for block in blocks], 50)
        cells = [_estimate(estimate(wall, percent), "") for percent in (50, 99, 100)]
        cells += [_estimate(cpu, ""), _value(cpu.n)]
        lines.append(element("tr", element("th", escaped(f"{name}: {part}"), scope="row"), *cells))
    return element("table", element("thead", head), element("tbody", join(lines)))


def ages_table(rows: Sequence[Row]) -> Markup:
    """How old each sensor's data was at the decisions, and how often there was something new."""
    ports = list(dict.fromkeys(port for row in rows for port in row.age_ms))
    heads = [pair for port in ports for pair in ((port, "age, p50 ms"), (port, "age, max ms"), (port, "fresh"))]
    head = element("tr", element("th", escaped("contestant"), scope="col"), *[_head(*pair) for pair in heads])
    lines = []
    for row in rows:
        if row.age_ms:
            cells = [
                c for p in ports for c in (_value(row.age_ms[p][0]), _value(row.age_ms[p][1]), _share(row.fresh[p]))
            ]
            lines.append(element("tr", element("th", escaped(row.contestant.name), scope="row"), *cells))
    return element("table", element("thead", head), element("tbody", join(lines)))


def energy_table(rows: Sequence[Row]) -> Markup:
    """Energy of the whole machine at the sensors' pace, by source."""
    sources = list(dict.fromkeys(source for row in rows for source in row.joules_per_s))
    head = element(
        "tr", element("th", escaped("contestant"), scope="col"), *[_head(each, "J per s") for each in sources]
    )
    lines = []
    for row in rows:
        if row.joules_per_s:
            cells = [_value(row.joules_per_s.get(source)) for source in sources]
            lines.append(element("tr", element("th", escaped(row.contestant.name), scope="row"), *cells))
    return element("table", element("thead", head), element("tbody", join(lines)))


def skipped_list(result: Result) -> list[Markup]:
    """Who did not take part, and why."""
    lines = [element("li", escaped(f"{', '.join(names)}: {why}")) for why, names in skipped(result).items()]
    return [element("h3", escaped("Skipped")), element("ul", *lines, class_="caveats")] if lines else []


def targets_table(targets: Sequence[Target]) -> Markup:
    """What was to be reached, what was, and why not."""
    heads = ("target", "at most", "measured", "")
    head = element("tr", *[element("th", escaped(text), scope="col") for text in heads])
    lines = []
    for target in targets:
        verdict = "reached" if target.reached else f"missed: {target.why}"
        share = datum(target.share, f"1/{1 / target.share:.1f}")
        cells = [
            element("td", escaped(f"1/{1 / target.at_most:.0f}")),
            element("td", share),
            element("td", escaped(verdict), class_="verdict"),
        ]
        lines.append(element("tr", element("th", escaped(target.what), scope="row"), *cells))
    return element("table", element("thead", head), element("tbody", join(lines)))


def caveats(result: Result) -> Markup:
    """What a reader might take these numbers for and should not."""
    n = sum(len(segment.t_ns) for segment in paced_segments(result, result.ours.name))
    lines = [
        "Times belong to this machine and this moment; ratios between contestants of the same run carry further.",
        "Latency ends where the decision is in the program's hands; what a driver or a bus adds before a packet is "
        "handed over is not in it.",
        f"A percentile needs samples: with {n} decisions, about {n / 1000:.1f} lie beyond p99.9. Its interval says so.",
        "All contestants but the hand-written one are given mmedge's incremental front ends, which is more than most "
        "programs have.",
        "Work is processor time of all threads of the process; memory is that of the process, libraries included.",
        "Work of a contestant on a GPU is what its process costs the CPU; the GPU's own time is in its latency only.",
        "Scores of variants are those of the bundle's report, on the windows it was calibrated or scored with.",
        f"The packets were made of {result.data['source']}, over and over: content that repeats, timing that does not.",
    ]
    return element("ul", *[element("li", escaped(line)) for line in lines], class_="caveats")


def definitions(facts: Mapping[str, str]) -> Markup:
    """Names and values."""
    pairs = [Markup(element("dt", escaped(key)) + element("dd", escaped(value))) for key, value in facts.items()]
    return element("dl", *pairs)


def _head(name: str, unit: str) -> Markup:
    return element("th", escaped(name), element("span", escaped(unit), class_="unit"), scope="col")


def _small(text: str) -> Markup:
    return element("span", escaped(text), class_="unit")


def _estimate(value: Estimate | None, name: str) -> Markup:
    if value is None:
        return element("td", escaped(UNKNOWN))
    interval = f"{rounded(value.low)} to {rounded(value.high)}"
    few = ", few" if value.n < ENOUGH.get(name, 0) else ""
    return element("td", datum(value.value, rounded(value.value)), _small(interval + few))


def _value(value: float | None) -> Markup:
    return element("td", escaped(UNKNOWN) if value is None else datum(value, rounded(float(value))))


def _share(value: float | None) -> Markup:
    return element("td", escaped(UNKNOWN) if value is None else datum(value, f"{value:.1%}"))
