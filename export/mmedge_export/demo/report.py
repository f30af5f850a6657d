"""The demo's report: one HTML page that needs nothing else."""

from mmedge.page.document import document, scrolled, section, side_by_side
from mmedge.page.graph import stage_class
from mmedge.page.markup import Markup, element, escaped, join
from mmedge.page.numbers import datum, rounded
from mmedge_export.demo.page.frames import contact_sheet
from mmedge_export.demo.page.graph import graph, runs_per_s
from mmedge_export.demo.page.latency import latency_figure
from mmedge_export.demo.page.moment import moment_figure
from mmedge_export.demo.page.rivals import compared
from mmedge_export.demo.page.summary import headline, summary, work_bars
from mmedge_export.demo.page.tables import column_notes, confusion_table, contest_table, definitions, parity_table
from mmedge_export.demo.page.timeline import label_legend, timeline
from mmedge_export.demo.page.words import caveats
from mmedge_export.demo.result import DemoResult

__all__ = ["render_report"]

LETTER_SHARE = 0.014  # of a bar's track, about: decides whether a stage's name fits into its part


def render_report(result: DemoResult) -> str:
    """The page as text: no scripts, no links out, pictures inside; light or dark as the reader has it."""
    title = f"{result.manifest.name}: {headline(result)}"
    footer = f"Written by mmedge demo from one run. Bundle: {_versions(result)}"
    return document(title, summary(result), _sections(result), footer)


def _sections(result: DemoResult) -> list[Markup]:
    return [
        section(
            "One second of stream, on one core",
            "How much of every second goes into the model. Beyond the dashed line it falls behind for good.",
            work_bars(result),
            contest_table(result),
            column_notes(result),
        ),
        section(
            "The clip, and what was decided",
            "All on one time axis. A decision is made of what the sensors had delivered, and holds until the next.",
            label_legend(result),
            scrolled(timeline(result), "timeline of the clip"),
            *contact_sheet(result),
        ),
        section(
            "From a sound to its decision",
            "Packets arrive when the sensors deliver them, and one core does the work: a decision that has to wait "
            "for a camera encode is counted with its wait.",
            scrolled(latency_figure(result), "latency distributions"),
        ),
        section(
            "The graph and its cut",
            _cut_words(result),
            *_kept_whole(result),
            scrolled(graph(result), "graph of the stages"),
            *_work_by_stage(result),
        ),
        section(
            "How old is what a decision knows",
            "A decision does not wait for the next picture: it takes the last one there is, and says how old it is.",
            scrolled(moment_figure(result), "age of the data"),
        ),
        section("Right and wrong", "", side_by_side(confusion_table(result), parity_table(result))),
        section("What these numbers do not say", "", caveats(result)),
        section("The machine", "", definitions(result.machine)),
    ]


def _cut_words(result: DemoResult) -> str:
    if result.manifest.kept_whole:
        return "This model runs as one block, at every decision."
    return (
        "The exported graph was cut where what one sensor decides alone ends; every stage runs when its own sensor has "
        "something new. The bar in each box is its share of the work."
    )


def _kept_whole(result: DemoResult) -> list[Markup]:
    reasons = [f"Kept whole: {result.manifest.kept_whole}"] if result.manifest.kept_whole else []
    return [element("p", escaped(text), class_="callout") for text in (*reasons, *result.manifest.notes)]


def _work_by_stage(result: DemoResult) -> list[Markup]:
    if len(result.costs) < 2:
        return []
    saving = result.saving
    pairs = list(zip(result.manifest.stages, result.costs, strict=True))
    whole = [saving.decisions_hz * cost.whole_ms for _, cost in pairs]
    staged = [cost.ms * runs_per_s(result, stage) for stage, cost in pairs]
    widest = max(saving.unsplit_ms, saving.staged_ms) / 0.86  # room for the number behind the longest bar
    rows = []
    for name, values, total in (
        ("the whole model at every decision", whole, saving.unsplit_ms),
        ("each stage at its own sensor's rate", staged, saving.staged_ms),
    ):
        parts = []
        for (stage, _), value in zip(pairs, values, strict=True):
            name_shown = escaped(stage.name if len(stage.name) * LETTER_SHARE < value / widest else "")
            style = f"flex:{value / total:.4f} 1 0"
            kind = f"part {stage_class(result.manifest, stage)}"
            parts.append(
                element("div", name_shown, class_=kind, style=style, title=f"{stage.name}: {rounded(value)} ms")
            )
        bar = element("div", *parts, class_="bar", style=f"width:{total / widest:.2%}")
        text = element(
            "span", datum(total, f"{rounded(total)} ms"), class_="bar-value", style=f"left:{total / widest:.2%}"
        )
        track = element("div", bar, text, class_="bar-track")
        rows.append(element("div", element("div", escaped(name), class_="bar-name"), track, class_="bar-row"))
    words = compared(1 / saving.ratio, "times less work", "times more work", "as much work")
    title = element("h3", escaped(f"Predicted from the times of the stages: {words} per second"))
    return [title, element("div", join(rows), class_="bars")]


def _versions(result: DemoResult) -> str:
    return ", ".join(f"{name} {value}" for name, value in result.manifest.made_with.items())
