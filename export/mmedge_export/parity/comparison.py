"""One tensor computed in two ways, and what difference is allowed.

Tolerances are not decreed. The model's own rounding noise is measured as the difference between its float32 and its
float64 values on the same inputs; a faithful export differs from float64 by about as much, an unfaithful one by much
more. Every tensor is measured against its own noise, so that an error in a small one is not hidden by a large one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmedge.errors import ParityError
from mmedge.types import Array

__all__ = [
    "SAMPLES",
    "Comparison",
    "Divergence",
    "ParityReport",
    "compare",
    "loose_tolerance",
    "noise_tolerance",
    "require_parity",
    "split_tolerance",
]

SAMPLES = "the samples"
EPSILON = float(np.finfo(np.float32).eps)
NOISE_FACTOR = 16.0  # another order of summation in every layer; measured 1 to 4 on convolutional and attention models
SPLIT_FACTOR = 32.0  # the same kernels on the same numbers: a few units in the last place, when a fusion changes
LOOSE = 1e-4  # of the largest value


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One tensor, computed in two ways.

    Attributes:
        tensor: Its name.
        what: The two ways.
        difference: Largest absolute difference.
        tolerance: What is allowed.
        scale: Largest absolute value of the reference.
        case: What the model was fed with: the samples, or one port of them with the others at their baseline.
    """

    tensor: str
    what: str
    difference: float
    tolerance: float
    scale: float
    case: str

    @property
    def holds(self) -> bool:
        """Whether the difference is allowed; a NaN is not."""
        return self.difference <= self.tolerance

    @property
    def share(self) -> float:
        """The difference as a share of what is allowed."""
        if self.tolerance:
            return self.difference / self.tolerance
        return float("inf") if self.difference else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """The first node, in the order of the graph, that does not compute what it should.

    Attributes:
        operator: Its operator.
        tensor: What it makes.
        module: The part of the user's module that it belongs to, as "encoder.layers.0", or "".
        line: The line of the user's code that it came from, as "model.py:41 in Encoder.forward", or "" if not known.
    """

    operator: str
    tensor: str
    module: str = ""
    line: str = ""

    def __str__(self) -> str:
        module = f" of {self.module}" if self.module else ""
        return f"node {self.operator} {self.tensor!r}{module}" + (f" ({self.line})" if self.line else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """All comparisons of one export.

    Attributes:
        samples: How many samples were compared.
        real: Whether they were real sensor data.
        original: What the graph was compared with.
        reference: What computed the outputs that were compared with, and in which precision.
        cases: What the model was fed with, the samples first.
        comparisons: One for each tensor, pair of ways and case.
        notes: What could not be compared, and why.
    """

    samples: int
    real: bool
    original: str
    reference: str
    cases: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether every comparison does."""
        return all(row.holds for row in self.comparisons)

    @property
    def worst(self) -> Comparison:
        """The comparison that is nearest to its tolerance, or furthest beyond it."""
        return max(self.comparisons, key=lambda row: row.share)


def compare(
    what: str,
    reference: Mapping[str, Array],
    given: Mapping[str, Array],
    tolerances: Mapping[str, float],
    case: str = SAMPLES,
) -> list[Comparison]:
    """Compare every tensor of the reference.

    Args:
        what: The two ways, for the report.
        reference: Arrays by name.
        given: The same arrays, computed in another way.
        tolerances: Largest absolute difference allowed, by name.
        case: What both were fed with, for the report.

    Raises:
        ParityError: A tensor is missing or has another shape.
    """
    rows = []
    for name, expected in reference.items():
        if name not in given or given[name].shape != expected.shape:
            shape = list(given[name].shape) if name in given else "nothing"
            raise ParityError(f"{what}: {name} is {shape}, expected {list(expected.shape)}")
        difference = np.abs(given[name].astype(np.float64) - expected.astype(np.float64))
        rows.append(
            Comparison(
                tensor=name,
                what=what,
                difference=float(difference.max(initial=0)) if np.isfinite(difference).all() else float("inf"),
                tolerance=tolerances[name],
                scale=_scale(expected),
                case=case,
            )
        )
    return rows


def noise_tolerance(
    exact: Mapping[str, Array], rounded: Mapping[str, Array], rows: slice = slice(None)
) -> dict[str, float]:
    """Allowed differences from the measured rounding noise of the model.

    A handful of numbers can be lucky, so the noise of some rows is at least that of all rows in proportion to their
    values.

    Args:
        exact: [F, ...] float64 values.
        rounded: [F, ...] float32 values of the same model on the same inputs.
        rows: Those that are compared.
    """
    tolerances = {}
    for name, array in exact.items():
        noise = np.abs(array - rounded[name])
        scale, everywhere = _scale(array[rows]), _scale(array)
        relative = float(noise.max(initial=0)) / everywhere if everywhere else 0.0
        tolerances[name] = NOISE_FACTOR * max(float(noise[rows].max(initial=0)), relative * scale, EPSILON * scale)
    return tolerances


def loose_tolerance(reference: Mapping[str, Array]) -> dict[str, float]:
    """Allowed differences where rounding noise cannot be measured."""
    return {name: LOOSE * _scale(array) for name, array in reference.items()}


def split_tolerance(whole: Mapping[str, Array]) -> dict[str, float]:
    """Allowed differences between a graph and its own stages."""
    return {name: SPLIT_FACTOR * EPSILON * max(_scale(array), EPSILON) for name, array in whole.items()}


def require_parity(comparisons: Sequence[Comparison], first: Divergence | None = None) -> None:
    """Refuse when any comparison fails.

    Args:
        comparisons: All of them.
        first: Where the failure begins, if that is known.

    Raises:
        ParityError: The text names the worst tensor, and the first node that is wrong.
    """
    failed = [row for row in comparisons if not row.holds]
    if not failed:
        return
    worst = max(failed, key=lambda row: row.share)
    case = "" if worst.case == SAMPLES else f" on {worst.case}"
    begin = f"first at {first}; " if first else ""
    raise ParityError(
        f"parity failed, {worst.what}{case}: {worst.tensor} differs by {worst.difference:.3g}, allowed "
        f"{worst.tolerance:.3g} ({len(failed)} of {len(comparisons)} comparisons failed); {begin}nothing was written"
    )


def _scale(array: Array) -> float:
    return float(np.abs(array.astype(np.float64)).max(initial=0.0))
