"""What the numbers do not say, and the notes under the figures."""

from mmedge.page.markup import Markup, element, escaped
from mmedge.page.numbers import count_text
from mmedge_export.demo.result import DemoResult

__all__ = ["caveats"]


def caveats(result: DemoResult) -> Markup:
    """Limits of what was measured, for whoever wants to quote it."""
    scored, made = int(result.truth.settled.sum()), len(result.decided.t_s)
    texts = (
        f"How well the model does elsewhere. This is one clip of {result.duration_s:g} s; its decisions follow one "
        f"another every {1e3 / result.decisions_hz:g} ms on windows that overlap, so they are far from "
        f"{count_text(scored)} independent trials.",
        f"How it does while the scene changes. The {count_text(made - scored)} decisions whose window holds two labels "
        "have no single right answer and are not scored; the hatched spans show what it decided there.",
        "How fast it is on another machine. Times are from the one below, on one core. Another processor shifts all "
        "contestants, and not by the same factor.",
        "The delay from the world to a decision. Exposure, readout, drivers and the sound buffer come before the "
        "arrival at which the clock starts here; whatever acts on the decision comes after it.",
        "What a GPU or an integer model would do. All contestants run the same float32 weights on the processor.",
        "How much memory the model needs. The memory is that of the whole process, libraries included.",
    )
    return element("ul", *(element("li", _strong_start(text)) for text in texts), class_="caveats")


def _strong_start(text: str) -> Markup:
    first, _, rest = text.partition(". ")
    return Markup(element("b", escaped(f"{first}.")) + escaped(f" {rest}"))
