"""States of graphs of others, where the batch axis is anywhere: an LSTM's are [layers, batch, width]."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mmedge.errors import SpecError
from mmedge_export.branches import renamed
from mmedge_export.graph_check import dims
from mmedge_export.spec import Spec

__all__ = ["with_batched_states"]


def with_batched_states(model: onnx.ModelProto, spec: Spec) -> onnx.ModelProto:
    """The same model, with a batch axis of one put in front of every state whose shape in the spec is its whole shape.

    Args:
        model: It takes the spec's ports and gives what the spec says.
        spec: A state of the shape [2, 1, 64] that the graph takes as [2, batch, 64] gets a batch axis, one that the
            graph takes as [batch, 2, 1, 64] has it already.

    Raises:
        SpecError: A state has another rank or size.
    """
    batched = onnx.ModelProto()
    batched.CopyFrom(model)
    graph = batched.graph
    inputs, outputs = ({value.name: value for value in values} for values in (graph.input, graph.output))
    before: list[onnx.NodeProto] = []
    after: list[onnx.NodeProto] = []
    names: dict[str, str] = {}
    for name, port in spec.ports.items():
        if port.state is None or len(dims(inputs[name])) != len(port.shape):
            continue
        _check(name, dims(inputs[name]), list(port.shape))
        element = inputs[name].type.tensor_type.elem_type
        source = port.state.source
        for tensor, shape, value in ((name, port.shape, inputs[name]), (source, (1, *port.shape), outputs[source])):
            if tensor in names:  # two states are fed from one output
                continue
            names[tensor] = inner = f"{tensor}/unbatched"
            graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), f"{tensor}/shape"))
            way = (tensor, inner) if tensor == name else (inner, tensor)
            reshape = helper.make_node("Reshape", [way[0], f"{tensor}/shape"], [way[1]], name=f"{tensor}/batch")
            (before if tensor == name else after).append(reshape)
            value.CopyFrom(helper.make_tensor_value_info(tensor, element, (1, *port.shape)))
    nodes = [*before, *(renamed(node, names) for node in graph.node), *after]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    return batched


def _check(name: str, shape: list[int | str], given: list[int]) -> None:
    if any(isinstance(size, int) and size != wanted for size, wanted in zip(shape, given, strict=True)):
        raise SpecError(
            f"the state {name} of the graph is {shape}, the spec gives {given}; change the spec, or export it again"
        )
