"""Operators that pair the slices of their inputs, with each other and with constants."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from mmedge.types import Array
from mmedge_export.lanes.lane import Followed, Lane, Step

__all__ = ["BY_PLACE", "COMBINES", "aligned", "merged", "positive", "same_for_all", "shortened"]

COMBINES = "combines items with one another"
BY_PLACE = "treats an item by its place in the window"


def aligned(step: Step, shifts: Mapping[int, int]) -> Followed | str:
    """Inputs whose axis a is axis a + shift of the output; constants are cut to the length of the window."""
    lane = merged(replace(own, axis=own.axis + shifts[i]) for i, own in step.lanes.items())
    if lane is None:
        return COMBINES
    cut = {}
    for i, shift in shifts.items():
        axis = lane.axis - shift
        if i in step.lanes or axis < 0 or step.shape(i)[axis] == 1:
            continue
        constant = step.constant(i)
        if constant is None or not same_for_all(constant, lane, axis):
            return BY_PLACE
        cut[i] = (constant, axis)
    return step.all_on(lane, lambda by: {i: shortened(value, lane, axis, by) for i, (value, axis) in cut.items()})


def merged(lanes: Iterable[Lane]) -> Lane | None:
    """What a slice made of one slice of each lane depends on."""
    found = list(lanes)
    if len({(lane.axis, lane.count, lane.inner) for lane in found}) != 1:
        return None
    first = min(lane.first for lane in found)
    return replace(found[0], first=first, span=max(lane.first + lane.span for lane in found) - first)


def same_for_all(array: Array, lane: Lane, axis: int) -> bool:
    """Whether a constant has the same value for every slice."""
    parts = _parts(array, lane, axis)
    return bool((parts == parts.take([0], axis + 1)).all())


def shortened(array: Array, lane: Lane, axis: int, by: int) -> Array:
    """A constant for a window that has so many items less."""
    parts = _parts(array, lane, axis)
    kept = parts.take(np.arange(lane.count - by), axis + 1)
    short: Array = kept.reshape(*array.shape[:axis], -1, *array.shape[axis + 1 :])
    return short


def _parts(array: Array, lane: Lane, axis: int) -> Array:
    return array.reshape(*array.shape[:axis], -1, lane.count, lane.inner, *array.shape[axis + 1 :])


def positive(step: Step, axes: Iterable[int], rank: int | None = None) -> set[int]:
    """Axes counted from the first one; of the first input with a lane, if no rank is given."""
    size = len(step.data) if rank is None else rank
    return {axis % size for axis in axes}
