"""HTML and SVG as checked strings: text becomes markup only by being escaped."""

from collections.abc import Iterable
from html import escape
from typing import NewType

__all__ = ["Markup", "element", "escaped", "join"]

Markup = NewType("Markup", str)

VOID = {"br", "col", "hr", "img", "meta"}


def escaped(text: str) -> Markup:
    """Text that no browser takes for markup."""
    return Markup(escape(text))


def join(parts: Iterable[Markup]) -> Markup:
    """Parts one after another, each on its line."""
    return Markup("\n".join(parts))


def element(tag: str, *content: Markup, **attributes: object) -> Markup:
    """One element with its content.

    Args:
        tag: Its name.
        content: What is inside, already markup.
        attributes: A trailing ``_`` is dropped (``class_``), other ``_`` become ``-``; None and False leave the
            attribute out, True gives it no value, floats are written with two decimals.

    >>> element("td", escaped("a < b"), class_="label", colspan=2)
    '<td class="label" colspan="2">a &lt; b</td>'
    """
    pairs = [
        f" {name.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(_value(value))}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    ]
    opening = f"<{tag}{''.join(pairs)}>"
    return Markup(opening if tag in VOID else f"{opening}{''.join(content)}</{tag}>")


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
