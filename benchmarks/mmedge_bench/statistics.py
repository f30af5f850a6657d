"""Percentiles that nobody trimmed, with intervals that know that neighbours resemble each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["PERCENTILES", "Estimate", "estimate", "estimate_ratio", "percentile"]

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
RESAMPLES = 2000
BLOCK = 25  # decisions that follow one another share their stalls; half a second at 50 decisions/s
SEED = 1
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number and where it would be expected in another run of the same length.

    Attributes:
        value: Of the samples.
        low: Lower end of the interval.
        high: Upper end.
        n: Samples.
    """

    value: float
    low: float
    high: float
    n: int


def percentile(samples: npt.ArrayLike, percent: float) -> float:
    """The smallest sample that at least so many per cent of all samples do not exceed; 100 is the largest.

    Source: nearest-rank definition, Hyndman and Fan (1996), type 1.
    """
    return float(np.percentile(np.asarray(samples, np.float64), percent, method="inverted_cdf"))


def estimate(groups: Sequence[npt.ArrayLike], percent: float, confidence: float = 0.95) -> Estimate:
    """A percentile of all samples, with an interval.

    Args:
        groups: Samples in the order in which they came, one array for each process or round.
        percent: 0..100.
        confidence: Of the interval.

    Source: block bootstrap, Künsch (1989), "The jackknife and the bootstrap for general stationary observations"; the
    groups are drawn first, then blocks within them.
    """
    arrays = [np.asarray(group, np.float64) for group in groups]
    drawn = _drawn_percentiles(arrays, percent, np.random.default_rng(SEED))
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    value = percentile(np.concatenate(arrays), percent)
    return Estimate(value=value, low=float(low), high=float(high), n=sum(map(len, arrays)))


def estimate_ratio(
    a: Sequence[npt.ArrayLike], b: Sequence[npt.ArrayLike], percent: float, confidence: float = 0.95
) -> Estimate:
    """A percentile of b over that of a, with an interval; see :func:`estimate`."""
    first, second = ([np.asarray(group, np.float64) for group in groups] for groups in (a, b))
    random = np.random.default_rng(SEED)
    drawn = _drawn_percentiles(second, percent, random) / _drawn_percentiles(first, percent, random)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    value = percentile(np.concatenate(second), percent) / percentile(np.concatenate(first), percent)
    return Estimate(value=value, low=float(low), high=float(high), n=sum(map(len, second)))


def _drawn_percentiles(groups: Sequence[Numbers], percent: float, random: np.random.Generator) -> Numbers:
    """[RESAMPLES] the percentile of each resample."""
    chosen = random.integers(len(groups), size=(RESAMPLES, len(groups)))
    longest = max(map(len, groups))
    drawn = np.full((RESAMPLES, len(groups), longest), np.inf)  # padding sorts behind everything
    counts = np.zeros(RESAMPLES, np.int64)
    for number, group in enumerate(groups):
        rows, slots = np.nonzero(chosen == number)
        drawn[rows, slots, : len(group)] = _blocks(group, len(rows), random)
        np.add.at(counts, rows, len(group))
    ordered = np.sort(drawn.reshape(RESAMPLES, -1), axis=1)
    ranks = np.maximum(np.ceil(percent / 100 * counts - 1e-9).astype(np.int64), 1) - 1
    found: Numbers = ordered[np.arange(RESAMPLES), ranks]
    return found


def _blocks(group: Numbers, count: int, random: np.random.Generator) -> Numbers:
    """[count, N] resamples of one group, made of blocks of neighbours."""
    length = min(BLOCK, len(group))
    starts = random.integers(len(group) - length + 1, size=(count, -(-len(group) // length)))
    at = (starts[:, :, None] + np.arange(length)).reshape(count, -1)[:, : len(group)]
    drawn: Numbers = group[at]
    return drawn
