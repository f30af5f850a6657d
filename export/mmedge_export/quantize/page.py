"""The quantization report as people read it, in Markdown."""

from collections.abc import Sequence

from mmedge_export.quantize.guard import Guarded
from mmedge_export.quantize.missing import missing_table
from mmedge_export.quantize.report import QuantizeReport, VariantReport
from mmedge_export.quantize.speed import Speed

__all__ = ["HEADER", "page", "summary"]

UNKNOWN = "–"
HEADER = ("variant", "in the bundle", "weights", "drop", "error", "faster here", "kept in fp32", "why")


def page(report: QuantizeReport) -> str:
    """The whole page."""
    truth = f"truth for {', '.join(report.labelled)}" if report.labelled else "no truth given: compared with fp32"
    lines = [
        f"# {report.bundle}, quantized",
        "",
        f"Measured on {report.windows} {'real' if report.real else 'RANDOM'} windows, {truth}. A score may drop by at "
        f"most {report.budget.drop:.2%}, outputs without a truth or a decision may differ by {report.budget.error:.0%} "
        "of their spread.",
        "",
        *_table(HEADER, summary(report)),
        "",
        *(f"- {note}" for note in report.notes),
    ]
    if report.missing:
        lines += ["", "While a sensor is missing, fp32:", ""]
        lines += missing_table(report.missing)
    for variant in report.variants:
        lines += ["", *_variant(variant)]
    return "\n".join(lines) + "\n"


def summary(report: QuantizeReport) -> list[list[str]]:
    """A row for each variant, under HEADER."""
    return [
        [
            variant.name,
            "yes" if variant.shipped else "NO",
            f"{variant.fp32_bytes / variant.bytes:.1f}x smaller",
            UNKNOWN if variant.drop is None else f"{variant.drop:.2%}",
            UNKNOWN if variant.error is None else f"{variant.error:.2%}",
            UNKNOWN if variant.speed is None else f"{variant.speed.times_faster:.2f}x",
            str(sum(len(plan.exact) for plan in variant.stages.values())),
            variant.why,
        ]
        for variant in report.variants
    ]


def _variant(variant: VariantReport) -> list[str]:
    lines = [f"## {variant.name}", "", f"For {', '.join(variant.backends)}. {variant.note}".rstrip(". ") + "."]
    if variant.imitated:
        lines.append("Its accuracy was measured on float32 graphs that round as it does; nothing here computes it.")
    rows = [
        [name, plan.precision, plan.method, ", ".join(plan.exact) or "–", ", ".join(plan.wide) or "–"]
        for name, plan in variant.stages.items()
    ]
    lines += ["", *_table(("stage", "precision", "ranges", "kept in fp32", "8-bit weights only, for speed"), rows)]
    if variant.guarded:
        lines += _accuracy(variant.guarded)
    if variant.speed:
        lines += _speed(variant.speed)
    return lines


def _accuracy(guarded: Guarded) -> list[str]:
    rows = [
        [row.output, row.metric, str(row.windows), f"{row.fp32:.4f}", f"{row.variant:.4f}", f"{row.drop:.2%}",
         f"{row.allowed:.2%}"]
        for row in guarded.losses
    ]  # fmt: skip
    lines = ["", *_table(("output", "score", "windows", "fp32", "variant", "drop", "allowed"), rows)]
    if guarded.alone:
        header = ("only this sensor is real", "output", "relative error", "its share in fp32", "in the variant")
        rows = [[r.port, r.output, f"{r.error:.2%}", f"{r.share_fp32:.1%}", f"{r.share:.1%}"] for r in guarded.alone]
        lines += ["", *_table(header, rows)]
    if guarded.shifts:
        rows = [[row.tensor, f"{row.cosine:.4f}", f"{row.error:.2%}"] for row in guarded.shifts]
        lines += ["", *_table(("embedding", "cosine with fp32", "relative error"), rows)]
    rows = [[row.what, f"{row.error:.2%}", f"{row.drop:.2%}", "yes" if row.holds else "no"] for row in guarded.trials]
    lines += ["", *_table(("what was tried", "relative error of outputs", "largest drop", "within budget"), rows)]
    if guarded.reverted:
        rows = [[row.stage, row.node, f"{row.contribution:.2%}"] for row in guarded.reverted]
        lines += ["", *_table(("stage", "taken back to fp32", "error of the outputs by it alone"), rows)]
    return lines


def _speed(speed: Speed) -> list[str]:
    rows = [
        [row.stage, *(f"{value:.3f}" for value in (row.fp32.cold_ms, row.variant.cold_ms)), *(
            f"{value:.3f}" for value in (row.fp32.warm_ms, row.variant.warm_ms))]
        for row in speed.stages
    ]  # fmt: skip
    rows.append(["times faster", "", f"{speed.cold:.2f}", "", f"{speed.warm:.2f}"])
    header = ("stage", "fp32 ms after other work", "variant", "fp32 ms right after itself", "variant")
    return ["", *_table(header, rows)]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [list(header), ["---"] * len(header), *map(list, rows)]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]
