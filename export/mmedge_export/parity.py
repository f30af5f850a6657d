"""Whether the bundle computes what the model computes: torch against the whole graph, that against its stages.

Tolerances are not decreed. The model's own rounding noise is measured as the difference between its float32 and its
float64 outputs on the same samples; a faithful export differs from float64 by about as much, an unfaithful one by much
more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmedge.errors import ParityError
from mmedge.types import Array

__all__ = ["Comparison", "ParityReport", "compare", "noise_tolerance", "require_parity", "split_tolerance"]

EPSILON = float(np.finfo(np.float32).eps)
NOISE_FACTOR = 16.0  # another order of summation in every layer; measured 1 to 4 on convolutional and attention models
SPLIT_FACTOR = 32.0  # the same kernels on the same numbers: a few units in the last place, when a fusion changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One tensor, computed in two ways.

    Attributes:
        tensor: Its name.
        what: The two ways.
        difference: Largest absolute difference.
        tolerance: What is allowed.
        scale: Largest absolute value of the reference.
    """

    tensor: str
    what: str
    difference: float
    tolerance: float
    scale: float

    @property
    def holds(self) -> bool:
        """Whether the difference is allowed; a NaN is not."""
        return self.difference <= self.tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """All comparisons of one export.

    Attributes:
        samples: How many samples were compared.
        real: Whether they were real sensor data.
        reference: The precision of the torch outputs that were compared with.
        comparisons: One for each tensor and pair of ways.
    """

    samples: int
    real: bool
    reference: str
    comparisons: tuple[Comparison, ...]


def compare(
    what: str, reference: Mapping[str, Array], given: Mapping[str, Array], tolerances: Mapping[str, float]
) -> list[Comparison]:
    """Compare every tensor of the reference.

    Args:
        what: The two ways, for the report.
        reference: Arrays by name.
        given: The same arrays, computed in another way.
        tolerances: Largest absolute difference allowed, by name.

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
                difference=float(difference.max()) if np.isfinite(difference).all() else float("inf"),
                tolerance=tolerances[name],
                scale=_scale(expected),
            )
        )
    return rows


def noise_tolerance(exact: Mapping[str, Array], rounded: Mapping[str, Array]) -> dict[str, float]:
    """Allowed differences from the measured rounding noise of the model.

    Args:
        exact: float64 outputs.
        rounded: float32 outputs of the same model on the same samples.
    """
    return {
        name: NOISE_FACTOR * max(float(np.abs(exact[name] - rounded[name]).max()), EPSILON * _scale(exact[name]))
        for name in exact
    }


def split_tolerance(whole: Mapping[str, Array]) -> dict[str, float]:
    """Allowed differences between a graph and its own stages."""
    return {name: SPLIT_FACTOR * EPSILON * max(_scale(array), EPSILON) for name, array in whole.items()}


def require_parity(comparisons: Sequence[Comparison]) -> None:
    """Refuse when any comparison fails.

    Raises:
        ParityError: The text names the worst tensor.
    """
    failed = [row for row in comparisons if not row.holds]
    if failed:
        worst = max(failed, key=lambda row: row.difference / row.tolerance if row.tolerance else float("inf"))
        raise ParityError(
            f"parity failed, {worst.what}: {worst.tensor} differs by {worst.difference:.3g}, allowed "
            f"{worst.tolerance:.3g} ({len(failed)} of {len(comparisons)} comparisons failed); nothing was written"
        )


def _scale(array: Array) -> float:
    return float(np.abs(array.astype(np.float64)).max(initial=0.0))
