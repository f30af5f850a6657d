"""Branches of a graph that are decided before it runs: a sample rate, a flag, a shape."""

from collections.abc import Mapping

import onnx
from onnx import helper

from mmedge.types import Array

__all__ = ["renamed", "take_branches"]


def take_branches(graph: onnx.GraphProto, known: Mapping[str, Array]) -> bool:
    """Put what runs in the place of every ``If`` whose condition is a constant; whether there was one.

    Args:
        graph: It is changed.
        known: Values of tensors that depend on no input.
    """
    nodes, taken = [], False
    for node in graph.node:
        if node.op_type != "If" or node.domain or node.input[0] not in known:
            nodes.append(node)
            continue
        wanted = "then_branch" if bool(known[node.input[0]].reshape(-1)[0]) else "else_branch"
        branch = next(attribute.g for attribute in node.attribute if attribute.name == wanted)
        nodes += _inlined(graph, branch, list(node.output))
        taken = True
    if taken:
        del graph.node[:]
        graph.node.extend(nodes)
    return taken


def _inlined(graph: onnx.GraphProto, branch: onnx.GraphProto, outputs: list[str]) -> list[onnx.NodeProto]:
    """The nodes of a branch, its own tensors under names that nobody else has; its weights join those of the graph."""
    own = [name for node in branch.node for name in node.output if name]
    own += [tensor.name for tensor in branch.initializer]
    names = {name: f"{outputs[0]}/{name}" for name in own}
    for tensor in branch.initializer:
        added = graph.initializer.add()
        added.CopyFrom(tensor)
        added.name = names[tensor.name]
    nodes = [renamed(node, names) for node in branch.node]
    given = (names.get(value.name, value.name) for value in branch.output)
    return [
        *nodes,
        *(helper.make_node("Identity", [inside], [name]) for inside, name in zip(given, outputs, strict=True)),
    ]


def renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """The same node with other names of tensors, in its sub-graphs as well."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(name, name) for name in node.input]
    copy.output[:] = [names.get(name, name) for name in node.output]
    for attribute in copy.attribute:
        for inner in (attribute.g, *attribute.graphs):
            if not inner.node:
                continue
            hidden = {value.name for value in (*inner.input, *inner.initializer)}
            seen = {name: new for name, new in names.items() if name not in hidden}
            for i, child in enumerate(inner.node):
                inner.node[i].CopyFrom(renamed(child, seen))
            for value in inner.output:
                value.name = seen.get(value.name, value.name)
    return copy
