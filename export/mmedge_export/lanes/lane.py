"""Where the items of a window lie in each tensor of a graph."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from mmedge.manifest import TensorSpec
from mmedge.types import Array
from mmedge_export.graph import reads
from mmedge_export.weights import weight_values

__all__ = ["Edit", "Followed", "Graph", "Lane", "Rule", "Step"]

Edit = Callable[[int], Mapping[int, Array]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The axis along which items lie.

    It is blocks of ``count`` slices of ``inner`` values each. Slice j depends on the items j + first to
    j + first + span - 1 of the window, and on no other.

    Attributes:
        axis: Of the tensor.
        count: Slices.
        inner: Values of a slice along the axis: more than 1 where the axis was merged with the next ones.
        first: The oldest item that slice 0 depends on.
        span: How many items a slice depends on.
    """

    axis: int
    count: int
    inner: int = 1
    first: int = 0
    span: int = 1

    def plain(self, shape: Sequence[int]) -> bool:
        """Whether an index along the axis is the number of a slice."""
        return shape[self.axis] == self.count

    def whole(self, shape: Sequence[int]) -> bool:
        """Whether each slice is one piece along the axis, and all of them are all of it."""
        return shape[self.axis] == self.count * self.inner

    def shorter(self, shape: Sequence[int], by: int) -> tuple[int, ...]:
        """The shape when the window has so many items less."""
        size = shape[self.axis] // self.count * (self.count - by)
        return (*shape[: self.axis], size, *shape[self.axis + 1 :])


def _unchanged(_: int) -> Mapping[int, Array]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A node that treats all items alike.

    Attributes:
        lanes: By output.
        edit: Given how many items less the window has: what to replace constant inputs with, by their positions.
    """

    lanes: Mapping[str, Lane]
    edit: Edit = _unchanged


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What the rules may know of a graph besides the node at hand."""

    model: onnx.ModelProto
    specs: Mapping[str, TensorSpec]
    _known: dict[str, Array | None] = field(default_factory=dict)

    @cached_property
    def _initializers(self) -> dict[str, onnx.TensorProto]:
        return {tensor.name: tensor for tensor in self.model.graph.initializer}

    @cached_property
    def _producers(self) -> dict[str, int]:
        return {name: i for i, node in enumerate(self.model.graph.node) for name in node.output if name}

    def constant(self, name: str) -> Array | None:
        """The value of a tensor that depends on no port, or None."""
        if name not in self._known:
            tensor = self._initializers.get(name)
            self._known[name] = weight_values(tensor) if tensor is not None else self._computed(name)
        return self._known[name]

    def _computed(self, name: str) -> Array | None:
        nodes: set[int] = set()
        wanted, todo = set[str](), [name]
        while todo:
            tensor = todo.pop()
            if tensor in wanted or tensor in self._initializers:
                wanted.add(tensor)
                continue
            if tensor not in self._producers:
                return None  # a port
            wanted.add(tensor)
            nodes.add(self._producers[tensor])
            todo += reads(self.model.graph.node[self._producers[tensor]])
        graph = helper.make_graph(
            [self.model.graph.node[i] for i in sorted(nodes)],
            "constant",
            [],
            [onnx.ValueInfoProto(name=name)],
            [
                numpy_helper.from_array(weight_values(self._initializers[tensor]), tensor)
                for tensor in sorted(wanted & self._initializers.keys())
            ],
        )
        made = helper.make_model(graph, opset_imports=list(self.model.opset_import))
        results: Any = ReferenceEvaluator(made).run(None, {})
        return np.asarray(results[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One node, and the lanes of those of its inputs that depend on the window.

    Attributes:
        node: The node.
        lanes: By the position of the input.
        graph: All around it.
    """

    node: onnx.NodeProto
    lanes: Mapping[int, Lane]
    graph: Graph

    @property
    def lane(self) -> Lane:
        """Of its only input that has one, or of the first."""
        return self.lanes[min(self.lanes)]

    @property
    def data(self) -> tuple[int, ...]:
        """Shape of the first input that has a lane."""
        return self.shape(min(self.lanes))

    @property
    def out(self) -> tuple[int, ...]:
        """Shape of the first output."""
        return self.graph.specs[self.node.output[0]].shape

    @property
    def outputs(self) -> list[str]:
        """Names of all outputs."""
        return [name for name in self.node.output if name]

    def shape(self, position: int) -> tuple[int, ...]:
        """Shape of an input."""
        return self.graph.specs[self.node.input[position]].shape

    def given(self, position: int) -> bool:
        """Whether there is such an input."""
        return len(self.node.input) > position and bool(self.node.input[position])

    def constant(self, position: int) -> Array | None:
        """Value of an input, if it depends on no port."""
        return self.graph.constant(self.node.input[position]) if self.given(position) else None

    def attribute(self, name: str, default: Any) -> Any:
        """Value of an attribute."""
        found = next((a for a in self.node.attribute if a.name == name), None)
        return default if found is None else helper.get_attribute_value(found)

    def all_on(self, lane: Lane, edit: Edit = _unchanged) -> Followed:
        """Every output has this lane."""
        return Followed(lanes=dict.fromkeys(self.outputs, lane), edit=edit)

    def moved(self, axis: int) -> Followed:
        """Every output has the first lane, on this axis."""
        return self.all_on(replace(self.lane, axis=axis))


Rule = Callable[[Step], Followed | str]
