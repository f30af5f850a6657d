"""What each operator does to the items of a window: keeps them apart, or mixes them.

A rule answers with the lanes of the outputs, or with why the operator does not treat all items alike. An operator
without a rule is taken for one that mixes: nothing becomes wrong, less is saved.

Source: the ONNX operator definitions.
"""

from mmedge_export.lanes.align import COMBINES
from mmedge_export.lanes.computing import COMPUTING
from mmedge_export.lanes.lane import Followed, Rule, Step
from mmedge_export.lanes.layout import LAYOUT

__all__ = ["follow"]

RULES: dict[str, Rule] = {**LAYOUT, **COMPUTING}


def follow(step: Step) -> Followed | str:
    """The lanes that a node's outputs have, or why it mixes items."""
    specs, rule = step.graph.specs, RULES.get(step.node.op_type)
    if step.node.domain or rule is None:
        return "is not known to keep items apart"
    if any(name not in specs for name in (*step.node.input, *step.outputs) if name):
        return "has no static shape"
    found = rule(step)
    if isinstance(found, Followed):
        for name in step.outputs:
            lane, shape = found.lanes.get(name), specs[name].shape
            if lane is None or lane.count < 2 or shape[lane.axis] % (lane.count * lane.inner):
                return COMBINES
    return found
