"""The frame of every report: one HTML page that needs nothing else."""

from collections.abc import Iterable

from mmedge.page.markup import Markup, element, escaped, join
from mmedge.page.style import STYLE

__all__ = ["document", "scrolled", "section", "side_by_side"]


def document(title: str, header: Markup, sections: Iterable[Markup], footer: str, style: str = "") -> str:
    """The page as text: no scripts, no links out; light or dark as the reader has it.

    Args:
        title: Of the window.
        header: What stands above the sections.
        sections: See :func:`section`.
        footer: Plain text.
        style: Rules that only this page needs, after the common ones.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", escaped(title)),
        element("style", Markup(STYLE + style)),
    )
    main = element("main", join(sections))
    body = element("body", element("header", header), main, element("footer", escaped(footer)))
    return "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"


def section(title: str, words: str, *content: Markup) -> Markup:
    """A part of the page under a heading, with a sentence that says how to read it."""
    lead = [element("p", escaped(words), class_="note")] if words else []
    return element("section", join([element("h2", escaped(title)), *lead, *content]))


def scrolled(picture: Markup, name: str) -> Markup:
    """A wide picture or table that scrolls by itself on a narrow screen."""
    inside = element("div", picture, class_="scroll", tabindex=0, role="region", aria_label=name)
    return element("figure", inside)


def side_by_side(left: Markup, right: Markup) -> Markup:
    """Two parts beside one another where there is room."""
    return element("div", element("div", left), element("div", right), class_="two")
