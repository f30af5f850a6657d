"""How far a front end may be off in float32: bounds of every value, from the samples that it is made of.

A transform in float32 is off by a share of the largest terms in its sums, whatever their total is: a quiet bin beside a
loud one has a large relative error, and the logarithm shows it. One number for all values would hide errors where it is
loud or refuse rounding where it is quiet. So the bounds are carried through the computation in float64: powers between
two limits, which filters, logarithms and clamps keep in order.

Source: Higham and Mary, A new approach to probabilistic rounding error analysis, SIAM J. Sci. Comput. 41(5), 2019: a
sum of n products is off by at most CONFIDENCE * sqrt(n) units of rounding times the sum of their absolute values,
whatever the order, but for a probability of 2 n exp(-CONFIDENCE ** 2 / 2) at most; in practice by far less.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmedge.features.settings import AudioSettings
from mmedge_export.front_tables import FrontTables, front_tables, mel_of

__all__ = ["Bounds", "front_end_bounds"]

Floats = npt.NDArray[np.float64]

UNIT = 2.0**-24  # float32 rounds by at most this share of a value
CONFIDENCE = 5.0
STEPS = 8  # roundings of one value after another between the filters and the tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bounds:
    """Features of a window in float64, and how far float32 may be off.

    Attributes:
        values: In the layout of the port.
        radius: The same shape.
    """

    values: Floats
    radius: Floats


def front_end_bounds(samples: npt.NDArray[np.float32], settings: AudioSettings) -> Bounds:
    """The features of one window with their bounds.

    Args:
        samples: [window_samples] in -1..1.
        settings: Of the port.

    Raises:
        SpecError: See :func:`~mmedge_export.front_tables.front_tables`.
    """
    mel, tables = mel_of(settings), front_tables(settings)
    padded = samples.astype(np.float64)[tables.positions] * tables.factors
    frames = np.lib.stride_tricks.sliding_window_view(padded, tables.kernel.shape[1])[:: tables.hop]
    low, middle, high = _powers(frames, tables.kernel)
    energy = None
    if mel.energy == "spectrum":
        energy = _log_total((low, middle, high), mel.floor)
    elif mel.energy == "frame":
        energy = _log_total(_squares(frames, tables.energy_kernel), mel.floor)
    if mel.power == 1:
        low, middle, high = np.sqrt(low), np.sqrt(middle), np.sqrt(high)
    summing = _summing(tables.weights.shape[1])
    logs = [
        _logarithm(powers @ tables.weights.T * (1 + sign * summing), mel.floor, tables, add=mel.floor_mode == "add")
        for powers, sign in ((low, -1), (middle, 0), (high, 1))
    ]
    values = logs[1]
    radius = np.maximum(logs[2] - values, values - logs[0]) + STEPS * UNIT * np.maximum(1, np.abs(values))
    if mel.coefficients:
        size = np.abs(tables.cosines)
        radius = radius @ size.T + _summing(len(size[0])) * np.abs(values) @ size.T
        values = values @ tables.cosines.T
    if energy is not None:
        order = (1, 0) if mel.dct == "htk" else (0, 1)
        values = np.concatenate([(energy[0], values)[i] for i in order], axis=1)
        radius = np.concatenate([(energy[1], radius)[i] for i in order], axis=1)
    mean, std = np.array(settings.mean), np.array(settings.std)
    radius = (radius + STEPS * UNIT * (np.abs(values) + np.abs(mean))) / np.abs(std)
    return Bounds(values=_laid_out((values - mean) / std, settings), radius=_laid_out(radius, settings))


def _summing(terms: int) -> float:
    """Share of the absolute values of so many products that their sum may be off by."""
    return CONFIDENCE * float(np.sqrt(terms + 2)) * UNIT  # two more: the table is rounded, and the product


def _powers(frames: Floats, kernel: Floats) -> tuple[Floats, Floats, Floats]:
    """Least, exact and largest [T, K] of the squared real plus the squared imaginary parts."""
    halves = _squares(frames, kernel)
    least, exact, largest = (np.add(*np.split(half, 2, axis=1)) for half in halves)
    return least, exact, largest


def _squares(frames: Floats, kernel: Floats) -> tuple[Floats, Floats, Floats]:
    products = np.abs(frames @ kernel.T)
    off = np.abs(frames) @ np.abs(kernel.T) * _summing(kernel.shape[1])
    least, largest = np.maximum(products - off, 0) ** 2, (products + off) ** 2
    return least * (1 - 4 * UNIT), products**2, largest * (1 + 4 * UNIT)


def _log_total(powers: tuple[Floats, Floats, Floats], floor: float) -> tuple[Floats, Floats]:
    """[T, 1] logarithms of the totals, and how far they may be off."""
    summing = _summing(powers[0].shape[1])
    low, middle, high = (
        np.log(np.maximum(each.sum(axis=1, keepdims=True) * (1 + sign * summing), floor))
        for each, sign in zip(powers, (-1, 0, 1), strict=True)
    )
    return middle, np.maximum(high - middle, middle - low) + STEPS * UNIT * np.maximum(1, np.abs(middle))


def _logarithm(energies: Floats, floor: float, tables: FrontTables, *, add: bool) -> Floats:
    logs = np.log(energies + floor if add else np.maximum(energies, floor)) / tables.log_step + tables.log_offset
    return np.maximum(logs, logs.max() - tables.top) if tables.top else logs


def _laid_out(rows: Floats, settings: AudioSettings) -> Floats:
    """[T, values] to the layout."""
    plain = settings.layout.replace("C", "")
    laid = rows if plain == "TM" else rows.T
    return np.expand_dims(laid, settings.layout.index("C")) if "C" in settings.layout else laid
