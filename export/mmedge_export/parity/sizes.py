"""Axes that a graph leaves open: whether it is really open there, and computes the same at several sizes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from mmedge.errors import ExportError
from mmedge.types import Array
from mmedge_export.graph_check import dims
from mmedge_export.isolate import run_each
from mmedge_export.parity.cases import Feed
from mmedge_export.parity.comparison import Comparison, compare, loose_tolerance, noise_tolerance

__all__ = ["SymbolicAxis", "compare_batch", "compare_sizes", "other_sizes", "resized", "symbolic_axes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolicAxis:
    """An axis without a fixed size.

    Attributes:
        name: Its name in the graph, or "INPUT axis N".
        places: Inputs that have it, and as which axis.
    """

    name: str
    places: tuple[tuple[str, int], ...]

    @property
    def is_batch(self) -> bool:
        """Whether it is the first axis of whatever has it."""
        return all(axis == 0 for _, axis in self.places)


def symbolic_axes(model: onnx.ModelProto) -> list[SymbolicAxis]:
    """Every axis that the inputs of a graph leave open, those of the same name together."""
    found: dict[str, list[tuple[str, int]]] = {}
    for value in model.graph.input:
        for axis, size in enumerate(dims(value)):
            if not isinstance(size, int):
                found.setdefault(size or f"{value.name} axis {axis}", []).append((value.name, axis))
    return [SymbolicAxis(name=name, places=tuple(places)) for name, places in found.items()]


def other_sizes(size: int) -> list[int]:
    """Sizes to try besides the one that is exported: a smaller one, and one that is not a multiple of it."""
    return sorted({max(1, size // 2), size + 1} - {size})


def resized(feed: Feed, axis: SymbolicAxis, size: int) -> dict[str, Array]:
    """A feed with another size along one axis: cut off, or gone through once more from the beginning."""
    changed = dict(feed)
    for name, position in axis.places:
        changed[name] = np.take(feed[name], np.arange(size), axis=position, mode="wrap")
    return changed


def compare_sizes(
    first: Path,
    write_second: Callable[[Feed, Path], object],
    axis: SymbolicAxis,
    feeds: Sequence[Feed],
    outputs: Sequence[str],
    folder: Path,
) -> list[Comparison]:
    """The outputs of two graphs at sizes that were not exported.

    Args:
        first: A graph in which the axis is open; its noise is measured by feeds that differ in their last bit.
        write_second: Writes the other graph for the shapes of a feed, or the same one each time.
        axis: The axis.
        feeds: Of the size to try, and the same nudged in their last bit; two for each size.
        outputs: Their names.
        folder: For temporary files.

    Raises:
        ExportError: One of them cannot be run at a size: the axis is open in name only.
    """
    rows = []
    made = run_each(first, feeds)
    for feed, exact, noisy in zip(feeds[::2], made[::2], made[1::2], strict=True):
        name, position = axis.places[0]
        case = f"{axis.name} = {feed[name].shape[position]}"
        second = folder / "at_size.onnx"
        write_second(feed, second)
        (given,) = run_each(second, [feed])
        expected = {name: exact[name].astype(np.float64)[np.newaxis] for name in outputs}
        allowed = noise_tolerance(expected, {name: noisy[name].astype(np.float64)[np.newaxis] for name in outputs})
        rows += compare(
            "the original file against the ONNX graph",
            expected,
            {name: given[name][np.newaxis] for name in outputs},
            allowed,
            case,
        )
    return rows


def compare_batch(path: Path, feeds: Sequence[Feed], outputs: Sequence[str]) -> list[Comparison]:
    """Samples one by one against the same in one batch, in a graph that leaves its batch axis open.

    Raises:
        ExportError: It cannot be run on a batch, or does not give one row for each sample.
    """
    batch = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
    *alone, together = run_each(path, [*feeds, batch])
    expected = {name: np.concatenate([row[name] for row in alone]) for name in outputs}
    given = {name: together[name] for name in outputs}
    for name in outputs:
        if given[name].shape != expected[name].shape:
            raise ExportError(f"{name} becomes {list(given[name].shape)} then, expected {list(expected[name].shape)}")
    # other kernels for another batch may round otherwise; axes mixed up are a far larger difference
    return compare(
        f"the original file on one sample against a batch of {len(feeds)}", expected, given, loose_tolerance(expected)
    )
