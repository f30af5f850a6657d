"""Half precision by the types of the graph: float16 or bfloat16, with float32 where values or operators need it."""

from collections.abc import Collection, Iterator, Mapping
from typing import Literal

import numpy as np
import onnx
from ml_dtypes import bfloat16
from onnx import defs, helper, numpy_helper, shape_inference

from mmedge.calibration import TensorRange
from mmedge.types import Array
from mmedge_export.quantize.placement import weights_of
from mmedge_export.quantize.tidy import at_opset, tidied

__all__ = ["Half", "halved", "overflowing"]

Half = Literal["float16", "bfloat16"]
ELEMENT = {"float16": onnx.TensorProto.FLOAT16, "bfloat16": onnx.TensorProto.BFLOAT16}
HALF_LARGEST = 65504.0
MARGIN = 2.0  # data that was not seen may be this much larger
BFLOAT16_OPSET = 22  # the first whose convolutions take it
FLOAT = onnx.TensorProto.FLOAT


def overflowing(model: onnx.ModelProto, ranges: Mapping[str, TensorRange]) -> set[str]:
    """Nodes that read or make values which float16 cannot hold, weights included."""
    large = {name for name, given in ranges.items() if max(-given.low, given.high) * MARGIN > HALF_LARGEST}
    for name, tensor in weights_of(model).items():
        if tensor.data_type == FLOAT:
            values = numpy_helper.to_array(tensor)
            if values.size and float(np.abs(values).max()) > HALF_LARGEST:
                large.add(name)
    return {node.name for node in model.graph.node if large & {*node.input, *node.output}}


def halved(model: onnx.ModelProto, half: Half = "float16", wide: Collection[str] = ()) -> onnx.ModelProto:
    """A stage that computes in half precision; its inputs and outputs stay float32.

    Args:
        model: Nodes named, shapes static. Values between Q and DQ stay as they are.
        half: Which kind; bfloat16 needs opset 22 and gets it.
        wide: Nodes that stay float32; so do those that the standard does not define for half precision.

    Raises:
        ExportError: The graph cannot be brought to opset 22.
    """
    changed = at_opset(model, BFLOAT16_OPSET) if half == "bfloat16" else model
    copy = onnx.ModelProto()
    copy.CopyFrom(changed)
    floats = _float_tensors(copy)
    converted = {node.name for node in copy.graph.node if node.name not in wide and _can_be(half, node, copy, floats)}
    borders = _Borders(copy.graph, half, converted, floats)
    for node in copy.graph.node:
        borders.rewire(node)
        if node.name in converted:
            _convert_attributes(node, half)
    borders.close()
    return tidied(copy, model)


class _Borders:
    """Casts and small weights where a graph goes from one precision to the other."""

    def __init__(self, graph: onnx.GraphProto, half: Half, converted: Collection[str], floats: Collection[str]) -> None:
        self._graph, self._half, self._converted, self._floats = graph, half, converted, floats
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._small = {name for node in graph.node if node.name in converted for name in node.output if name in floats}
        self._finals = sorted({value.name for value in graph.output} & self._small)
        self._casts: dict[str, onnx.NodeProto] = {}
        self._stored: dict[str, onnx.TensorProto] = {}

    def rewire(self, node: onnx.NodeProto) -> None:
        """Let a node read and make tensors of its own precision."""
        for place, name in enumerate(node.input):
            if name in self._floats:
                small = node.name in self._converted and place not in _float_places(node)
                node.input[place] = self._weight(name, small) if name in self._weights else self._tensor(name, small)
        for place, name in enumerate(node.output):
            if name in self._finals:
                node.output[place] = f"{name}.small"

    def close(self) -> None:
        """Give the graph its float32 outputs, and everything that was made on the way."""
        for name in self._finals:
            self._cast(f"{name}.small", name, FLOAT)
        self._graph.node.extend(self._casts.values())
        self._graph.initializer.extend(self._stored.values())

    def _weight(self, name: str, small: bool) -> str:  # noqa: FBT001 - which precision is asked for
        if not small:
            return name
        stored = f"{name}.{self._half}"
        if stored not in self._stored:
            self._stored[stored] = _small(numpy_helper.to_array(self._weights[name]), stored, self._half)
        return stored

    def _tensor(self, name: str, small: bool) -> str:  # noqa: FBT001 - which precision is asked for
        is_small = name in self._small
        source = f"{name}.small" if name in self._finals else name
        if is_small == small:
            return source
        if name in self._finals:
            return name  # its float32 form is an output
        return self._cast(
            source, f"{name}.{self._half if small else 'float32'}", ELEMENT[self._half] if small else FLOAT
        )

    def _cast(self, source: str, target: str, element: int) -> str:
        self._casts[target] = helper.make_node("Cast", [source], [target], name=f"{target}.Cast", to=element)
        return target


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    """Names of all float32 tensors, weights included."""
    inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    found = {value.name for value in values if value.type.tensor_type.elem_type == FLOAT}
    return found | {tensor.name for tensor in inferred.initializer if tensor.data_type == FLOAT}


def _can_be(half: Half, node: onnx.NodeProto, model: onnx.ModelProto, floats: Collection[str]) -> bool:
    """Whether the standard defines the operator for half precision at all places where it has float32 now."""
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        return False  # loops and branches read tensors from outside
    version = next(entry.version for entry in model.opset_import if entry.domain == node.domain)
    if not defs.has(node.op_type, node.domain):
        return False
    schema = defs.get_schema(node.op_type, version, node.domain)
    allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    pairs = [*_formal(schema.inputs, node.input), *_formal(schema.outputs, node.output)]
    places = [kind for kind, name in pairs if name in floats]
    return bool(places) and all(
        f"tensor({half})" in allowed.get(kind, [kind]) or kind == "tensor(float)" for kind in places
    )


def _formal(formal: Collection[defs.OpSchema.FormalParameter], names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Each name with the type of its formal parameter; the last one takes the rest."""
    parameters = list(formal)
    for place, name in enumerate(names):
        yield parameters[min(place, len(parameters) - 1)].type_str, name


def _float_places(node: onnx.NodeProto) -> set[int]:
    """Inputs that the standard defines for float32 only."""
    return {1, 2} if node.op_type == "Resize" else set()


def _convert_attributes(node: onnx.NodeProto, half: Half) -> None:
    for attribute in node.attribute:
        if attribute.name in {"to", "dtype"} and attribute.i == FLOAT:
            attribute.i = ELEMENT[half]
        if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == FLOAT:
            attribute.t.CopyFrom(_small(numpy_helper.to_array(attribute.t), attribute.t.name, half))


def _small(values: Array, name: str, half: Half) -> onnx.TensorProto:
    if half == "float16":
        limited = np.clip(values, -HALF_LARGEST, HALF_LARGEST)
        return numpy_helper.from_array(np.asarray(limited, np.float16), name)
    small = np.asarray(values, np.float32).astype(bfloat16)
    return helper.make_tensor(name, onnx.TensorProto.BFLOAT16, small.shape, small.tobytes(), raw=True)
