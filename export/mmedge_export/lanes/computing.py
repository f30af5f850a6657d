"""Operators that compute: which axes they combine."""

from collections.abc import Mapping
from dataclasses import replace

from mmedge_export.lanes.align import BY_PLACE, COMBINES, aligned, merged, positive, same_for_all, shortened
from mmedge_export.lanes.lane import Followed, Rule, Step

__all__ = ["COMPUTING"]


def _elementwise(step: Step) -> Followed | str:
    rank = len(step.out)
    return aligned(step, {i: rank - len(step.shape(i)) for i in range(len(step.node.input)) if step.given(i)})


def _first_input(step: Step) -> Followed | str:
    return step.all_on(step.lane) if set(step.lanes) == {0} else COMBINES


def _batched(step: Step) -> Followed | str:
    """Each entry of the first axis is treated alone, with the same weights."""
    return step.all_on(step.lane) if set(step.lanes) == {0} and step.lane.axis == 0 else COMBINES


def _grid_sample(step: Step) -> Followed | str:
    return COMBINES if any(lane.axis for lane in step.lanes.values()) else aligned(step, {0: 0, 1: 0})


def _reduce(step: Step) -> Followed | str:
    given = step.constant(1)
    axes = step.attribute("axes", []) if given is None else given.tolist()
    if not axes and not step.attribute("noop_with_empty_axes", 0):
        return COMBINES
    return _removing(step, positive(step, axes))


def _arg_reduce(step: Step) -> Followed | str:
    return _removing(step, positive(step, [step.attribute("axis", 0)]))


def _removing(step: Step, axes: set[int]) -> Followed | str:
    if step.lane.axis in axes:
        return COMBINES
    gone = 0 if step.attribute("keepdims", 1) else sum(axis < step.lane.axis for axis in axes)
    return step.moved(step.lane.axis - gone)


def _along(default: int) -> Rule:
    """Combines along one axis."""

    def rule(step: Step) -> Followed | str:
        axis = positive(step, [step.attribute("axis", default)])
        return COMBINES if step.lane.axis in axis or 0 not in step.lanes else step.all_on(step.lane)

    return rule


def _normalized_from(step: Step) -> Followed | str:
    (axis,) = positive(step, [step.attribute("axis", -1)])
    return step.all_on(step.lane) if step.lane.axis < axis and set(step.lanes) == {0} else COMBINES


def _batch_norm(step: Step) -> Followed | str:
    return BY_PLACE if step.lane.axis == 1 or set(step.lanes) != {0} else step.all_on(step.lane)


def _convolution(step: Step) -> Followed | str:
    pool = step.node.op_type in {"MaxPool", "AveragePool", "LpPool"}
    if set(step.lanes) != {0} or len(step.outputs) > 1:
        return COMBINES
    if step.lane.axis == 0 or (pool and step.lane.axis == 1):
        return step.all_on(step.lane)
    return _over_items(step) if step.lane.axis > 1 and step.node.op_type != "ConvTranspose" else COMBINES


def _over_items(step: Step) -> Followed | str:
    """A kernel that runs along the window: without padding, every slice of its output is made in the same way.

    In steps of one it looks at neighbours; in steps as long as itself, which divide an item, it stays inside of items.
    """
    lane, sizes = step.lane, len(step.data) - 2
    at = lane.axis - 2
    kernel = step.attribute("kernel_shape", None) or list(step.shape(1)[2:])
    reach = (kernel[at] - 1) * step.attribute("dilations", [1] * sizes)[at]
    pads = step.attribute("pads", [0] * 2 * sizes)
    told = f"combines {kernel[at]} neighbouring items"
    if pads[at] or pads[at + sizes] or step.attribute("auto_pad", b"NOTSET") not in {b"NOTSET", b"VALID"}:
        return f"{told}, with padding at the ends of the window"
    stride = step.attribute("strides", [1] * sizes)[at]
    if reach < stride and lane.inner % stride == 0 and not step.attribute("ceil_mode", 0):
        return step.all_on(replace(lane, inner=lane.inner // stride))
    if stride != 1 or not lane.plain(step.data):
        return f"{told}, not in steps of one"
    return step.all_on(replace(lane, count=lane.count - reach, span=lane.span + reach))


def _global_pool(step: Step) -> Followed | str:
    return step.all_on(step.lane) if step.lane.axis < 2 else COMBINES


def _matmul(step: Step) -> Followed | str:
    ranks = [len(step.shape(0)), len(step.shape(1))]
    if min(ranks) < 2:
        return step.all_on(step.lane) if set(step.lanes) == {0} and step.lane.axis < ranks[0] - 1 else COMBINES
    contracted = {0: ranks[0] - 1, 1: ranks[1] - 2}
    if any(lane.axis == contracted[i] for i, lane in step.lanes.items()):
        return COMBINES
    rank = len(step.out)
    if any(lane.axis + rank - ranks[i] >= rank - 2 for i, lane in step.lanes.items()):  # rows of one side: no partner
        return step.moved(step.lane.axis + rank - ranks[min(step.lanes)]) if len(step.lanes) == 1 else COMBINES
    return aligned(step, {i: rank - ranks[i] for i in (0, 1)})


def _gemm(step: Step) -> Followed | str:
    rows = {0: 1 if step.attribute("transA", 0) else 0}
    if set(step.lanes) - {0, 2} or 0 not in step.lanes or step.lanes[0].axis != rows[0]:
        return COMBINES
    shifts = {0: -rows[0]}
    if step.given(2):
        shifts[2] = 2 - len(step.shape(2))
    return aligned(step, shifts)


def _einsum(step: Step) -> Followed | str:
    equation = step.attribute("equation", b"").decode().replace(" ", "")
    terms, arrow, out = equation.partition("->")
    inputs = terms.split(",")
    letters = {inputs[i][lane.axis] for i, lane in step.lanes.items()} if arrow and "." not in equation else set()
    if len(letters) != 1 or not letters <= set(out):
        return COMBINES
    (letter,) = letters
    if any(letter in term for i, term in enumerate(inputs) if i not in step.lanes):
        return BY_PLACE
    lane = merged(replace(own, axis=out.index(letter)) for own in step.lanes.values())
    return COMBINES if lane is None else step.all_on(lane)


def _recurrent(step: Step) -> Followed | str:
    """X is [T, B, C], Y [T, directions, B, C], states [directions, B, C]: entries of the batch are treated alone."""
    if set(step.lanes) != {0} or step.lane.axis != 1 or step.attribute("layout", 0):
        return "carries a state from item to item"
    if step.given(4):  # lengths of the sequences
        return BY_PLACE
    lanes = {name: replace(step.lane, axis=1 if i else 2) for i, name in enumerate(step.node.output) if name}
    states = {i: step.constant(i) for i in (5, 6) if step.given(i)}
    known = {i: state for i, state in states.items() if state is not None and same_for_all(state, step.lane, 1)}
    if len(known) < len(states):
        return BY_PLACE
    return Followed(lanes=lanes, edit=lambda by: {i: shortened(state, step.lane, 1, by) for i, state in known.items()})


ELEMENTWISE = """Abs Acos Add And Asin Atan BitShift Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater
GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg
Not Or PRelu Pow Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Tan Tanh
ThresholdedRelu Where Xor"""
REDUCED = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"

COMPUTING: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE.split(), _elementwise),
    **dict.fromkeys([f"Reduce{kind}" for kind in REDUCED.split()], _reduce),
    **dict.fromkeys(["Cast", "Dropout"], _first_input),
    **dict.fromkeys(["ArgMax", "ArgMin"], _arg_reduce),
    **dict.fromkeys(["Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "TopK"], _along(-1)),
    "Split": _along(0),
    **dict.fromkeys(["LayerNormalization", "RMSNormalization"], _normalized_from),
    **dict.fromkeys(["InstanceNormalization", "GroupNormalization", "DepthToSpace", "SpaceToDepth"], _batched),
    "GridSample": _grid_sample,
    **dict.fromkeys(["BatchNormalization", "LRN"], _batch_norm),
    **dict.fromkeys(["Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"], _convolution),
    **dict.fromkeys(["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"], _global_pool),
    **dict.fromkeys(["GRU", "LSTM", "RNN"], _recurrent),
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Einsum": _einsum,
}
