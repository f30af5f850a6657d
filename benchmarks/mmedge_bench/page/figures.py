"""Figures over all contestants: the tail of the latencies, ratios to peers, variants."""

from collections.abc import Callable, Sequence
from math import ceil, floor, log10

import numpy as np

from mmedge.page.markup import Markup, element
from mmedge.page.numbers import milliseconds, times_text
from mmedge.page.svg import Axis, Box, drawing, label, line, ticks, trace
from mmedge_bench.result import Contestant, Result
from mmedge_bench.summary import Row, latencies_ms, paced_segments, segments_of, spread_of_ratios, work_ms_per_s

__all__ = ["pareto_figure", "ratio_figure", "rival_class", "tail_figure"]

BOX = Box(x=70, y=18, width=1030, height=260)
ROW_PX = 34.0


def rival_class(result: Result, name: str) -> str:
    """The colour of a contestant, the same in every figure."""
    if name == result.ours.name:
        return "rival-us"
    return f"rival-{[c.name for c in result.took_part if c.name != result.ours.name].index(name) % 8}"


def tail_figure(result: Result) -> Markup:
    """Latency over the share of decisions that took longer, both logarithmic: the tail is as wide as the rest."""
    samples = {
        c.name: np.sort(np.concatenate(rows))
        for c in result.took_part
        if (rows := latencies_ms(paced_segments(result, c.name)))
    }
    most = max(map(len, samples.values()))
    top = max(float(values[-1]) for values in samples.values())
    low = max(1e-3, min(float(values[values > 0][0]) for values in samples.values() if (values > 0).any()))
    rarity = Axis(
        low=1.0, high=most, start_px=BOX.x, end_px=BOX.right - 130, logarithmic=True
    )  # one decision in so many
    latency = _decades(low, top, BOX.bottom, BOX.y)
    parts = _grid(latency)
    for percent in (0, 90, 99, 99.9, 99.99):
        if 1 / (1 - percent / 100) <= most:
            x = rarity.at(1 / (1 - percent / 100))
            parts.append(line((x, BOX.y), (x, BOX.bottom), "grid"))
            text = f"p{percent:g}" if percent else "all"
            parts.append(label(x, BOX.bottom + 18, text, "tick", "middle"))
    names = []
    for name, values in samples.items():
        kind = rival_class(result, name)
        one_in = len(values) / np.arange(len(values), 0, -1)
        parts.append(trace(rarity, latency, one_in, np.maximum(values, low), f"curve {kind}"))
        names.append((latency.at(float(values[-1])), name, kind))
    parts += _spread_labels(names)
    parts.append(
        label(BOX.x, BOX.bottom + 38, "share of the decisions that came sooner; the ends are the maxima", "tick")
    )
    description = f"Latency by percentile, on logarithmic axes. {', '.join(samples)}; no sample is left out."
    return drawing((1120, BOX.bottom + 48), "tail", description, parts)


def ratio_figure(result: Result) -> Markup:
    """Work of each peer over ours, each round a dot, so that the spread can be seen."""
    ours = work_ms_per_s(segments_of(result, result.ours.name, "closed-loop"))
    rows = [
        (c.name, work_ms_per_s(segments_of(result, c.name, "closed-loop")))
        for c in result.took_part
        if c.name != result.ours.name
    ]
    rows = [(name, theirs) for name, theirs in rows if theirs]
    ratios = {name: [b / a for a, b in zip(ours, theirs, strict=False)] for name, theirs in rows}
    high = max([1.5, *(max(values) for values in ratios.values())])
    axis = Axis(low=0, high=high * 1.05, start_px=210, end_px=1000)
    bottom = 26 + ROW_PX * len(ratios)
    parts = [line((axis.at(1), 8), (axis.at(1), bottom), "due"), label(axis.at(1) + 6, 16, "mmedge", "due-text")]
    for i, (name, values) in enumerate(ratios.items()):
        y = 26 + ROW_PX * (i + 0.5)
        low, middle, top = spread_of_ratios(ours, dict(rows)[name])
        kind = rival_class(result, name)
        parts.append(label(0, y + 4, name, "lane-name"))
        parts.append(line((axis.at(low), y), (axis.at(top), y), f"curve {kind}"))
        parts += [element("circle", cx=axis.at(value), cy=y, r=4.5, class_=kind) for value in values]
        text = f"{times_text(middle)} ({low:.1f} to {top:.1f})"
        parts.append(label(axis.at(top) + 14, y + 4, text, "lane-note"))
    described = ", ".join(f"{name} {times_text(spread_of_ratios(ours, theirs)[1])}" for name, theirs in rows)
    words = f"Work per second of each peer relative to mmedge, round by round. {described}."
    return drawing((1120, bottom + 8), "ratios", words, parts)


def pareto_figure(rows: Sequence[Row]) -> Markup:
    """Variants by median latency and by how good they are; what nobody beats in both is joined."""
    ours = [row.contestant for row in rows if row.contestant.kind == "staged" and row.latency_ms]
    value, what = _goodness(ours)
    points = [
        (row.latency_ms["p50"].value, value(row.contestant), row.contestant) for row in rows if row.contestant in ours
    ]
    if not points:
        return drawing((1120, 40), "pareto", "No variant was run at the sensors' pace.", [])
    goods = [good for _, good, _ in points]
    room = max(0.01, max(goods) - min(goods))
    x_axis = Axis(low=0, high=max(x for x, _, _ in points) * 1.2, start_px=BOX.x, end_px=BOX.right)
    y_axis = Axis(low=min(goods) - room, high=max(goods) + room / 2, start_px=BOX.bottom, end_px=BOX.y)
    parts = []
    for at in ticks(y_axis.low, y_axis.high, 6):
        parts += [
            line((BOX.x, y_axis.at(at)), (BOX.right, y_axis.at(at)), "grid"),
            label(BOX.x - 8, y_axis.at(at) + 4, f"{at:.3g}", "tick", "end"),
        ]
    for at in ticks(0, x_axis.high, 8):
        parts += [
            line((x_axis.at(at), BOX.bottom), (x_axis.at(at), BOX.bottom + 4), "axis"),
            label(x_axis.at(at), BOX.bottom + 18, f"{at:g} ms", "tick", "middle"),
        ]
    parts.append(line((BOX.x, BOX.bottom), (BOX.right, BOX.bottom), "axis"))
    front = sorted(p[:2] for p in points if not any(_beats(q[:2], p[:2]) for q in points))
    parts.append(
        trace(x_axis, y_axis, np.array([x for x, _ in front]), np.array([y for _, y in front]), "curve rival-us")
    )
    for i, (x, good, contestant) in enumerate(sorted(points, key=lambda point: point[0])):
        parts.append(element("circle", cx=x_axis.at(x), cy=y_axis.at(good), r=6.0, class_="rival-us"))
        beaten = "" if (x, good) in front else "; another one is at least as good, and sooner"
        text = f"{_short(contestant)}: {milliseconds(x)}, {good:.3g}{beaten}"
        anchor = "end" if x > x_axis.high / 2 else "start"  # inwards
        parts.append(label(x_axis.at(x), y_axis.at(good) + (-14 if i % 2 else 24), text, "lane-note", anchor))
    parts.append(label(BOX.x, BOX.bottom + 38, f"median latency; upwards: {what}", "tick"))
    described = "; ".join(f"{_short(c)} {milliseconds(x)}, {good:.3g}" for x, good, c in points)
    return drawing((1120, BOX.bottom + 48), "pareto", f"Variants by latency and {what}. {described}.", parts)


def _goodness(contestants: Sequence[Contestant]) -> tuple[Callable[[Contestant], float], str]:
    """What is drawn upwards: the score where all have one, else what is lost."""
    if all(contestant.score is not None for contestant in contestants):
        words = "; ".join(dict.fromkeys(contestant.scored_on for contestant in contestants))
        return (lambda contestant: contestant.score or 0.0), words
    if all(c.accuracy_drop is not None or c.variant == "fp32" for c in contestants):
        return (lambda contestant: 0.0 - (contestant.accuracy_drop or 0.0)), "task metric against fp32"
    return (lambda contestant: 0.0 - contestant.difference), "largest difference of an output, downwards"


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] >= other[1]


def _short(contestant: Contestant) -> str:
    return contestant.name.removeprefix("mmedge ") if contestant.variant != "fp32" else contestant.name


def _decades(low: float, high: float, start_px: float, end_px: float) -> Axis:
    return Axis(
        low=10.0 ** floor(log10(low)),
        high=10.0 ** ceil(log10(high)),
        start_px=start_px,
        end_px=end_px,
        logarithmic=True,
    )


def _grid(latency: Axis) -> list[Markup]:
    parts = []
    for power in range(round(log10(latency.low)), round(log10(latency.high)) + 1):
        y = latency.at(10.0**power)
        parts.append(line((BOX.x, y), (BOX.right, y), "grid"))
        parts.append(label(BOX.x - 8, y + 4, f"{10.0**power:g} ms", "tick", "end"))
    return parts


def _spread_labels(names: list[tuple[float, str, str]]) -> list[Markup]:
    """Names at the right end, pushed apart where curves end close together."""
    parts, free = [], BOX.y
    for y, name, kind in sorted(names):
        at = max(y, free)
        free = at + 15
        parts.append(label(BOX.right - 122, at + 4, name, f"lane-note {kind}"))
    return parts
