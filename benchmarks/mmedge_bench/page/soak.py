"""A long run: memory and lost ticks."""

from collections.abc import Sequence

import numpy as np

from mmedge.page.markup import Markup, element, escaped, join
from mmedge.page.numbers import UNKNOWN, datum, rounded
from mmedge.page.svg import Axis, Box, drawing, label, line, ticks, trace
from mmedge_bench.summary import Soaked

__all__ = ["soak_figure", "soak_table"]

BOX = Box(x=70, y=14, width=900, height=200)


def soak_table(soaks: Sequence[Soaked]) -> Markup:
    """Ticks, and how resident memory grows."""
    heads = ("contestant", "minutes", "ticks", "lost", "memory at the end, MiB", "growth, KiB per minute")
    head = element("tr", *[element("th", escaped(text), scope="col") for text in heads])
    return element("table", element("thead", head), element("tbody", join([_row(each) for each in soaks])))


def soak_figure(soaks: Sequence[Soaked]) -> Markup:
    """Resident memory over time, from zero."""
    known = [each for each in soaks if each.resident_kib]
    most = max(max(each.resident_kib) for each in known) / 1024
    seconds = max(len(each.resident_kib) for each in known)
    time = Axis(low=0, high=seconds, start_px=BOX.x, end_px=BOX.right)
    memory = Axis(low=0, high=most * 1.1, start_px=BOX.bottom, end_px=BOX.y)
    parts = []
    for at in ticks(0, memory.high, 6):
        parts.append(line((BOX.x, memory.at(at)), (BOX.right, memory.at(at)), "grid"))
        parts.append(label(BOX.x - 8, memory.at(at) + 4, f"{at:g} MiB", "tick", "end"))
    parts += [label(time.at(at), BOX.bottom + 18, f"{at:g} s", "tick", "middle") for at in ticks(0, seconds, 8)]
    free = BOX.bottom + 20
    for i, each in enumerate(sorted(known, key=lambda one: one.resident_kib[-1])):
        kib = np.array(each.resident_kib, float)
        parts.append(trace(time, memory, np.arange(1.0, len(kib) + 1), kib / 1024, f"curve rival-{i % 6}"))
        free = min(free - 15, memory.at(kib[-1] / 1024) + 4)
        parts.append(label(BOX.right + 8, free, each.contestant, "lane-note"))
    told = ", ".join(f"{each.contestant} {each.resident_kib[-1] / 1024:.0f} MiB" for each in known)
    return drawing((1120, BOX.bottom + 28), "soak", f"Resident memory over a long run. At the end: {told}.", parts)


def _row(each: Soaked) -> Markup:
    end = each.resident_kib[-1] / 1024 if each.resident_kib else None
    cells = [element("td", datum(value, rounded(value))) for value in (each.minutes,)]
    cells += [element("td", datum(value, str(value))) for value in (each.ticks, each.lost)]
    cells.append(element("td", escaped(UNKNOWN) if end is None else datum(end, rounded(end))))
    if each.growth_kib is None:
        cells.append(element("td", escaped("too short to say")))
    else:
        interval = f"{rounded(each.growth_kib.low)} to {rounded(each.growth_kib.high)}"
        value = datum(each.growth_kib.value, rounded(each.growth_kib.value))
        cells.append(element("td", value, element("span", escaped(interval), class_="unit")))
    return element("tr", element("th", escaped(each.contestant), scope="row"), *cells)
