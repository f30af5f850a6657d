"""Which operators of a stage are worth 8-bit values, and what follows from choosing some of them."""

from collections.abc import Collection, Mapping

import onnx

from mmedge_export.graph import Shapes, count_macs, tensor_specs

__all__ = ["PRODUCTS", "followers", "named", "products", "quantized_inputs", "stem", "weights_of"]

PRODUCTS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
MOVERS = {
    *("Clip", "Concat", "Flatten", "MaxPool", "Relu", "Reshape", "Slice", "Split", "Squeeze", "Transpose"),
    "Unsqueeze",
}
JOINS = {"Add", "AveragePool", "GlobalAveragePool"}
NARROW = 8  # channels; below, the CPU's 8-bit convolutions gather single bytes and are slower than float ones


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model, where every node has a name of its own."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    taken: set[str] = set()
    for place, node in enumerate(copy.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{place}_{next(iter(node.output), '')}"
        taken.add(node.name)
    return copy


def products(model: onnx.ModelProto) -> dict[str, int]:
    """Names of the matrix products and convolutions of float32 numbers, and their multiply-accumulates.

    Args:
        model: With static shapes and named nodes.
    """
    specs = tensor_specs(model)
    return {
        node.name: count_macs(node, specs)
        for node in model.graph.node
        if node.op_type in PRODUCTS and _is_float(node, specs)
    }


def stem(model: onnx.ModelProto) -> set[str]:
    """Convolutions of few channels, as the first one of a picture or a spectrogram."""
    specs = tensor_specs(model)
    return {
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and node.input[1] in specs and specs[node.input[1]].shape[1] < NARROW
        and all(a.name != "group" or a.i == 1 for a in node.attribute)
    }  # fmt: skip


def followers(model: onnx.ModelProto, chosen: Collection[str]) -> list[str]:
    """Operators between the chosen ones that can stay with 8-bit values: sums, pools, and what only moves values.

    Args:
        model: With named nodes.
        chosen: Names of products that take 8-bit values.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    small = set(quantized_inputs(model, chosen))
    found = []
    for node in model.graph.node:  # in the order in which they run
        dynamic = [name for name in node.input if name and name not in weights]
        if node.name in chosen:
            small |= set(node.output)
        elif dynamic and node.op_type in MOVERS | JOINS and set(dynamic) <= small:
            found.append(node.name)
            small |= set(node.output)
    return _without_last(model, chosen, found)


def _without_last(model: onnx.ModelProto, chosen: Collection[str], found: list[str]) -> list[str]:
    """Without sums, and what moves the results of matrix products, where only operators on floats read them.

    A sum is made once as well from floats, and the 8-bit kernel of a Gemm writes floats itself.
    """
    kept, matrices, read = {*chosen, *found}, set[str](), set[str]()
    weights = weights_of(model)
    for node in model.graph.node:
        dynamic = {name for name in node.input if name and name not in weights}
        if node.name in kept and (node.op_type in {"Gemm", "MatMul"} or (node.name in found and dynamic <= matrices)):
            matrices |= set(node.output)
    for node in reversed(model.graph.node):
        last = node.name in found and not read & set(node.output)
        if last and (node.op_type in JOINS or set(node.output) <= matrices):
            kept.discard(node.name)
        if node.name in kept:
            read |= set(node.input)
    return [name for name in found if name in kept]


def quantized_inputs(model: onnx.ModelProto, chosen: Collection[str]) -> dict[str, str]:
    """Tensors that the chosen products read, or that these are only another shape of, and which one is read."""
    weights = {tensor.name for tensor in model.graph.initializer}
    read = {name: name for node in model.graph.node if node.name in chosen for name in node.input[:2]}
    for node in reversed(model.graph.node):
        if node.op_type == "Reshape" and node.output[0] in read:
            read.setdefault(node.input[0], read[node.output[0]])
    return {name: source for name, source in read.items() if name not in weights}


def weights_of(model: onnx.ModelProto) -> Mapping[str, onnx.TensorProto]:
    """Initialisers by name."""
    return {tensor.name: tensor for tensor in model.graph.initializer}


def _is_float(node: onnx.NodeProto, specs: Shapes) -> bool:
    return all(name in specs and specs[name].dtype == "float32" for name in node.input[:2])
