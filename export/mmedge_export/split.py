"""Splits a graph by modality: every node goes to the stage of the ports that it depends on.

The sets of ports that nodes depend on form a partial order: a node reads only from nodes whose set its own contains.
So one stage for each distinct set is always a valid split; single ports give the encoders, all ports the head.
A state is a port like any other, with one difference: it is new at every tick, so that work on states alone is never
saved, and is done by whoever reads it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx

from mmedge.errors import ExportError
from mmedge.manifest import Stage, TensorSpec
from mmedge_export.border import movable_nodes
from mmedge_export.graph import count_macs, reads, tensor_specs

__all__ = ["PlannedStage", "SplitPlan", "plan_split"]

Ports = frozenset[str]
WORTH_SPLITTING = 0.01  # of all multiply-accumulates, private to one sensor


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """One stage and where it comes from.

    Attributes:
        stage: As the manifest will list it.
        nodes: Positions of its nodes in the whole graph; nodes that depend on nothing may be in several stages.
        macs: Multiply-accumulates of one run.
    """

    stage: Stage
    nodes: frozenset[int]
    macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPlan:
    """The stages in an order in which they can run, or the whole graph and why."""

    stages: tuple[PlannedStage, ...]
    kept_whole: str = ""

    @property
    def cut(self) -> tuple[str, ...]:
        """The embeddings: tensors that one stage makes and another reads."""
        made = [name for planned in self.stages for name in planned.stage.outputs]
        read = {name for planned in self.stages for name in planned.stage.inputs}
        return tuple(name for name in made if name in read)


def plan_split(
    model: onnx.ModelProto, states: Collection[str] = (), weights: Mapping[str, Collection[str]] | None = None
) -> SplitPlan:
    """Find the stages of a graph.

    Args:
        model: A checked model with static shapes.
        states: Those of its inputs that are fed back from its outputs.
        weights: Those of its inputs that no sensor gives, and the ports that they count for: what reads them is where
            these meet.

    Returns:
        One stage for each set of ports that nodes depend on. Sets without multiply-accumulates (casts, reshapes) become
        part of their readers. A graph with nothing private to a sensor is kept whole.
    """
    graph, specs = model.graph, tensor_specs(model)
    given = {name: frozenset(named) for name, named in (weights or {}).items()}
    ports = [value.name for value in graph.input if value.name not in given]
    sets = _dependencies(graph, {name: frozenset([name]) for name in ports} | given)
    _refuse_constant_outputs(graph, sets)
    macs = [count_macs(node, specs) for node in graph.node]
    total = sum(macs)
    sensors = [frozenset([name]) for name in ports if name not in states]
    private = sum(cost for cost, ports_of in zip(macs, sets, strict=True) if ports_of in sensors)
    if len(ports) < 2:
        return _whole(graph, ports, macs, "the model has a single input")
    if private < WORTH_SPLITTING * total or not total:
        share = private / total if total else 0.0
        return _whole(graph, ports, macs, f"early fusion: only {share:.1%} of its work depends on one sensor alone")
    moved = _moved(graph, sets, specs)
    return SplitPlan(stages=tuple(_stages(graph, ports, sets, macs, frozenset(states), moved)))


def _dependencies(graph: onnx.GraphProto, given: Mapping[str, Ports]) -> list[Ports]:
    depends = dict(given)
    sets = []
    for node in graph.node:  # ONNX keeps nodes in topological order
        here: Ports = frozenset().union(*(depends.get(name, frozenset()) for name in reads(node)))
        depends.update(dict.fromkeys(node.output, here))
        sets.append(here)
    return sets


def _refuse_constant_outputs(graph: onnx.GraphProto, sets: list[Ports]) -> None:
    alive = {name for node, s in zip(graph.node, sets, strict=True) if s for name in node.output}
    if dead := [value.name for value in graph.output if value.name not in alive]:
        raise ExportError(f"output {dead[0]} does not depend on any input; leave it out of the model or of the spec")


def _moved(graph: onnx.GraphProto, sets: list[Ports], specs: Mapping[str, TensorSpec]) -> frozenset[int]:
    """Nodes that only enlarge what their stage hands on."""
    moved: frozenset[int] = frozenset()
    for s in set(sets) - {frozenset()}:
        stage = [i for i, other in enumerate(sets) if other == s]
        readers = [node for node, other in zip(graph.node, sets, strict=True) if s < other]
        moved |= movable_nodes(graph, stage, set().union(*map(reads, readers)), specs)
    return moved


def _stages(
    graph: onnx.GraphProto,
    ports: list[str],
    sets: list[Ports],
    macs: list[int],
    states: Ports,
    moved: Collection[int],
) -> list[PlannedStage]:
    producer = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    given = {value.name for value in graph.input}
    finals = {value.name for value in graph.output}
    cost = {s: sum(c for c, other in zip(macs, sets, strict=True) if other == s) for s in set(sets)}
    gives_output = {sets[producer[name]] for name in finals}
    kept = {s for s in cost if (cost[s] and not s <= states) or (s and s in gives_output)}
    sets = [frozenset() if i in moved else s for i, s in enumerate(sets)]  # repeated wherever they are read
    order = sorted(kept, key=lambda s: (len(s), [ports.index(name) for name in ports if name in s]))
    members = {
        s: _closure(graph, [i for i, other in enumerate(sets) if other == s], sets, kept, producer) for s in order
    }
    read_by = {s: set().union(*(reads(graph.node[i]) for i in members[s])) for s in order}
    planned = []
    for s in order:
        made = {name for i in members[s] for name in graph.node[i].output if name}
        wanted = finals.union(*(read_by[other] for other in order if other != s))
        own = {name for i in members[s] if sets[i] == s for name in graph.node[i].output}
        stage = Stage(
            name=_name(s, ports),
            ports=tuple(name for name in ports if name in s),
            inputs=_in_graph_order(graph, (read_by[s] - made) & (given | set(producer))),
            outputs=_in_graph_order(graph, own & wanted),
        )
        planned.append(PlannedStage(stage=stage, nodes=members[s], macs=sum(macs[i] for i in members[s])))
    return planned


def _closure(
    graph: onnx.GraphProto, nodes: list[int], sets: list[Ports], kept: Collection[Ports], producer: Mapping[str, int]
) -> frozenset[int]:
    """The nodes, and behind them all those whose own set got no stage: constants, and what is cheap to repeat."""
    members, open_nodes = set(nodes), list(nodes)
    while open_nodes:
        for name in reads(graph.node[open_nodes.pop()]):
            i = producer.get(name)
            if i is not None and i not in members and sets[i] not in kept:
                members.add(i)
                open_nodes.append(i)
    return frozenset(members)


def _in_graph_order(graph: onnx.GraphProto, names: Collection[str]) -> tuple[str, ...]:
    order = [*(value.name for value in graph.input), *(name for node in graph.node for name in node.output)]
    return tuple(name for name in order if name in names)


def _name(s: Ports, ports: list[str]) -> str:
    if len(s) == 1:
        return next(iter(s))
    if len(s) == len(ports):
        return "head" if "head" not in ports else "fusion"
    return "+".join(name for name in ports if name in s)


def _whole(graph: onnx.GraphProto, ports: list[str], macs: list[int], reason: str) -> SplitPlan:
    outputs = tuple(value.name for value in graph.output)
    inputs = tuple(value.name for value in graph.input)
    stage = Stage(name="whole", ports=tuple(ports), inputs=inputs, outputs=outputs)
    nodes = frozenset(range(len(graph.node)))
    return SplitPlan(stages=(PlannedStage(stage=stage, nodes=nodes, macs=sum(macs)),), kept_whole=reason)
