"""The proof as a page to read: the verdict, every difference, the graph and where it was cut."""

from collections.abc import Iterable, Mapping, Sequence

from mmedge.manifest import Manifest, Stage
from mmedge.page.document import document, scrolled, section
from mmedge.page.graph import StageNotes, macs_text, stage_graph
from mmedge.page.markup import Markup, element, escaped, join
from mmedge.page.numbers import bytes_text, count_text, datum, rounded
from mmedge_export.parity.chart import chart, legend
from mmedge_export.parity.comparison import ParityReport

__all__ = ["render_parity"]

Operators = Mapping[str, Mapping[str, int]]
NAMED = 2  # operators named in the box of a stage
STYLE = """
.shares { min-width: 700px; max-width: 960px; }
svg .from-text { stroke: var(--text); } svg .from-tensor { stroke: var(--tensor); }
svg .from-state { stroke: var(--state); }
svg .dot { stroke: var(--paper); }
.dot.from-all { fill: var(--ink); } .dot.from-text { fill: var(--text); }
.dot.from-tensor { fill: var(--tensor); } .dot.from-state { fill: var(--state); }
.dot.from-size { fill: var(--rival); }
.dot.from-refused { fill: var(--bad); }
.beyond { fill: var(--bad); fill-opacity: .07; }
td.refused { text-align: right; }
td, th[scope=row] { vertical-align: top; }
td.words, th.words { text-align: left; white-space: normal; min-width: 150px; }
:root { --text: #8a6a00; --tensor: #2b7a3d; --state: #86553a; }
@media screen and (prefers-color-scheme: dark) { :root { --text: #e0bd55; --tensor: #7fd08f; --state: #d3a284; } }
@media print {
  .shares { min-width: 0; max-width: 135mm; }
  .legend, tr { break-inside: avoid; }
  table { break-inside: auto; }
}
"""


def render_parity(report: ParityReport, manifest: Manifest, operators: Operators) -> str:
    """The page as text: no scripts, no links out; light or dark as the reader has it.

    Args:
        report: The proof.
        manifest: Of the bundle.
        operators: For each stage, how many nodes of which operator its graph has.
    """
    sections = [
        section(
            "Every difference, as a share of what is allowed",
            "What is allowed is not decreed: it is derived from the rounding noise of each tensor itself, measured on "
            "the same inputs. An error in a small tensor is not hidden by a large one.",
            legend(report, manifest),
            scrolled(chart(report, manifest), "differences"),
            *_callouts(report.notes),
        ),
        section(
            "The graph and its cut",
            _cut_words(manifest),
            *_callouts([*([f"Kept whole: {manifest.kept_whole}"] if manifest.kept_whole else []), *manifest.notes]),
            scrolled(_graph(manifest, operators), "graph of the stages"),
            _stage_table(manifest, operators),
            *_border_table(manifest),
        ),
        section("What was compared with what", "", _ways()),
        section("What this does not say", "", _caveats(report)),
        section("All numbers", "", _numbers(report)),
    ]
    made = ", ".join(f"{name} {value}" for name, value in manifest.made_with.items())
    verdict = _verdict(report)
    return document(
        f"{manifest.name}: {verdict}", _header(report, manifest), sections, f"Written by mmedge export. {made}", STYLE
    )


def _verdict(report: ParityReport) -> str:
    return "The bundle computes what the model computes" if report.holds else "The bundle is not the model"


def _header(report: ParityReport, manifest: Manifest) -> Markup:
    held = sum(row.holds for row in report.comparisons)
    total, worst = len(report.comparisons), report.worst
    kind = "real" if report.real else "random"
    lead = (
        f"Compared on {report.samples} {kind} samples with {report.reference}: outputs and embeddings, all sensors "
        "together and each with the others held still."
    )
    tiles = [
        _tile(datum(held, f"{held} of {total}"), "comparisons hold", f"{len(report.cases)} cases, {_count(report)}"),
        _tile(
            datum(worst.share, f"{worst.share:.0%}" if worst.share >= 0.01 else f"{worst.share:.2%}"),
            "of what is allowed, at most",
            f"{worst.tensor} on {worst.case}: {rounded(worst.difference, 2)} of {rounded(worst.tolerance, 2)}",
        ),
        _tile(
            escaped(kind),
            "samples",
            f"{report.samples} of them" if report.real else "export again with recordings to prove what matters",
        ),
    ]
    return join(
        [
            element("p", escaped(f"mmedge export · {manifest.name}"), class_="eyebrow"),
            element("h1", escaped(_verdict(report))),
            element("p", escaped(lead), class_="lead"),
            element("div", join(tiles), class_="tiles"),
        ]
    )


def _count(report: ParityReport) -> str:
    tensors = len({row.tensor for row in report.comparisons})
    return f"{tensors} tensors"


def _tile(value: Markup, what: str, how: str) -> Markup:
    parts = [element("p", value, class_="value"), element("p", escaped(what), class_="what")]
    return element("div", *parts, element("p", escaped(how), class_="how"), class_="tile")


def _callouts(texts: Iterable[str]) -> list[Markup]:
    return [element("p", escaped(text), class_="callout") for text in texts]


def _cut_words(manifest: Manifest) -> str:
    if manifest.kept_whole:
        return "This model runs as one block, at every decision."
    return (
        "Every node went to the stage of the sensors that it depends on. A ring is a window of results that are kept: "
        "its stage runs once for each new item. The bar in each box is its share of the work of one run of all."
    )


def _graph(manifest: Manifest, operators: Operators) -> Markup:
    total = sum(manifest.macs.values()) or 1
    stages = "; ".join(
        f"{stage.name} depends on {' and '.join(stage.ports)} and has {sum(operators[stage.name].values())} nodes"
        for stage in manifest.stages
    )
    notes = {stage.name: _notes(manifest, stage, operators[stage.name], total) for stage in manifest.stages}
    shapes = {name: "×".join(map(str, port.shape)) or "one value" for name, port in manifest.ports.items()}
    return stage_graph(manifest, notes, shapes, f"The model {manifest.name} in its stages. {stages}.")


def _notes(manifest: Manifest, stage: Stage, operators: Mapping[str, int], total: int) -> StageNotes:
    macs = manifest.macs[stage.name]
    named = [f"{count} {name}" for name, count in _by_count(operators)[:NAMED]]
    items = f"the newest {stage.items} items" if stage.items > 1 else "one item at a time"
    return StageNotes(
        lines=(macs_text(macs), f"{count_text(sum(operators.values()))} nodes"),
        note=", ".join(named),
        load=items if stage.per_item else "a window at a time" if _has_window(manifest, stage) else "",
        share=macs / total,
    )


def _has_window(manifest: Manifest, stage: Stage) -> bool:
    return any(manifest.tensors[name].window_axis is not None for name in stage.inputs)


def _by_count(operators: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(operators.items(), key=lambda item: (-item[1], item[0]))


def _stage_table(manifest: Manifest, operators: Operators) -> Markup:
    rows = []
    for stage in manifest.stages:
        counts = operators[stage.name]
        cells = [
            element("td", escaped(", ".join(stage.ports)), class_="words"),
            element("td", datum(manifest.macs[stage.name], macs_text(manifest.macs[stage.name]))),
            element("td", datum(sum(counts.values()), count_text(sum(counts.values())))),
            element("td", escaped(", ".join(f"{n} {name}" for name, n in _by_count(counts))), class_="words"),
        ]
        rows.append(element("tr", element("th", escaped(stage.name), scope="row"), *cells))
    return _table(
        "The stages. Constants that several need are in each of them.",
        ("stage", "depends on", "one run", "nodes", "operators"),
        rows,
        words=(1, 4),
    )


def _border_table(manifest: Manifest) -> list[Markup]:
    rows = []
    for stage in manifest.stages:
        for name in stage.outputs:
            readers = [reader.name for reader in manifest.stages if name in reader.inputs]
            if not readers:
                continue
            spec = manifest.tensors[name]
            kept = "" if spec.window_axis is None else f"ring of {spec.shape[spec.window_axis]}"
            cells = [
                element("td", escaped(f"{stage.name} → {', '.join(readers)}"), class_="words"),
                element("td", escaped("×".join(map(str, spec.shape)))),
                element("td", escaped(spec.dtype)),
                element("td", datum(spec.bytes, bytes_text(spec.bytes))),
                element("td", escaped(kept)),
            ]
            rows.append(element("tr", element("th", escaped(name), scope="row"), *cells))
    heads = ("tensor", "from, to", "shape", "dtype", "size", "kept")
    return [_table("What goes from stage to stage.", heads, rows, words=(1,))] if rows else []


def _ways() -> Markup:
    pairs = {
        "torch float64 against its own trace": "The module as it is, run in float64, against what torch.export made of "
        "it: at this precision a difference shows even where it is far too small for float32.",
        "against the ONNX graph": "Outputs, and the tensors where the graph is cut, against the whole graph in ONNX "
        "Runtime. Allowed: 16 times the rounding noise of each tensor, which is what float32 changes, or for an ONNX "
        "file what a change of the inputs in their last bit does.",
        "the ONNX graph against its stages": "The same kernels on the same numbers, cut into stages and, where the "
        "window was split by time, run item by item. Allowed: 32 units in the last place of the largest value.",
        "a batch, other sizes": "One sample alone against the same in a batch, and open axes of an ONNX file at other "
        "sizes than the one that was exported.",
        "held still": "A sensor's baseline is the mean of its samples; for text, integers and states it is zeros.",
    }
    parts = [element("div", element("dt", escaped(k)), element("dd", escaped(v))) for k, v in pairs.items()]
    return element("dl", *parts, class_="columns")


def _caveats(report: ParityReport) -> Markup:
    texts = [
        "That the model is right: only that the bundle computes what the model computes.",
        "What it computes on inputs unlike these samples: a branch that no sample reaches is not tried.",
        "What another device or precision computes: run mmedge check there.",
    ]
    if not report.real:
        texts.insert(0, "Anything about real data: these samples are random.")
    return element("ul", *(element("li", escaped(text)) for text in texts), class_="caveats")


def _numbers(report: ParityReport) -> Markup:
    rows = []
    for row in sorted(report.comparisons, key=lambda row: -row.share):
        cells = [
            element("td", escaped(row.what), class_="words"),
            element("td", escaped(row.case), class_="words"),
            element("td", datum(row.difference, rounded(row.difference, 2)), class_=None if row.holds else "refused"),
            element("td", datum(row.tolerance, rounded(row.tolerance, 2))),
            element("td", datum(row.scale, rounded(row.scale, 3))),
        ]
        rows.append(element("tr", element("th", escaped(row.tensor), scope="row"), *cells))
    heads = ("tensor", "compared", "on", "difference", "allowed", "largest value")
    return _table("The comparisons, those nearest to what is allowed first.", heads, rows, words=(1, 2))


def _table(caption: str, heads: Sequence[str], rows: Sequence[Markup], words: Sequence[int]) -> Markup:
    head = element(
        "tr",
        *(
            element("th", escaped(name), scope="col", class_="words" if i in words else None)
            for i, name in enumerate(heads)
        ),
    )
    parts = [element("caption", escaped(caption)), element("thead", head), element("tbody", join(rows))]
    return element("div", element("table", *parts), class_="scroll", tabindex=0, role="region", aria_label=caption)
