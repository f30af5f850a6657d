"""Operators that move values without computing: where the slices go."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import prod

import numpy as np

from mmedge.types import Array
from mmedge_export.lanes.align import COMBINES, aligned, positive
from mmedge_export.lanes.lane import Followed, Lane, Rule, Step

__all__ = ["LAYOUT"]


def _transpose(step: Step) -> Followed | str:
    order = step.attribute("perm", list(reversed(range(len(step.out)))))
    return step.moved(list(order).index(step.lane.axis))


def _reshape(step: Step) -> Followed | str:
    """The slices keep their place among the values in memory; only the names of the axes change."""
    lane, shape, out = step.lane, step.data, step.out
    ahead = prod(shape[: lane.axis]) * (shape[lane.axis] // (lane.count * lane.inner))
    behind = lane.inner * prod(shape[lane.axis + 1 :])
    for axis in range(len(out)):
        before, after = prod(out[:axis]), prod(out[axis + 1 :])
        if ahead % before == 0 and behind % after == 0 and out[axis] > 1:
            moved = replace(lane, axis=axis, inner=behind // after)
            return step.all_on(moved, partial(_shaped, moved, out))
    return COMBINES


def _shaped(lane: Lane, shape: tuple[int, ...], by: int) -> dict[int, Array]:
    return {1: np.array(lane.shorter(shape, by), np.int64)}


def _expand(step: Step) -> Followed | str:
    if 0 not in step.lanes:
        return COMBINES
    lane = replace(step.lane, axis=step.lane.axis + len(step.out) - len(step.data))
    return step.all_on(lane, partial(_shaped, lane, step.out))


def _concat(step: Step) -> Followed | str:
    (axis,) = positive(step, [step.attribute("axis", 0)])
    return COMBINES if step.lane.axis == axis else aligned(step, dict.fromkeys(range(len(step.node.input)), 0))


def _slice(step: Step) -> Followed | str:
    starts, ends = step.constant(1), step.constant(2)
    if starts is None or ends is None:
        return COMBINES
    axes, steps = step.constant(3), step.constant(4)
    at = list(range(len(starts))) if axes is None else [axis % len(step.data) for axis in axes.tolist()]
    lane = step.lane
    if lane.axis not in at:
        return step.all_on(lane)
    i, size = at.index(lane.axis), step.data[lane.axis]
    if not lane.plain(step.data) or (steps is not None and steps[i] != 1):
        return "picks items"
    begin, end, _ = slice(int(starts[i]), int(ends[i])).indices(size)
    taken = replace(lane, count=end - begin, first=lane.first + begin)

    def edit(by: int) -> dict[int, Array]:
        begins, stops = starts.copy(), ends.copy()
        begins[i], stops[i] = begin, end - by
        return {1: begins, 2: stops}

    return step.all_on(taken, edit)


def _gather(step: Step) -> Followed | str:
    (axis,) = positive(step, [step.attribute("axis", 0)], rank=len(step.shape(0)))
    lane = step.lane
    if set(step.lanes) == {1}:  # a table of embeddings
        return step.moved(lane.axis + axis)
    if set(step.lanes) != {0} or lane.axis == axis:
        return "picks items"
    return step.moved(lane.axis if lane.axis < axis else lane.axis + len(step.shape(1)) - 1)


def _tile(step: Step) -> Followed | str:
    repeats = step.constant(1)
    return COMBINES if repeats is None or repeats[step.lane.axis] != 1 else step.all_on(step.lane)


def _pad(step: Step) -> Followed | str:
    pads, axes = step.constant(1), step.constant(3)
    if pads is None or set(step.lanes) != {0}:
        return COMBINES
    rank = len(step.data)
    at = list(range(rank)) if axes is None else [axis % rank for axis in axes.tolist()]
    padded = {axis for i, axis in enumerate(at) if pads[i] or pads[i + len(at)]}
    return "pads the ends of the window" if step.lane.axis in padded else step.all_on(step.lane)


def _resize(step: Step) -> Followed | str:
    if set(step.lanes) != {0} or step.attribute("axes", None) or step.out[step.lane.axis] != step.data[step.lane.axis]:
        return COMBINES
    if not step.given(3):
        return step.all_on(step.lane)
    return step.all_on(step.lane, lambda by: {3: np.array(step.lane.shorter(step.out, by), np.int64)})


LAYOUT: Mapping[str, Rule] = {
    **dict.fromkeys(["Reshape", "Flatten", "Squeeze", "Unsqueeze"], _reshape),
    "Concat": _concat,
    "Expand": _expand,
    "Gather": _gather,
    "Pad": _pad,
    "Resize": _resize,
    "Slice": _slice,
    "Tile": _tile,
    "Transpose": _transpose,
}
