"""Where the time of one second of stream goes."""

from mmedge.page.markup import Markup, element, escaped, join
from mmedge.page.numbers import datum, rounded
from mmedge_bench.result import Result
from mmedge_bench.summary import REST, shares_ms_per_s

__all__ = ["parts_of_work", "waterfall"]

LETTER_SHARE = 0.012  # of a bar's track, about: decides whether a name fits into its part
KINDS = ("from-camera", "from-audio", "from-several")


def waterfall(result: Result) -> Markup:
    """One bar for each contestant, cut into its parts."""
    shares = {c.name: shares_ms_per_s(result, c.name) for c in result.took_part}
    shares = {name: parts for name, parts in shares.items() if sum(parts.values())}
    widest = max(sum(parts.values()) for parts in shares.values()) / 0.86
    rows = []
    for name, parts in shares.items():
        total = sum(parts.values())
        bar = element(
            "div",
            *[_part(stage, value, i, total, widest) for i, (stage, value) in enumerate(parts.items())],
            class_="bar",
            style=f"width:{total / widest:.2%}",
        )
        text = element(
            "span", datum(total, f"{rounded(total)} ms"), class_="bar-value", style=f"left:{total / widest:.2%}"
        )
        track = element("div", bar, text, class_="bar-track")
        rows.append(element("div", element("div", escaped(name), class_="bar-name"), track, class_="bar-row"))
    return element("div", join(rows), class_="bars")


def parts_of_work(result: Result) -> Markup:
    """What the bars of the bundle's own variants are made of, since their parts are too narrow for names."""
    told = []
    for contestant in result.took_part:
        shares = shares_ms_per_s(result, contestant.name)
        if contestant.kind == "staged" and any(shares.values()):
            parts = ", ".join(f"{part} {rounded(value)}" for part, value in shares.items())
            told += [element("dt", escaped(contestant.name)), element("dd", escaped(f"{parts} ms"))]
    return element("dl", *told, class_="of-work")


def _part(stage: str, value: float, number: int, total: float, widest: float) -> Markup:
    kind = "rest" if stage == REST else KINDS[number % len(KINDS)]
    shown = stage if len(stage) * LETTER_SHARE < value / widest else ""
    tip = f"{stage}: {rounded(value)} ms"
    return element("div", escaped(shown), class_=f"part {kind}", style=f"flex:{value / total:.4f} 1 0", title=tip)
