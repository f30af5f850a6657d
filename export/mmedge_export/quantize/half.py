"""Half precision by the types of the graph: float16 or bfloat16, with float32 where values or operators need it."""

from collections.abc import Collection, Iterator, Mapping
from typing import Literal

import numpy as np
import onnx
from ml_dtypes import bfloat16
from onnx import defs, helper, numpy_helper, shape_inference, version_converter

from mmedge.calibration import TensorRange
from mmedge.errors import ExportError
from mmedge.types import Array
from mmedge_export.quantize.placement import weights_of
from mmedge_export.quantize.tidy import tidied

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
    changed = _at_opset(model, BFLOAT16_OPSET) if half == "bfloat16" else model
    copy = onnx.ModelProto()
    copy.CopyFrom(changed)
    graph = copy.graph
    floats = _float_tensors(copy)
    weights = weights_of(copy)
    converted = {node.name for node in graph.node if node.name not in wide and _can_be(half, node, copy, floats)}
    made = {name for node in graph.node if node.name in converted for name in node.output if name in floats}
    finals = {value.name for value in graph.output} & made
    extra: dict[str, onnx.NodeProto] = {}

    def read_as(name: str, element: int) -> str:
        """The name under which a tensor can be read in one precision."""
        if (name in made) == (element != FLOAT):
            return f"{name}.made" if name in finals else name
        cast = f"{name}.{'wide' if element == FLOAT else 'half'}"
        if cast not in extra and name in weights:
            values = numpy_helper.to_array(weights[name])
            graph.initializer.append(_small(values, cast, half))
        elif cast not in extra:
            source = f"{name}.made" if name in finals else name
            extra[cast] = helper.make_node("Cast", [source], [cast], name=f"{cast}.Cast", to=element)
        return cast

    held: set[str] = set()
    for node in graph.node:
        element = ELEMENT[half] if node.name in converted else FLOAT
        for place, name in enumerate(node.input):
            if name in floats:
                kept_wide = element != FLOAT and place in _float_places(node)
                if element != FLOAT and name in weights and not kept_wide:
                    if f"{name}.half" not in held:
                        graph.initializer.append(_small(numpy_helper.to_array(weights[name]), f"{name}.half", half))
                        held.add(f"{name}.half")
                    node.input[place] = f"{name}.half"
                elif name not in weights:
                    node.input[place] = read_as(name, FLOAT if kept_wide else element)
        if element != FLOAT:
            _convert_attributes(node, half)
        for place, name in enumerate(node.output):
            if name in finals:
                node.output[place] = f"{name}.made"
    for name in sorted(finals):
        extra[name] = helper.make_node("Cast", [f"{name}.made"], [name], name=f"{name}.Cast", to=FLOAT)
    graph.node.extend(extra.values())
    return tidied(copy, model)


def _at_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    try:
        newer: onnx.ModelProto = version_converter.convert_version(model, opset)
    except (RuntimeError, ValueError, version_converter.ConvertError) as error:
        raise ExportError(
            f"the graph cannot be brought to opset {opset}: {' '.join(str(error).split())[:200]}"
        ) from error
    newer.ir_version = model.ir_version
    return newer


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
