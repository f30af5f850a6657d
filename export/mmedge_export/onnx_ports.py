"""A graph of somebody else's brought to a spec: its inputs by name, at the spec's shapes, at batch 1."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mmedge.errors import SpecError
from mmedge.types import Array
from mmedge_export.graph import extract
from mmedge_export.graph_check import dims
from mmedge_export.onnx_states import with_batched_states
from mmedge_export.spec import Spec

__all__ = ["fixed_shapes", "graph_inputs", "prune", "with_constants"]

WEIGHTS_APART = 4  # before this version of the format, every weight is an input, too


def graph_inputs(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """What a caller must give: inputs that no initialiser stands for."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return {value.name: value for value in model.graph.input if value.name not in weights}


def with_constants(model: onnx.ModelProto, spec: Spec) -> onnx.ModelProto:
    """A model with the spec's inputs and outputs and no others; ``model.call.constants`` become part of it.

    Every input and every state has a batch axis in front.

    Raises:
        SpecError: It takes or gives something that the spec does not name, or the other way round.
    """
    _check_names(model, spec)
    fitted = onnx.ModelProto()
    fitted.CopyFrom(model)
    fitted.ir_version = max(model.ir_version, WEIGHTS_APART)
    constants = spec.call.constants
    weights = [tensor for tensor in fitted.graph.initializer if tensor.name not in constants]
    del fitted.graph.initializer[:]  # an initialiser of the same name is the input's default
    fitted.graph.initializer.extend(weights)
    for value in model.graph.input:
        if value.name in constants:
            fitted.graph.initializer.append(
                numpy_helper.from_array(_constant(value, constants[value.name]), value.name)
            )
    kept = {value.name: value for value in graph_inputs(fitted).values()}
    del fitted.graph.input[:]
    fitted.graph.input.extend(kept[name] for name in spec.ports)
    outputs = {value.name: value for value in model.graph.output}
    del fitted.graph.output[:]
    fitted.graph.output.extend(outputs[name] for name in spec.returns)
    return with_batched_states(fitted, spec)


def fixed_shapes(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> tuple[onnx.ModelProto, list[str]]:
    """A model with exactly the shapes of these arrays, and what symbolic axes other than the batch were fixed.

    Args:
        model: It takes these inputs and nothing else.
        inputs: One array for each, batch axis included.

    Raises:
        SpecError: An input has another dtype, rank or size.
    """
    fixed, notes = onnx.ModelProto(), list[str]()
    fixed.CopyFrom(model)
    symbols: dict[str, int] = {}
    for value in fixed.graph.input:
        array = inputs[value.name]
        _check_dtype(value, array)
        shape = dims(value)
        _check_shape(value.name, shape, list(array.shape))
        for axis, (named, size) in enumerate(zip(shape, array.shape, strict=True)):
            if isinstance(named, int):
                continue
            if named and symbols.setdefault(named, size) != size:
                raise SpecError(
                    f"the axis {named!r} of {value.name} is {size}, of another input it is {symbols[named]}"
                )
            value.type.tensor_type.shape.dim[axis].dim_value = size
            if axis:
                notes.append(
                    f"axis {axis} of {value.name} ({named or 'symbolic'}) is fixed at {size}, as the spec says"
                )
    del fixed.graph.value_info[:]
    for value in fixed.graph.output:
        del value.type.tensor_type.shape.dim[:]
        value.type.tensor_type.ClearField("shape")
    return fixed, notes


def prune(model: onnx.ModelProto, spec: Spec) -> onnx.ModelProto:
    """What the spec's outputs need, in the spec's order."""
    return extract(model, range(len(model.graph.node)), list(spec.ports), spec.returns, "whole")


def _check_names(model: onnx.ModelProto, spec: Spec) -> None:
    given = list(graph_inputs(model))
    wanted = [*spec.ports, *(name for name in spec.call.constants if name in given)]
    if sorted(given) != sorted(wanted):
        raise SpecError(
            f"the graph takes {', '.join(given)}, the spec gives {', '.join(spec.ports)}; names must be the same: a "
            'recurrent state is an input with modality = "state", a constant stands under [model.call] constants'
        )
    outputs = [value.name for value in model.graph.output]
    if missing := [name for name in spec.returns if name not in outputs]:
        raise SpecError(f"the graph has no output {missing[0]}; it gives {', '.join(outputs)}")


def _constant(value: onnx.ValueInfoProto, given: Any) -> Array:
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    shape = [size if isinstance(size, int) else 1 for size in dims(value)]
    try:
        return np.broadcast_to(np.asarray(given, dtype), shape).copy()
    except (TypeError, ValueError, OverflowError) as error:
        raise SpecError(
            f"model.call.constants.{value.name} = {given!r} does not fit {dtype} {shape}: {error}"
        ) from error


def _check_dtype(value: onnx.ValueInfoProto, array: Array) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    if dtype != array.dtype:
        raise SpecError(
            f"input {value.name} of the graph is {dtype}, the port gives {array.dtype}; export the graph with "
            f"{array.dtype} inputs"
        )


def _check_shape(name: str, shape: list[Any], given: list[int]) -> None:
    if len(shape) != len(given) or any(isinstance(s, int) and s != g for s, g in zip(shape, given, strict=True)):
        raise SpecError(
            f"input {name} of the graph is {shape}, the spec gives {given}; change the spec, or export it again"
        )
