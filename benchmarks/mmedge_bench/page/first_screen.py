"""What stands above everything else: how much less, how much sooner, against whom, where, and how far to trust it."""

from collections.abc import Sequence

import numpy as np

from mmedge.page.markup import Markup, element, escaped, join
from mmedge.page.numbers import datum, milliseconds, rounded, times_text
from mmedge_bench.claims import Figure, ratio_of
from mmedge_bench.result import Contestant, Result
from mmedge_bench.summary import Row, deadline_ms, spread_of_ratios

__all__ = ["first_screen", "headline"]

BETTER: dict[Figure, tuple[str, str]] = {
    "work": ("less work", "more work"),
    "latency": ("sooner to decide", "later to decide"),
}
NAMES = {"whole": "the unsplit graph in ONNX Runtime", "openvino": "the unsplit graph in OpenVINO"}


def first_screen(result: Result, rows: Sequence[Row]) -> Markup:
    """The header of the page."""
    return join(
        [
            element("p", escaped(f"mmedge bench · {result.bundle['name']}"), class_="eyebrow"),
            element("h1", escaped(headline(result, rows))),
            element("p", escaped(_lead(result, rows)), class_="lead"),
            *_disturbed(result),
            element("div", *_tiles(result, rows), class_="tiles"),
        ]
    )


def headline(result: Result, rows: Sequence[Row]) -> str:
    """The answer in a line."""
    ours, rival = rows[0], _rival(rows)
    ratios = {figure: _ratio(result, rival, figure) for figure in BETTER} if rival else {}
    told = [" ".join(_times(ratio, figure)[1:]) for figure, ratio in ratios.items() if ratio]
    if rival and told:
        return f"{' and '.join(told)} than {NAMES.get(rival.contestant.kind, rival.contestant.name)}"
    if ours.latency_ms:
        return _within(ours)
    if ours.work_ms_per_s:
        return f"{rounded(float(np.median(ours.work_ms_per_s)))} ms of work per second of stream"
    return f"Measured on {result.machine['processor']}"


def _lead(result: Result, rows: Sequence[Row]) -> str:
    machine, settings = result.machine, result.settings
    threads = f"{settings['threads']} thread" + ("s" if settings["threads"] != "1" else "")
    where = f"On {machine['processor']}, {machine.get('cores', '?')} cores, {threads} for each operator"
    told = f"{where}; decisions at {settings['tick']}; packets: {settings['rates']}."
    return f"{told} {_within(rows[0])}." if rows[0].latency_ms else told


def _within(ours: Row) -> str:
    half, tail = ours.latency_ms["p50"].value, ours.latency_ms["p99"].value
    return f"Half of mmedge's decisions came within {milliseconds(half)}, 99 of 100 within {milliseconds(tail)}"


def _disturbed(result: Result) -> list[Markup]:
    """What makes the numbers doubtful, or that nothing known does."""
    if result.warnings:
        return [element("p", escaped(f"Disturbed: {text}."), class_="callout warning") for text in result.warnings]
    others = [segment.others for segment in result.segments]
    if not others:
        return []
    share = f"other processes used {float(np.median(others)):.0%} of a core at the median"
    return [element("p", escaped(f"Undisturbed: {share}, and the machine kept its speed."), class_="callout")]


def _rival(rows: Sequence[Row]) -> Row | None:
    """Whom to be compared with: the unsplit graph, else whoever else took part."""
    others = [row for row in rows if row.contestant.kind not in {"staged", "live"}]
    return next(iter([row for row in others if row.contestant.kind == "whole"] or others), None)


def _ratio(result: Result, rival: Row, figure: Figure) -> float | None:
    return ratio_of(result, result.ours.name, rival.contestant.name, figure)


def _times(ratio: float, figure: Figure) -> tuple[float, str, str]:
    """A ratio of 1 or more, its text, and what there is more or less of."""
    better, worse = BETTER[figure]
    return (ratio, times_text(ratio), better) if ratio >= 1 else (1 / ratio, times_text(1 / ratio), worse)


def _tiles(result: Result, rows: Sequence[Row]) -> list[Markup]:
    tiles, ours, rival = [], rows[0], _rival(rows)
    if rival and (work := _ratio(result, rival, "work")):
        low, _, high = spread_of_ratios(ours.work_ms_per_s, rival.work_ms_per_s)
        before, after = (f"{rounded(float(np.median(row.work_ms_per_s)))}" for row in (rival, ours))
        how = f"{after} instead of {before} ms per second of stream; {low:.1f} to {high:.1f} round by round"
        tiles.append(_tile(*_times(work, "work"), f" than {rival.contestant.name}", how))
    if rival and (latency := _ratio(result, rival, "latency")):
        before, after = (milliseconds(row.latency_ms["p50"].value) for row in (rival, ours))
        how = f"{after} instead of {before}, medians of {ours.latency_ms['p50'].n} decisions each"
        tiles.append(_tile(*_times(latency, "latency"), f" than {rival.contestant.name}", how))
    variants = [row.contestant for row in rows if row.contestant.kind == "staged" and row.contestant.variant != "fp32"]
    for variant in variants if rival else ():
        if rival and (work := ratio_of(result, variant.name, rival.contestant.name, "work")):
            what = f" with {variant.name.removeprefix('mmedge ')}"
            tiles.append(
                _tile(
                    *_times(work, "work"), what, f"than {rival.contestant.name} in float32; {_score(variant, result)}"
                )
            )
    if ours.latency_ms:
        against = f"; {rival.contestant.name} {rival.missed:.1%}" if rival and rival.latency_ms else ""
        how = f"due every {milliseconds(deadline_ms(result))}, paced{against}"
        tiles.append(_tile(ours.missed, f"{ours.missed:.1%}", "", "of its decisions came after the next was due", how))
    return tiles


def _score(variant: Contestant, result: Result) -> str:
    if variant.score is not None and result.ours.score is not None:
        return f"score {variant.score:.3g} instead of {result.ours.score:.3g} ({variant.scored_on})"
    if variant.accuracy_drop is not None:
        return f"the task metric loses {variant.accuracy_drop:.2%}"
    return f"largest difference of an output {variant.difference:.2g}"


def _tile(value: float, text: str, better: str, what: str, how: str) -> Markup:
    return element(
        "div",
        element("p", datum(value, text), class_="value"),
        element("p", escaped(better + what), class_="what"),
        element("p", escaped(how), class_="how"),
        class_="tile",
    )
