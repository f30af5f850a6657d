"""The border with the fewest bytes: what only enlarges a tensor is left to the stages that read it.

Expanding, tiling, converting or padding at the end of an encoder makes what it hands on larger without computing
anything. The smallest set of tensors that still tells the readers everything is a minimum cut of the graph between what
must stay and what reads. It is a trade of bytes only: the moved operators then run whenever a reader runs.
"""

from collections import deque
from collections.abc import Collection, Mapping

import onnx

from mmedge.manifest import TensorSpec
from mmedge_export.graph import reads

__all__ = ["movable_nodes"]

WORTH_MOVING = 2  # the border must become so many times smaller
EVERYTHING = 1 << 62
MOVABLE = frozenset(
    """Add Cast Concat DequantizeLinear Div Expand Flatten Gather Identity Mul Pad Relu Reshape Resize Squeeze Sub Tile
    Transpose Unsqueeze Where""".split()  # noqa: SIM905 - a table
)

Network = dict[str, dict[str, int]]


def movable_nodes(
    graph: onnx.GraphProto, stage: Collection[int], outside: Collection[str], specs: Mapping[str, TensorSpec]
) -> frozenset[int]:
    """Nodes of a stage that its readers should repeat; empty when that makes the border hardly smaller.

    Args:
        graph: The whole graph.
        stage: Positions of those that depend on the ports of the stage and on no others.
        outside: Tensors that others read.
        specs: Of all tensors with static shapes.
    """
    nodes, ports = graph.node, {value.name for value in graph.input}
    kept = {value.name for value in graph.output}
    made = {name: i for i in stage for name in nodes[i].output if name}
    border = sorted(made.keys() & set(outside))
    free = {i for i in stage if nodes[i].op_type in MOVABLE and not kept & set(nodes[i].output)}
    if not free & {made[name] for name in border} or any(name not in specs for name in made):
        return frozenset()
    network: Network = {}
    for name, i in made.items():
        _connect(network, f"in {name}", f"out {name}", specs[name].bytes)
        if i not in free:
            _connect(network, "source", f"in {name}", EVERYTHING)
            continue
        for source in reads(nodes[i]):
            if source in made:
                _connect(network, f"out {source}", f"in {name}", EVERYTHING)
            elif source in ports:  # a port itself is no border
                _connect(network, "source", f"in {name}", EVERYTHING)
    for name in border:
        _connect(network, f"out {name}", "sink", EVERYTHING)
    if _maximum_flow(network) * WORTH_MOVING > sum(specs[name].bytes for name in border):
        return frozenset()
    behind = _reaching_sink(network)
    return frozenset(made[name] for name in made if f"in {name}" in behind and made[name] in free)


def _connect(network: Network, start: str, end: str, capacity: int) -> None:
    network.setdefault(start, {})[end] = capacity
    network.setdefault(end, {}).setdefault(start, 0)


def _maximum_flow(network: Network) -> int:
    """By shortest paths; what is left of each capacity stays in the network.

    Source: J. Edmonds and R. M. Karp, "Theoretical improvements in algorithmic efficiency for network flow problems",
    1972.
    """
    total = 0
    while path := _shortest_path(network):
        flow = min(network[start][end] for start, end in path)
        for start, end in path:
            network[start][end] -= flow
            network[end][start] += flow
        total += flow
    return total


def _shortest_path(network: Network) -> list[tuple[str, str]]:
    came: dict[str, str] = {"source": ""}
    waiting = deque(["source"])
    while waiting and "sink" not in came:
        here = waiting.popleft()
        for there, left in network.get(here, {}).items():
            if left > 0 and there not in came:
                came[there] = here
                waiting.append(there)
    path, end = [], "sink"
    while came.get(end):
        path.append((came[end], end))
        end = came[end]
    return path


def _reaching_sink(network: Network) -> set[str]:
    """What can still send to the sink: behind the cut that is nearest to it."""
    found, waiting = {"sink"}, deque(["sink"])
    while waiting:
        there = waiting.popleft()
        for here in network[there]:
            if network[here][there] > 0 and here not in found:
                found.add(here)
                waiting.append(here)
    return found
