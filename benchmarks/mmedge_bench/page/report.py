"""A result as one page to look at."""

from collections.abc import Sequence

import numpy as np

from mmedge.page.distribution import Distribution, distribution_figure
from mmedge.page.document import document, scrolled, section
from mmedge.page.markup import Markup, element, escaped, join
from mmedge.page.numbers import datum, milliseconds, rounded, times_text
from mmedge_bench.page.figures import pareto_figure, ratio_figure, tail_figure
from mmedge_bench.page.tables import (
    ages_table,
    caveats,
    contest_table,
    definitions,
    parts_table,
    skipped_list,
    who_list,
)
from mmedge_bench.page.timeline import timeline_figure
from mmedge_bench.page.waterfall import waterfall
from mmedge_bench.result import Result
from mmedge_bench.summary import Row, deadline_ms, latencies_ms, segments_of, spread_of_ratios, summarize

__all__ = ["STYLE", "render_page"]

WORDS = "from when the data should have been there to the decision; strokes at p50, p95, p99, p99.9"
STROKES = ("p50", "p95", "p99", "p99.9")

STYLE = """
.drawing.tail, .drawing.paced-run, .drawing.distributions { min-width: 760px; }
.warning { border-left-color: var(--bad); }
.rival-0 { stroke: #0072b2; fill: #0072b2; } .rival-1 { stroke: #d55e00; fill: #d55e00; }
.rival-2 { stroke: #009e73; fill: #009e73; } .rival-3 { stroke: #cc79a7; fill: #cc79a7; }
.rival-4 { stroke: #8b97a3; fill: #8b97a3; } .rival-5 { stroke: #e69f00; fill: #e69f00; }
.rival-us { stroke: var(--accent); fill: var(--accent); }
path[class*=rival] { fill: none; stroke-width: 1.7; } text[class*=rival] { stroke: none; }
.late { fill: var(--bad); stroke: none; } .in-time { fill: var(--accent); stroke: none; }
td .unit, th[scope=row] .unit { display: block; font-weight: 400; font-size: 12px; color: var(--soft); }
.rest { background: var(--faint); } .part.rest { color: var(--paper); }
"""


def render_page(result: Result) -> str:
    """The page as text: no scripts, no links out; light or dark as the reader has it, and fit for print."""
    rows = summarize(result)
    title = f"{result.bundle['name']}: {_headline(result, rows)}"
    header = join(
        [
            element("p", escaped(f"mmedge bench · {result.bundle['name']}"), class_="eyebrow"),
            element("h1", escaped(_headline(result, rows))),
            element("p", escaped(_lead(result)), class_="lead"),
            *[element("p", escaped(f"Doubtful: {text}."), class_="callout warning") for text in result.warnings],
            element("div", *_tiles(result, rows), class_="tiles"),
        ]
    )
    return document(title, header, _sections(result, rows), f"Bundle {result.bundle['manifest_sha256']}", STYLE)


def _sections(result: Result, rows: Sequence[Row]) -> list[Markup]:
    sections = [
        section(
            "Everybody, in the same run",
            "All contestants took turns on the same packets. Under each number is where a run of the same length would "
            "be expected, 95 %; few: too few decisions to know that tail. Nothing was trimmed.",
            scrolled(contest_table(result, rows), "table of contestants"),
            who_list(result),
            *skipped_list(result),
        )
    ]
    if any(row.latency_ms for row in rows):
        sections += [
            section(
                "From sensor to decision, at the sensors' pace",
                "Latency counts from when the data should have been there, so that everything that waits behind a "
                "stall is counted.",
                scrolled(_distributions(result, rows), "latency distributions"),
                scrolled(tail_figure(result), "latency by percentile"),
            ),
            section(
                "One paced run, decision by decision",
                "Each dot is a decision; red ones came after the next one was due. Gaps are where the sensors were "
                "silent or packets were held back, by design.",
                scrolled(timeline_figure(result), "timeline"),
            ),
            section("How old is what a decision knows", "", scrolled(ages_table(rows), "ages")),
        ]
    if any(row.work_ms_per_s for row in rows):
        sections.append(
            section(
                "Where one second of stream goes",
                "Time per second of stream, packets as fast as they are taken. Grey is everything outside of the "
                "sessions: front ends, copies, Python. Below, processor time of the peers relative to ours.",
                waterfall(result),
                scrolled(ratio_figure(result), "ratios to peers"),
            )
        )
    if result.blocks:
        words = "Each part alone, warm, on fixed recorded data, in fresh processes; front ends on a whole window."
        sections.append(section("The parts alone", words, scrolled(parts_table(result), "parts")))
    if sum(c.kind == "staged" for c in result.took_part) > 1:
        words = "Every variant of the bundle: what it loses against fp32, and how long half of its decisions take."
        sections.append(section("Accuracy against latency", words, scrolled(pareto_figure(rows), "variants")))
    return [
        *sections,
        section("What these numbers do not say", "", caveats(result)),
        section("How it was run", "", definitions(result.settings | result.data)),
        section("The machine", "", definitions(result.machine | _state(result))),
    ]


def _headline(result: Result, rows: Sequence[Row]) -> str:
    ours = rows[0]
    if ours.latency_ms:
        half, tail = ours.latency_ms["p50"].value, ours.latency_ms["p99"].value
        return f"Half of the decisions within {milliseconds(half)}, 99 of 100 within {milliseconds(tail)}"
    if ours.work_ms_per_s:
        return f"{rounded(sorted(ours.work_ms_per_s)[len(ours.work_ms_per_s) // 2])} ms of work per second of stream"
    return f"Measured on {result.machine['processor']}"


def _lead(result: Result) -> str:
    return (
        f"On {result.machine['processor']}, {result.settings['threads']} thread(s) per operator; "
        f"decisions: {result.settings['tick']}; packets: {result.settings['rates']}."
    )


def _tiles(result: Result, rows: Sequence[Row]) -> list[Markup]:
    tiles = []
    others = [row for row in rows if row.contestant.kind not in {"staged", "live"}]
    rivals = [row for row in others if row.contestant.kind == "whole"] or others
    ours, rival = rows[0], next(iter(rivals), None)
    if rival and ours.work_ms_per_s and rival.work_ms_per_s:
        low, middle, high = spread_of_ratios(ours.work_ms_per_s, rival.work_ms_per_s)
        how = f"{low:.1f} to {high:.1f} round by round, against {rival.contestant.name}"
        tiles.append(_tile(middle, times_text(middle), "less work per second of stream", how))
    if rival and ours.latency_ms and rival.latency_ms:
        ratio = rival.latency_ms["p50"].value / ours.latency_ms["p50"].value
        how = f"median of {ours.latency_ms['p50'].n} decisions each, against {rival.contestant.name}"
        tiles.append(_tile(ratio, times_text(ratio), "sooner from sensor to decision", how))
    if ours.latency_ms:
        due = milliseconds(deadline_ms(result))
        tiles.append(_tile(ours.missed, f"{ours.missed:.1%}", "came after the next was due", f"deadline {due}, paced"))
    return tiles


def _tile(value: float, text: str, what: str, how: str) -> Markup:
    return element(
        "div",
        element("p", datum(value, text), class_="value"),
        element("p", escaped(what), class_="what"),
        element("p", escaped(how), class_="how"),
        class_="tile",
    )


def _distributions(result: Result, rows: Sequence[Row]) -> Markup:
    drawn = []
    for row in rows:
        samples = latencies_ms(segments_of(result, row.contestant.name, "paced"))
        if not samples:
            continue
        values = {key: row.latency_ms[key].value for key in STROKES}
        numbers = ", ".join(f"{key} {milliseconds(value)}" for key, value in values.items())
        drawn.append(
            Distribution(
                name=row.contestant.name,
                numbers=f"{numbers}, max {milliseconds(row.latency_ms['max'].value)}",
                samples_ms=np.concatenate(samples),
                strokes_ms=tuple(values.values()),
                ours=row.contestant.kind == "staged",
            )
        )
    return distribution_figure(drawn, deadline_ms(result), "distributions", WORDS)


def _state(result: Result) -> dict[str, str]:
    before, after = result.before, result.after
    told = {"load before and after": f"{before.load:.2f}, {after.load:.2f}"}
    if before.governor:
        told["governor"] = before.governor
    if before.mhz:
        told["clock before and after"] = f"{max(before.mhz):.0f}, {max(after.mhz):.0f} MHz"
    for zone, degrees in before.celsius.items():
        told[f"{zone}"] = f"{degrees:.0f} to {after.celsius.get(zone, degrees):.0f} °C"
    energy = {name for segment in result.segments for name in segment.joules}
    told["energy"] = ", ".join(sorted(energy)) or "not readable here (no RAPL counter, no INA3221 monitor)"
    return told
