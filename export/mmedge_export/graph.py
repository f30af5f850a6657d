"""Reading and cutting ONNX graphs: what a node reads, what shapes are, what a part costs."""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod

import numpy as np
import onnx
from onnx import helper, shape_inference

from mmedge.errors import ExportError
from mmedge.manifest import TensorSpec
from mmedge_export.graph_facts import MODULE
from mmedge_export.weights import check_whole

__all__ = ["count_macs", "extract", "module_of", "reaching", "reads", "stripped", "tapped", "tensor_specs"]

Shapes = Mapping[str, TensorSpec]
NAME_SCOPES = "pkg.torch.onnx.name_scopes"
WRAPPED = "model"  # the attribute under which named.Named holds the user's module
COUNTED_RNN = {"GRU": 3, "LSTM": 4, "RNN": 1}


def reads(node: onnx.NodeProto) -> set[str]:
    """Names of all tensors that a node needs, those that its sub-graphs take from outside included."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            inner = {value.name for value in (*graph.input, *graph.initializer)}
            for child in graph.node:
                names |= reads(child) - inner
                inner |= set(child.output)
            names |= {value.name for value in graph.output if value.name not in inner}
    return names


def tensor_specs(model: onnx.ModelProto) -> dict[str, TensorSpec]:
    """Shape and dtype of every tensor whose shape is static, those of sub-graphs included, by name."""
    inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    specs: dict[str, TensorSpec] = {}
    for graph in _graphs(inferred.graph):
        specs |= _specs(graph)
    return specs


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph after its sub-graphs."""
    for node in graph.node:
        for inner in _subgraphs(node):
            yield from _graphs(inner)
    yield graph


def _subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [g for attribute in node.attribute for g in (attribute.g, *attribute.graphs) if g.node]


def _specs(graph: onnx.GraphProto) -> dict[str, TensorSpec]:
    specs = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        sizes = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim]
        if tensor.HasField("shape") and min(sizes, default=0) >= 0:
            dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
            specs[value.name] = TensorSpec(shape=tuple(sizes), dtype=dtype)
    for tensor in graph.initializer:
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type).name
        specs[tensor.name] = TensorSpec(shape=tuple(tensor.dims), dtype=dtype)
    return specs


def count_macs(node: onnx.NodeProto, specs: Shapes) -> int:
    """Multiply-accumulates of one node; 0 for operators that are not convolutions, matrix products or recurrences.

    Of branches the most expensive one counts, and the body of a loop counts once.

    Source: the ONNX operator definitions of Conv, ConvTranspose, Gemm, MatMul, Einsum, GRU, LSTM and RNN, and of what
    does the same on integers.
    """
    if inner := _subgraphs(node):
        return max(sum(count_macs(child, specs) for child in graph.node) for graph in inner)
    weight = 3 if node.op_type.startswith("QLinear") else 1  # after the scale and the zero point of the first input
    read = [node.input[i] for i in (0, weight) if i < len(node.input)]
    if any(name not in specs for name in (*read, *node.output[:1]) if name) or not node.output or not node.output[0]:
        return 0
    shapes, out = [specs[name].shape for name in read if name], prod(specs[node.output[0]].shape)
    if node.op_type in {"Conv", "ConvInteger", "QLinearConv"}:
        return out * prod(shapes[1][1:])
    if node.op_type == "ConvTranspose":
        return prod(shapes[0]) * prod(shapes[1][1:])
    if node.op_type in {"MatMul", "MatMulInteger", "QLinearMatMul"}:
        return out * shapes[0][-1]
    if node.op_type == "Gemm":
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return out * shapes[0][0 if transposed else -1]
    if node.op_type == "Einsum" and len(node.input) == 2:
        return out * _summed(next(a.s.decode() for a in node.attribute if a.name == "equation"), shapes)
    if node.op_type in COUNTED_RNN:
        steps, batch, width = shapes[0]
        directions, rows, _ = shapes[1]
        hidden = rows // COUNTED_RNN[node.op_type]
        return steps * batch * directions * rows * (width + hidden)
    return 0


def _summed(equation: str, shapes: Sequence[tuple[int, ...]]) -> int:
    """Products that are added up for one value of an einsum."""
    inputs, arrow, out = equation.replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    for term, shape in zip(inputs.split(","), shapes, strict=True):
        first, dots, last = term.partition("...")
        sizes |= dict(zip(first, shape, strict=False))
        sizes |= dict(zip(reversed(last), reversed(shape), strict=False)) if dots else {}
    kept = set(out) if arrow else {letter for letter in sizes if inputs.count(letter) == 1}
    return prod(size for letter, size in sizes.items() if letter not in kept)


def extract(
    model: onnx.ModelProto, nodes: Iterable[int], inputs: Sequence[str], outputs: Sequence[str], name: str
) -> onnx.ModelProto:
    """A model of some of the nodes, with the initialisers that they read and nothing else.

    Args:
        model: Shapes of the named inputs and outputs must be inferable.
        nodes: Positions in the graph.
        inputs: Tensors to be given.
        outputs: Tensors to be made.
        name: Of the new graph.

    Raises:
        ExportError: An input or output has no static shape.
    """
    specs = tensor_specs(model)
    if unknown := [tensor for tensor in (*inputs, *outputs) if tensor not in specs]:
        first = next(node for node in model.graph.node if any(out not in specs for out in node.output if out))
        raise ExportError(
            f"the tensor {unknown[0]!r} has no static shape, so stage {name} cannot be cut out: {first.op_type} "
            f"{first.name or first.output[0]!r} makes a size that is not known before it runs; write it without"
        )
    chosen, needed = reaching([model.graph.node[i] for i in sorted(nodes)], inputs, outputs)
    graph = helper.make_graph(
        chosen,
        name,
        [_value(tensor, specs) for tensor in inputs],
        [_value(tensor, specs) for tensor in outputs],
        [tensor for tensor in model.graph.initializer if tensor.name in needed],
    )
    part = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    part.functions.extend(model.functions)
    part.producer_name = "mmedge"
    _strip(part)
    check_whole(part)
    return part


def module_of(node: onnx.NodeProto) -> str:
    """The module of the user's model that a node came from, e.g. ``camera.layers.3.first``, or "".

    Source: torch.onnx writes the names of the modules around each node, the outermost being our own wrapper.
    """
    notes = {str(entry.key): str(entry.value) for entry in node.metadata_props}
    if MODULE in notes:
        return notes[MODULE]
    try:
        scopes = ast.literal_eval(notes.get(NAME_SCOPES, "[]"))
    except (SyntaxError, ValueError):  # notes of another tool
        return ""
    inner = scopes[-2] if isinstance(scopes, list) and len(scopes) > 1 else ""
    return inner.removeprefix(WRAPPED).removeprefix(".") if isinstance(inner, str) else ""


def stripped(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model without what an exporter notes beside the graph: paths and lines of the user's machine.

    The name of each node's module stays, so that a device that cannot take a node can say where it comes from.
    """
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    _strip(plain)
    return plain


def _strip(part: onnx.ModelProto) -> None:
    del part.metadata_props[:]
    part.doc_string = ""
    for function in part.functions:
        del function.metadata_props[:]
        function.doc_string = ""
        _strip_nodes(function.node)
    _strip_graph(part.graph)


def _strip_graph(graph: onnx.GraphProto) -> None:
    del graph.metadata_props[:]
    graph.doc_string = ""
    for noted in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        del noted.metadata_props[:]
        noted.doc_string = ""
    _strip_nodes(graph.node)


def _strip_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    for node in nodes:
        module = module_of(node)
        del node.metadata_props[:]
        if module:
            node.metadata_props.add(key=MODULE, value=module)
        node.doc_string = ""
        for attribute in node.attribute:
            attribute.doc_string = ""
            for graph in (attribute.g, *attribute.graphs) if attribute.HasField("g") or attribute.graphs else ():
                _strip_graph(graph)


def tapped(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """The same model, which gives some tensors inside as further outputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return copy


def reaching(
    nodes: Sequence[onnx.NodeProto], inputs: Sequence[str], outputs: Sequence[str]
) -> tuple[list[onnx.NodeProto], set[str]]:
    """The nodes that the outputs need, and every tensor that those read."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if (needed - set(inputs)) & set(node.output):
            kept.append(node)
            needed |= reads(node)
    return kept[::-1], needed


def _value(name: str, specs: Shapes) -> onnx.ValueInfoProto:
    spec = specs[name]
    element = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return helper.make_tensor_value_info(name, element, list(spec.shape))
