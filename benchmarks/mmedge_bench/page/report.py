"""A result as one page to look at."""

from collections.abc import Sequence

import numpy as np

from mmedge.page.distribution import Distribution, distribution_figure
from mmedge.page.document import document, scrolled, section
from mmedge.page.markup import Markup
from mmedge.page.numbers import milliseconds
from mmedge_bench.page.figures import pareto_figure, ratio_figure, tail_figure
from mmedge_bench.page.first_screen import first_screen, headline
from mmedge_bench.page.soak import soak_figure, soak_table
from mmedge_bench.page.tables import (
    ages_table,
    caveats,
    contest_table,
    definitions,
    energy_table,
    parts_table,
    skipped_list,
    targets_table,
    who_list,
)
from mmedge_bench.page.timeline import timeline_figure
from mmedge_bench.page.waterfall import parts_of_work, waterfall
from mmedge_bench.result import Result
from mmedge_bench.summary import Row, deadline_ms, latencies_ms, paced_segments, soaks, summarize
from mmedge_bench.targets import targets_of

__all__ = ["STYLE", "render_page"]

WORDS = "from when the data should have been there to the decision; strokes at p50, p95, p99, p99.9"
STROKES = ("p50", "p95", "p99", "p99.9")

STYLE = """
.drawing.tail, .drawing.paced-run, .drawing.distributions { min-width: 760px; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(min(100%, 230px), 1fr)); }
@media (max-width: 620px) {
  .tiles { grid-template-columns: 1fr 1fr; gap: 10px; margin-top: 18px; }
  .tile { padding: 12px 14px; } .tile .value { font-size: 32px; } .tile .how { font-size: 13px; }
}
th, td { padding: 8px 6px; } th[scope=row], thead th:first-child { min-width: 118px; }
@media print {
  .tiles { grid-template-columns: repeat(4, 1fr); } td .unit { font-size: 9px; } th, td { padding: 5px; }
  th[scope=row], thead th:first-child { min-width: 0; }
}
.warning { border-left-color: var(--bad); }
.rival-0 { stroke: #0072b2; fill: #0072b2; } .rival-1 { stroke: #d55e00; fill: #d55e00; }
.rival-2 { stroke: #009e73; fill: #009e73; } .rival-3 { stroke: #cc79a7; fill: #cc79a7; }
.rival-4 { stroke: #8b97a3; fill: #8b97a3; } .rival-5 { stroke: #e69f00; fill: #e69f00; }
.rival-us { stroke: var(--accent); fill: var(--accent); }
path[class*=rival] { fill: none; stroke-width: 1.7; } text[class*=rival] { stroke: none; }
.late { fill: var(--bad); stroke: none; } .in-time { fill: var(--accent); stroke: none; }
td .unit, th[scope=row] .unit { display: block; font-weight: 400; font-size: 12px; color: var(--soft); }
.rival-6 { stroke: #56b4e9; fill: #56b4e9; } .rival-7 { stroke: #7a5195; fill: #7a5195; }
.of-work { margin: 14px 0 22px; }
td.verdict { white-space: normal; text-align: left; }
.rest { background: var(--faint); } .part.rest { color: var(--paper); }
"""


def render_page(result: Result) -> str:
    """The page as text: no scripts, no links out; light or dark as the reader has it, and fit for print."""
    rows = summarize(result)
    title = f"{result.bundle['name']}: {headline(result, rows)}"
    footer = f"Bundle {result.bundle['manifest_sha256']}"
    return document(title, first_screen(result, rows), _sections(result, rows), footer, STYLE)


def _sections(result: Result, rows: Sequence[Row]) -> list[Markup]:
    sections = [
        section(
            "Everybody, in the same run",
            "All contestants took turns on the same packets. Under each number is where a run of the same length would "
            "be expected, 95 %; few: too few decisions to know that tail. At most: decisions per second, closed loop. "
            "Nothing was trimmed.",
            scrolled(contest_table(result, rows), "table of contestants"),
            who_list(result),
            *skipped_list(result),
        )
    ]
    if targets := targets_of(result):
        words = (
            "Set for the reference model with 15 pictures and 50 decisions per second; for other models and rates it "
            "is a yardstick. Shares of what the unsplit graph takes; the less the better."
        )
        sections.append(section("What was to be reached", words, scrolled(targets_table(targets), "targets")))
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
                "Each dot is a decision (of very many, the slowest of a few); red ones came after the next one was "
                "due. Gaps are where the sensors were silent or packets were held back, by design.",
                scrolled(timeline_figure(result), "timeline"),
            ),
            section("How old is what a decision knows", "", scrolled(ages_table(rows), "ages")),
        ]
    if any(row.joules_per_s for row in rows):
        words = "Of the whole machine, others included, while the contestant had its turn at the sensors' pace."
        sections.append(section("Energy", words, scrolled(energy_table(rows), "energy")))
    if long := soaks(result):
        words = (
            "One run without a break. Growth is a line through the resident memory of every second, without the first "
            "third; under it, where that line lies with 95 %."
        )
        drawn = [scrolled(soak_figure(long), "memory")] if any(each.resident_kib for each in long) else []
        sections.append(section("A long run", words, scrolled(soak_table(long), "long run"), *drawn))
    if any(row.work_ms_per_s for row in rows):
        sections.append(
            section(
                "Where one second of stream goes",
                "Time per second of stream, packets as fast as they are taken. Grey is everything outside of the "
                "sessions: front ends, copies, Python. Below, processor time of the peers relative to ours.",
                waterfall(result),
                parts_of_work(result),
                scrolled(ratio_figure(result), "ratios to peers"),
            )
        )
    if result.blocks:
        words = "Each part alone, warm, on fixed recorded data, in fresh processes; front ends on a whole window."
        sections.append(section("The parts alone", words, scrolled(parts_table(result), "parts")))
    if sum(row.contestant.kind == "staged" and bool(row.latency_ms) for row in rows) > 1:
        words = "Every variant of the bundle: how good it is, and its median latency. A line joins those "
        words += "that no other one beats in both."
        sections.append(section("Accuracy against latency", words, scrolled(pareto_figure(rows), "variants")))
    return [
        *sections,
        section("What these numbers do not say", "", caveats(result)),
        section("How it was run", "", definitions(result.settings | result.data)),
        section("The machine", "", definitions(result.machine | _state(result))),
    ]


def _distributions(result: Result, rows: Sequence[Row]) -> Markup:
    drawn = []
    for row in rows:
        samples = latencies_ms(paced_segments(result, row.contestant.name))
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
    told["energy"] = ", ".join(sorted(energy)) or "not readable here (no RAPL counter, no INA3221 monitor, no NVML)"
    return told
