"""What every settings class refuses in the same words."""

from math import inf

from mmedge.errors import SpecError

__all__ = ["one_of", "positive"]


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a word that is not among the known ones.

    Raises:
        SpecError: It is not.
    """
    if value not in allowed:
        raise SpecError(f"{name} = {value!r} is not one of {', '.join(allowed)}")


def positive(name: str, *values: float) -> None:
    """Refuse numbers that are zero, negative, infinite or NaN.

    Raises:
        SpecError: One of them is.
    """
    if not all(0 < value < inf for value in values):
        raise SpecError(f"{name} must be positive, not {', '.join(map(str, values))}")
