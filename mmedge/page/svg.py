"""Drawing: axes that map values to pixels, and the few shapes that the page is made of."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

import numpy as np
from numpy.typing import NDArray

from mmedge.page.markup import Markup, element, escaped

__all__ = ["Axis", "Box", "drawing", "group", "label", "line", "rectangle", "ticks", "trace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Maps low..high to start_px..end_px, linearly or by the logarithm; values outside stay at the ends."""

    low: float
    high: float
    start_px: float
    end_px: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Pixel of one value."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        share = (self._scaled(value) - low) / (high - low) if high > low else 0.0
        return self.start_px + min(1.0, max(0.0, share)) * (self.end_px - self.start_px)

    def _scaled(self, value: float) -> float:
        return log10(max(value, 1e-12)) if self.logarithmic else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.y + self.height

    @property
    def middle(self) -> float:
        """Half its height."""
        return self.y + self.height / 2


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round values from low to high, at most so many, in steps of 1, 2 or 5.

    >>> ticks(0, 20, 6)
    [0.0, 5.0, 10.0, 15.0, 20.0]
    """
    if not high > low:
        return [low]
    power = 10.0 ** floor(log10((high - low) / most))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
        if last - first < most:
            break
    return [i * step for i in range(first, last + 1)]


def drawing(size_px: tuple[float, float], name: str, description: str, content: Iterable[Markup]) -> Markup:
    """A picture that scales with the page and says what it shows.

    Args:
        size_px: Width and height of the drawing's own pixels.
        name: Unique on the page: the ids of its title and description begin with it.
        description: For those who cannot see it; its first sentence is the title.
        content: Shapes.
    """
    title, _, rest = description.partition(". ")
    return element(
        "svg",
        element("title", escaped(title), id=f"{name}-title"),
        element("desc", escaped(rest), id=f"{name}-desc") if rest else Markup(""),
        *(Markup(f"\n{part}") for part in content),
        viewBox=f"0 0 {size_px[0]:g} {size_px[1]:g}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc" if rest else f"{name}-title",
        class_=f"drawing {name}",
    )


def group(content: Iterable[Markup], **attributes: object) -> Markup:
    """Shapes that belong together."""
    return element("g", *content, **attributes)


def label(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> Markup:
    """Text whose baseline begins, ends or is centred at a point: anchor is start, middle or end."""
    return element(
        "text", escaped(text), x=x, y=y, class_=kind or None, text_anchor=None if anchor == "start" else anchor
    )


def line(start: tuple[float, float], end: tuple[float, float], kind: str) -> Markup:
    """A straight line."""
    return element("line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], class_=kind)


def rectangle(box: Box, kind: str, tip: str = "", radius: float = 0.0) -> Markup:
    """A filled rectangle; the tip appears under a mouse."""
    inside = (element("title", escaped(tip)),) if tip else ()
    sizes = {"x": box.x, "y": box.y, "width": max(0.0, box.width), "height": max(0.0, box.height)}
    return element("rect", *inside, **sizes, rx=radius or None, class_=kind)


def trace(x_axis: Axis, y_axis: Axis, x: NDArray[np.float64], y: NDArray[np.float64], kind: str) -> Markup:
    """A curve that is interrupted where y is not finite.

    Args:
        x_axis: Of the first coordinate.
        y_axis: Of the second.
        x: [N].
        y: [N].
        kind: Its class.
    """
    commands, pen = [], "M"
    for value_x, value_y in zip(np.asarray(x, float), np.asarray(y, float), strict=True):
        if not isfinite(value_x) or not isfinite(value_y):
            pen = "M"
            continue
        commands.append(f"{pen}{x_axis.at(value_x):.1f} {y_axis.at(value_y):.1f}")
        pen = "L"
    return element("path", d="".join(commands), class_=kind, fill="none")
