"""Numbers as people read them: three digits, a unit, and a dash for what is not known."""

from math import floor, inf, isfinite, log10

from mmedge.page.markup import Markup, element, escaped

__all__ = ["GAP", "UNKNOWN", "bytes_text", "count_text", "datum", "milliseconds", "rounded", "times_text"]

UNKNOWN = "–"
GAP = "\N{NO-BREAK SPACE}"
THOUSANDS = "\N{NARROW NO-BREAK SPACE}"
PLAIN = (1e-2, 1e7)  # outside of this range numbers are written with a power of ten


def rounded(value: float, digits: int = 3) -> str:
    """A number with so many digits that count, with a power of ten only below 0.01 and from ten million on.

    >>> rounded(0.01234), rounded(7.0), rounded(118.6)
    ('0.0123', '7.00', '119')
    """
    if not isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    if not PLAIN[0] <= abs(value) < PLAIN[1]:
        power = floor(log10(abs(value)))
        power += abs(value) / 10**power >= 9.95  # which is written as 10.0
        return f"{value / 10**power:.1f}{GAP}×{GAP}10{_superscript(power)}"
    decimals = max(0, digits - 1 - floor(log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return text.replace(",", THOUSANDS if abs(value) >= 1e4 else "")


def count_text(value: int) -> str:
    """A whole number, in groups of three from ten thousand on."""
    return f"{value:,}".replace(",", THOUSANDS if abs(value) >= 1e4 else "")


def milliseconds(value_ms: float) -> str:
    """A duration, in seconds from ten of them on."""
    if not isfinite(value_ms):
        return UNKNOWN
    if abs(value_ms) >= 1e4:
        return f"{rounded(value_ms / 1e3)}{GAP}s"
    return f"{rounded(value_ms)}{GAP}ms"


def times_text(ratio: float) -> str:
    """How many times; from one hundred on without decimals.

    >>> times_text(5.71), times_text(132.2)
    ('5.7×', '132×')
    """
    if not isfinite(ratio):
        return UNKNOWN
    return f"{rounded(ratio, 3 if ratio >= 10 else 2)}×"


def bytes_text(size: int) -> str:
    """A size in bytes, KiB or MiB."""
    for unit, factor, limit in (("B", 1, 1 << 10), ("KiB", 1 << 10, 1 << 20), ("MiB", 1 << 20, inf)):
        if size < limit:
            return f"{size / factor:.{0 if factor == 1 or size % factor == 0 else 1}f}{GAP}{unit}"
    raise AssertionError("every size is below infinity")


def datum(value: float, text: str) -> Markup:
    """A number that is shown, with the exact value for whoever reads the page by program."""
    return element("data", escaped(text), value=repr(float(value)))


def _superscript(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
