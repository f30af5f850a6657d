"""Ranges of activations from histograms, in the four usual ways.

Sources: S. Migacz, 8-bit Inference with TensorRT, GTC 2017 (entropy); B. Jacob et al., arXiv 1712.05877 (min-max);
R. Krishnamoorthi, arXiv 1806.08342 (percentiles); Y. Choukroun et al., arXiv 1902.06822 (mean squared error).
"""

import numpy as np
import numpy.typing as npt

from mmedge.calibration import TensorRange
from mmedge.types import Array

__all__ = ["Histogram"]

BINS = 2048
LEVELS = 128  # of a symmetric 8-bit value without its sign
STRIDE = 16  # bins between the magnitudes that are tried
KEPT_SHARE = 0.9999
SMALLEST = 2.0**-100  # magnitudes below are zero to every backend

Counts = npt.NDArray[np.float64]


class Histogram:
    """Magnitudes of one tensor; the order in which its values come does not matter.

    Its width is a power of two that doubles when it must, two bins becoming one, so that one pass over the data gives
    what two would.
    """

    def __init__(self) -> None:
        self.low = np.inf
        self.high = -np.inf
        self._width = SMALLEST
        self._counts = np.zeros(BINS, np.int64)

    def add(self, values: Array) -> bool:
        """Count more values; False, and nothing counted, if some are not finite."""
        if values.size == 0:
            return True
        low, high = float(values.min()), float(values.max())
        if not np.isfinite(low) or not np.isfinite(high):
            return False
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._grow(max(-low, high))
        bins = (np.abs(values.reshape(-1)) * np.float32(BINS / self._width)).astype(np.int64)
        self._counts += np.bincount(np.minimum(bins, BINS - 1), minlength=BINS)
        return True

    def _grow(self, magnitude: float) -> None:
        while magnitude > self._width:
            self._width *= 2
            if self._counts.any():
                self._counts = np.concatenate([self._counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2, np.int64)])

    def range(self) -> TensorRange:
        """What was seen, and where each method would clip it.

        Raises:
            ValueError: Nothing was seen.
        """
        if self.low > self.high:
            raise ValueError("no values were counted")
        magnitude = max(-self.low, self.high, 0.0)
        if magnitude <= SMALLEST:
            return TensorRange(low=self.low, high=self.high, entropy=0.0, percentile=0.0, mse=0.0)
        step = self._width / BINS
        used = int(np.flatnonzero(self._counts)[-1]) + 1
        counts = self._counts[:used].astype(np.float64)

        def limit(bins: int) -> float:
            return float(min(magnitude, bins * step))

        return TensorRange(
            low=self.low,
            high=self.high,
            entropy=limit(_least_divergence(counts)),
            percentile=limit(int(np.searchsorted(np.cumsum(counts), KEPT_SHARE * counts.sum())) + 1),
            mse=limit(_least_error(counts)),
        )


def _candidates(used: int) -> npt.NDArray[np.int64]:
    return np.unique(np.append(np.arange(min(LEVELS, used), used, STRIDE), used))


def _least_divergence(counts: Counts) -> int:
    """Bins to keep so that the clipped and quantized histogram tells least from the whole one.

    The first bin is full of the zeros that a ReLU makes, which every scale represents exactly; it is taken to be
    as full as its neighbour.
    """
    counts = counts.copy()
    counts[0] = counts[1] if len(counts) > 1 else counts[0]
    if not counts.any():
        return len(counts)
    scores = [(_divergence(counts, int(bins)), int(bins)) for bins in _candidates(len(counts))]
    return min(scores)[1]


def _divergence(counts: Counts, bins: int) -> float:
    reference = counts[:bins].copy()
    filled = reference > 0
    reference[-1] += counts[bins:].sum()
    levels = np.arange(bins) * LEVELS // bins
    totals = np.bincount(levels, counts[:bins], LEVELS)
    members = np.bincount(levels, filled, LEVELS)
    spread = np.where(filled, totals[levels] / np.maximum(members[levels], 1), 0)
    if not spread.any():
        return float("inf")
    p, q = reference / reference.sum(), spread / spread.sum()
    inside = p > 0
    return float(np.sum(p[inside] * np.log(p[inside] / np.maximum(q[inside], 1e-12))))


def _least_error(counts: Counts) -> int:
    """Bins to keep so that rounding inside and clipping outside together cost least."""
    centres = np.arange(len(counts)) + 0.5
    scores = []
    for bins in _candidates(len(counts)):
        step = bins / (LEVELS - 1)
        rounding = counts[1:bins].sum() * step**2 / 12  # zeros are exact
        clipping = np.sum(counts[bins:] * (centres[bins:] - bins) ** 2)
        scores.append((float(rounding + clipping), int(bins)))
    return min(scores)[1]
