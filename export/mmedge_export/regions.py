"""Which part of an encoder treats the items of its window alike."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import onnx

from mmedge.manifest import TensorSpec
from mmedge_export.graph import reads, tensor_specs
from mmedge_export.lanes import Followed, Graph, Lane, Step, follow
from mmedge_export.unrolled import Loop, find_loop

__all__ = ["Trail", "border_of", "follow_window", "moving_in", "settled", "without"]

ROUNDS = 4  # a loop may run over what an earlier loop made


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """The items of one port's window, followed through a graph.

    Attributes:
        model: The graph.
        port: The port.
        specs: Of its tensors.
        items: Length of the window.
        lanes: Where the items lie in each tensor that they were followed to.
        steps: How, by the first output of the node.
        loop: What is done to each item by a copy of its own.
        mixing: Why not further, by the position of the node.
    """

    model: onnx.ModelProto
    port: str
    specs: Mapping[str, TensorSpec]
    items: int
    lanes: Mapping[str, Lane]
    steps: Mapping[str, Followed]
    loop: Loop
    mixing: Mapping[int, str]

    @property
    def nodes(self) -> frozenset[int]:
        """Positions of all nodes that keep items apart."""
        followed = {i for i, node in enumerate(self.model.graph.node) if node.output[0] in self.steps}
        return frozenset(followed) | self.loop.nodes | self.loop.joints

    def is_item_wise(self, name: str) -> bool:
        """Whether slice t of a tensor depends on item t alone."""
        lane = self.lanes.get(name)
        return lane is None or (lane.first, lane.span, lane.count) == (0, 1, self.items)

    def is_window(self, name: str) -> bool:
        """Whether a tensor can be put together from what is made of single items."""
        return name in self.lanes and self.lanes[name].whole(self.specs[name].shape)


def follow_window(model: onnx.ModelProto, nodes: Collection[int], port: str, axis: int, size: int = 1) -> Trail:
    """Follow the items of a port's window as far as they are kept apart.

    Args:
        model: The graph, with static shapes.
        nodes: Positions of those that may depend on the port, and on no other.
        port: An input.
        axis: Along which its items lie.
        size: Slices along that axis that make an item.
    """
    specs = tensor_specs(model)
    graph = Graph(model=model, specs=specs)
    items = specs[port].shape[axis] // size
    start = {port: Lane(axis=axis, count=items, inner=size)}
    loop = Loop(copies=(), nodes=frozenset(), joints=frozenset())
    for _ in range(ROUNDS):
        lanes, steps, mixing = _follow_all(graph, nodes, start, loop)
        before, loop = loop, find_loop(graph, nodes, lanes, items)
        if loop == before:
            break
    return Trail(model=model, port=port, specs=specs, items=items, lanes=lanes, steps=steps, loop=loop, mixing=mixing)


def _follow_all(
    graph: Graph, nodes: Collection[int], start: Mapping[str, Lane], loop: Loop
) -> tuple[dict[str, Lane], dict[str, Followed], dict[int, str]]:
    lanes, steps, mixing = dict(start), dict[str, Followed](), dict[int, str]()
    moving = set(start)
    (window,) = start.values()
    for i in sorted(nodes):
        node = graph.model.graph.node[i]
        read = reads(node) & moving
        if not read:
            continue
        moving |= set(node.output)
        if i in loop.joints:
            axis = next(a.i for a in node.attribute if a.name == "axis") % len(graph.specs[node.output[0]].shape)
            inner = graph.specs[node.input[0]].shape[axis]
            lanes[node.output[0]] = Lane(axis=axis, count=window.count, inner=inner)
        elif i not in loop.nodes and read <= lanes.keys() & set(node.input):
            positions = {p: lanes[name] for p, name in enumerate(node.input) if name in read}
            found = follow(Step(node=node, lanes=positions, graph=graph))
            if isinstance(found, str):
                mixing[i] = found
            else:
                lanes |= found.lanes
                steps[node.output[0]] = found
    return lanes, steps, mixing


def settled(trail: Trail, nodes: Iterable[int], wanted: Iterable[str]) -> frozenset[int]:
    """The nodes without those whose results are read outside and are no windows.

    Args:
        trail: Where the items go.
        nodes: Positions of nodes.
        wanted: What is read besides what the other nodes of the trail's graph read.
    """
    region, finals = frozenset(nodes), set(wanted)
    while True:
        wrong = {name for name in border_of(trail, region, finals) if not trail.is_window(name)}
        if not wrong:
            return region
        region = without(trail.model, region, wrong)


def border_of(trail: Trail, region: frozenset[int], wanted: set[str]) -> list[str]:
    """What the region makes, or is given, that others read."""
    nodes = trail.model.graph.node
    read = wanted.union(*(reads(node) for i, node in enumerate(nodes) if i not in region))
    made = [trail.port, *(name for i in sorted(region) for name in nodes[i].output)]
    return [name for name in made if name in read]


def moving_in(model: onnx.ModelProto, nodes: Iterable[int], port: str) -> set[str]:
    """Tensors that depend on the port by way of some nodes."""
    moving = {port}
    for i in sorted(nodes):
        if moving & reads(model.graph.node[i]):
            moving |= set(model.graph.node[i].output)
    return moving


def without(model: onnx.ModelProto, region: frozenset[int], failed: Iterable[str]) -> frozenset[int]:
    """The region without the nodes that made the failed tensors, and without all that depends on those."""
    bad, kept = set(failed), set(region)
    for i in sorted(region):
        node = model.graph.node[i]
        if bad & (reads(node) | set(node.output)):
            bad |= set(node.output)
            kept.discard(i)
    return frozenset(kept)
