"""Layers of a sequence, written for matrices.

A linear layer over [1, N, K] is traced as MatMul and Add. ONNX Runtime makes each a Gemm between two Reshapes, and its
8-bit form is a product and a sum with a rounding of its own. Without the leading one both are a single operator that
takes its bias along, and so is what lies between them: in a transformer of 64 channels the operators take longer to
start than to compute.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mmedge_export.graph import Shapes, reads, tensor_specs
from mmedge_export.quantize.placement import weights_of

__all__ = ["FLAT", "flattened"]

FLAT = ".flat"  # follows the name of a tensor whose matrix it is
ELEMENTWISE = {"Add", "Div", "Gelu", "Mul", "Relu", "Sigmoid", "Sub", "Tanh"}


def flattened(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model, with linear layers and what is between them as matrices; every number is computed as before.

    Args:
        model: With static shapes and named nodes; products keep their names.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.node[:]
    _Rewriting(model, changed.graph).run()
    return changed


class _Rewriting:
    """Goes through the nodes in order; a tensor exists as it was, as a matrix, or both, as its readers need it."""

    def __init__(self, model: onnx.ModelProto, graph: onnx.GraphProto) -> None:
        self._old, self._graph, self._nodes = model.graph, graph, graph.node
        self._specs: Shapes = tensor_specs(model)
        self._weights = weights_of(model)
        self._there = {value.name for value in model.graph.input} | self._weights.keys()
        self._flat: set[str] = set()
        readers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in reads(node):
                readers.setdefault(name, []).append(node)
        inner = {name for node in model.graph.node for name in reads(node) - set(node.input)}  # by branches and loops
        self._results = {value.name for value in model.graph.output} | inner
        self._only_reader = {
            name: nodes[0] for name, nodes in readers.items() if len(nodes) == 1 and name not in self._results
        }
        self._same: dict[str, str] = {}  # tensors that are matrices already, and by what name
        self._biased: set[str] = set()  # names of Adds that are part of a Gemm now

    def run(self) -> None:
        for node in self._old.node:
            if node.name in self._biased:
                continue
            if not (self._linear(node) or self._between(node)):
                self._as_before(node)
        for value in self._old.output:
            self._whole(value.name)

    def _linear(self, node: onnx.NodeProto) -> bool:
        """MatMul with constant weights, and the Add of a bias behind it."""
        found = self._bias(node)
        if found is None:
            return False
        add, bias = found
        inputs = [self._matrix(node.input[0]), node.input[1], bias]
        self._nodes.append(helper.make_node("Gemm", inputs, [self._made(add.output[0])], name=node.name))
        self._biased.add(add.name)
        return True

    def _bias(self, node: onnx.NodeProto) -> tuple[onnx.NodeProto, str] | None:
        """The Add behind a MatMul, and the name of what it adds, if both are a linear layer of a sequence."""
        if node.op_type != "MatMul" or not self._fits(node.input[0]) or node.input[1] not in self._weights:
            return None
        add = self._only_reader.get(node.output[0])
        if add is None or add.op_type != "Add" or len(self._weights[node.input[1]].dims) != 2:
            return None
        bias = next((name for name in add.input if name != node.output[0]), "")
        fits = bias in self._weights and self._weights[bias].dims == self._weights[node.input[1]].dims[1:]
        return (add, bias) if fits else None

    def _between(self, node: onnx.NodeProto) -> bool:
        """An operator that works on a matrix as well, next to one that already does."""
        if node.op_type == "Reshape" and (node.input[0] in self._flat or self._is_for_product(node)):
            return self._reshape(node)
        dynamic = [name for name in node.input if name not in self._weights]
        axis = next((a.i for a in node.attribute if a.name == "axis"), None)
        if not self._flat & set(dynamic) or len(node.output) != 1 or not self._fits(node.output[0]):
            return False
        if not all(map(self._fits, dynamic)):
            return False
        rowwise = node.op_type == "LayerNormalization" and axis in {None, -1, 2}
        joined = node.op_type == "Concat" and axis in {-1, -2, 1, 2}
        if not (rowwise or joined or node.op_type in ELEMENTWISE):
            return False
        constants = [name for name in node.input if name in self._weights]
        if any(len(self._weights[name].dims) > 2 and not self._fits(name) for name in constants):
            return False
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        del copy.input[:], copy.output[:]
        copy.input.extend(self._matrix(name) if self._fits(name) else name for name in node.input)
        copy.output.append(self._made(node.output[0]))
        for attribute in copy.attribute:
            if attribute.name == "axis" and attribute.i > 0:
                attribute.i -= 1
            elif attribute.name == "axis" and node.op_type == "LayerNormalization":
                attribute.i = -1
        self._nodes.append(copy)
        return True

    def _is_for_product(self, node: onnx.NodeProto) -> bool:
        reader = self._only_reader.get(node.output[0])
        return reader is not None and self._bias(reader) is not None

    def _reshape(self, node: onnx.NodeProto) -> bool:
        """It may read a matrix, or make one: the order of the numbers is the same."""
        source, target = node.input[0], node.output[0]
        spec = self._specs.get(target)
        if spec is None:
            return False
        read, there = self._same.get(source, source), None
        if source in self._flat:
            read, there = source + FLAT, self._specs[source].shape[1:]
        if self._is_for_product(node):
            self._reshaped(read, self._made(target), spec.shape[1:], node.name)
            return True
        if spec.shape == there and target not in self._results:
            self._same[target] = read
        else:
            self._reshaped(read, target, spec.shape, node.name)
        self._there.add(target)
        return True

    def _as_before(self, node: onnx.NodeProto) -> None:
        for name in (*node.input, *sorted(reads(node) - set(node.input))):
            self._whole(name)
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        del copy.input[:]
        copy.input.extend(self._same.get(name, name) for name in node.input)
        self._nodes.append(copy)
        self._there.update(node.output)

    def _fits(self, name: str) -> bool:
        spec = self._specs.get(name)
        if spec is None and name in self._weights:
            shape: Sequence[int] = self._weights[name].dims
            return len(shape) == 3 and shape[0] == 1
        return spec is not None and spec.dtype == "float32" and len(spec.shape) == 3 and spec.shape[0] == 1

    def _made(self, name: str) -> str:
        self._flat.add(name)
        return name + FLAT

    def _matrix(self, name: str) -> str:
        """The name of a tensor as a matrix, which is made now if it was not before."""
        if name not in self._flat:
            if name in self._weights:
                values = numpy_helper.to_array(self._weights[name])
                self._graph.initializer.append(numpy_helper.from_array(values[0], name + FLAT))
            else:
                self._reshaped(name, name + FLAT, self._specs[name].shape[1:], f"{name}{FLAT}")
        return self._made(name)

    def _whole(self, name: str) -> None:
        if name in self._flat and name not in self._there:
            self._reshaped(name + FLAT, name, self._specs[name].shape, f"{name}.whole")
            self._there.add(name)

    def _reshaped(self, source: str, target: str, shape: Sequence[int], name: str) -> None:
        sizes = f"{target}.sizes"
        self._graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), sizes))
        self._nodes.append(helper.make_node("Reshape", [source, sizes], [target], name=name))
