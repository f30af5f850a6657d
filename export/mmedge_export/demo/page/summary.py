"""The head of the page: what came out, in plain words and three numbers, and how full a core was."""

from math import isfinite

from mmedge.page.markup import Markup, element, escaped, join
from mmedge.page.numbers import UNKNOWN, count_text, datum, milliseconds, rounded, times_text
from mmedge_export.demo.page.rivals import baseline, compared, latency_ms, latency_ratio, ours, work_ratio
from mmedge_export.demo.result import Contestant, DemoResult

__all__ = ["headline", "summary", "work_bars"]

SECOND_MS = 1000.0
WAYS = {1: "one way", 2: "two ways", 3: "three ways", 4: "four ways"}


def headline(result: DemoResult) -> str:
    """The result in one sentence."""
    mine, other = ours(result), baseline(result)
    if other is None:
        wait = milliseconds(latency_ms(mine, 50))
        return f"{rounded(mine.work_ms_per_s)} ms of work per second, {wait} from a sound to its decision"
    work = compared(work_ratio(other, mine), "times less work", "times more work", "as much work")
    if not mine.keeps_up:
        return f"{work} per second, and still more than this machine can do".capitalize()
    if not other.keeps_up:
        return f"{work} per second: the only one of them that keeps up".capitalize()
    sooner = compared(latency_ratio(other, mine), "times sooner", "times later", "as soon")
    return f"{work} per second, {sooner} from a sound to its decision".capitalize()


def summary(result: DemoResult) -> Markup:
    """Headline, what it stands on, and three tiles."""
    ways = WAYS.get(len(result.contestants), f"{len(result.contestants)} ways")
    scored, made = int(result.truth.settled.sum()), len(result.decided.t_s)
    lead = (
        f"The same trained model on the same clip of {result.duration_s:g} s, run {ways} on one core of this machine. "
        f"Camera at {result.camera_hz:g} pictures per second, {result.decisions_hz:g} decisions per second. Right or "
        f"wrong is scored on the {count_text(scored)} of {count_text(made)} decisions whose whole window lies under "
        "one label."
    )
    return join(
        [
            element("p", escaped(f"mmedge demo · {result.manifest.name}"), class_="eyebrow"),
            element("h1", escaped(headline(result))),
            element("p", escaped(lead), class_="lead"),
            element("div", join([_work_tile(result), _latency_tile(result), _accuracy_tile(result)]), class_="tiles"),
        ]
    )


def work_bars(result: DemoResult) -> Markup:
    """How much of every second each contestant needs of its core."""
    widest = max([SECOND_MS, *(contestant.work_ms_per_s for contestant in result.contestants)])
    limit = SECOND_MS / widest
    style, kind = f"left:{limit:.2%}", "at-end" if limit > 0.7 else None
    text = element("span", escaped("one second: the core is full"), style=style, class_=kind)
    end = element("div", text, class_="limit-text")
    rows = [_bar(contestant, widest, mine=contestant is ours(result)) for contestant in result.contestants]
    return element("div", join(rows), element("div", end, class_="bar-row"), class_="bars")


def _bar(contestant: Contestant, widest: float, *, mine: bool) -> Markup:
    share = contestant.work_ms_per_s / widest
    inside = share > 0.8
    text = datum(contestant.work_ms_per_s, f"{rounded(contestant.work_ms_per_s)} ms")
    value = element("span", text, class_="bar-value inside" if inside else "bar-value", style=f"left:{share:.2%}")
    limit = element("span", class_="limit", style=f"left:{SECOND_MS / widest:.2%}")
    track = element("div", element("div", class_="bar", style=f"width:{share:.2%}"), limit, value, class_="bar-track")
    name = element("div", element("b" if mine else "span", escaped(contestant.name)), class_="bar-name")
    return element("div", name, track, class_="bar-row ours" if mine else "bar-row")


def _tile(value: Markup, what: str, how: str) -> Markup:
    parts = [element("p", value, class_="value"), element("p", escaped(what), class_="what")]
    return element("div", *parts, element("p", escaped(how), class_="how"), class_="tile")


def _work_tile(result: DemoResult) -> Markup:
    mine, other = ours(result), baseline(result)
    own = f"{rounded(mine.work_ms_per_s)} ms"
    if other is None:
        return _tile(datum(mine.work_ms_per_s, own), "work per second of stream", "of the 1000 ms of one core")
    ratio = work_ratio(other, mine)
    how = f"{own} instead of {rounded(other.work_ms_per_s)} ms ({other.name})"
    if ratio < 1:
        return _tile(datum(1 / ratio, times_text(1 / ratio)), "the work per second of stream", how)
    return _tile(datum(ratio, times_text(ratio)), "less work per second of stream", how)


def _latency_tile(result: DemoResult) -> Markup:
    mine, other = ours(result), baseline(result)
    median = latency_ms(mine, 50)
    tail = f"{milliseconds(median)} at the median, {milliseconds(latency_ms(mine, 99))} at the 99th percentile"
    ratio = latency_ratio(other, mine) if other else float("nan")
    if not isfinite(ratio):
        why = f"; {other.name} does not keep up, so there is nothing to compare with" if other else ""
        return _tile(datum(median, milliseconds(median)), "from a sound to its decision", tail + why)
    how = f"{tail}; {other.name if other else ''}: {milliseconds(median * ratio)} at the median"
    if ratio < 1:
        return _tile(datum(1 / ratio, times_text(1 / ratio)), "later from a sound to its decision", how)
    return _tile(datum(ratio, times_text(ratio)), "sooner from a sound to its decision", how)


def _accuracy_tile(result: DemoResult) -> Markup:
    right = result.decided.labels == result.truth.labels
    scored = int(result.truth.settled.sum())
    if not scored:
        return _tile(escaped(UNKNOWN), "of the scored decisions are right", "no decision of this clip could be scored")
    number = int(right[result.truth.settled].sum())
    how = f"{count_text(number)} of {count_text(scored)}, on this one clip"
    if len(result.contestants) > 1:
        apart = max(contestant.worst_difference for contestant in result.contestants)
        how += f"; the outputs of all {len(result.contestants)} differ by at most {rounded(apart, 2)}"
    return _tile(datum(result.accuracy, f"{result.accuracy:.1%}"), "of the scored decisions are right", how)
