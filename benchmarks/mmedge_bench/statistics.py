"""Percentiles that nobody trimmed, with intervals that know that neighbours resemble each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "PERCENTILES",
    "Estimate",
    "estimate",
    "estimate_ratio",
    "estimate_slope",
    "percentile",
    "predict",
    "student_t",
]

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
RESAMPLES = 2000
BLOCK = 25  # decisions that follow one another share their stalls; half a second at 50 decisions/s
SEED = 1
STEPS = 100_001  # of an integral
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


def estimate_slope(times: npt.ArrayLike, values: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """By how much values grow per unit of time, by least squares, with an interval.

    Args:
        times: [N] evenly spaced.
        values: [N], in that order; 3 or more.
        confidence: Of the interval.

    Source: block bootstrap of the residuals, as in :func:`estimate`: memory stays where it is for long.
    """
    t, y = np.asarray(times, np.float64), np.asarray(values, np.float64)
    t = t - t.mean()
    slope = float(t @ (y - y.mean()) / (t @ t))
    left = y - y.mean() - slope * t
    blocks = _blocks(left, RESAMPLES, np.random.default_rng(SEED), min(BLOCK, max(1, len(left) // 5)))
    drawn = slope + blocks @ t / (t @ t)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value=slope, low=float(low), high=float(high), n=len(y))


def predict(ratios: Sequence[float], confidence: float) -> tuple[float, float, float]:
    """Geometric mean of ratios of independent runs, and where the ratio of one more run is expected.

    Args:
        ratios: Above 0, of 2 runs or more.
        confidence: Of the interval.

    Source: prediction interval of a normal sample with unknown mean and variance, Hahn and Meeker (1991), "Statistical
    Intervals", chapter 4, on logarithms.
    """
    logs = np.log(np.asarray(ratios, np.float64))
    n = len(logs)
    half = student_t(n - 1, confidence) * float(logs.std(ddof=1)) * np.sqrt(1 + 1 / n)
    value, low, high = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half])
    return float(value), float(low), float(high)


def student_t(degrees: int, confidence: float) -> float:
    """What a variable of Student's t distribution exceeds in size with a probability of 1 - confidence.

    Source: with t = sqrt(degrees) tan(a), its density over a is proportional to cos(a) ** (degrees - 1).
    """
    angle = np.linspace(0, np.pi / 2, STEPS)
    density = np.cos(angle) ** (degrees - 1)
    share = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return float(np.sqrt(degrees) * np.tan(np.interp(confidence, share / share[-1], angle)))


def _drawn_percentiles(groups: Sequence[Numbers], percent: float, random: np.random.Generator) -> Numbers:
    """[RESAMPLES] the percentile of each resample."""
    chosen = random.integers(len(groups), size=(RESAMPLES, len(groups)))
    longest = max(map(len, groups))
    drawn = np.full((RESAMPLES, len(groups), longest), np.inf)  # padding sorts behind everything
    counts = np.zeros(RESAMPLES, np.int64)
    for number, group in enumerate(groups):
        rows, slots = np.nonzero(chosen == number)
        drawn[rows, slots, : len(group)] = _blocks(group, len(rows), random, BLOCK)
        np.add.at(counts, rows, len(group))
    ordered = np.sort(drawn.reshape(RESAMPLES, -1), axis=1)
    ranks = np.maximum(np.ceil(percent / 100 * counts - 1e-9).astype(np.int64), 1) - 1
    found: Numbers = ordered[np.arange(RESAMPLES), ranks]
    return found


def _blocks(group: Numbers, count: int, random: np.random.Generator, block: int) -> Numbers:
    """[count, N] resamples of one group, made of blocks of so many neighbours."""
    length = min(block, len(group))
    starts = random.integers(len(group) - length + 1, size=(count, -(-len(group) // length)))
    at = (starts[:, :, None] + np.arange(length)).reshape(count, -1)[:, : len(group)]
    drawn: Numbers = group[at]
    return drawn
