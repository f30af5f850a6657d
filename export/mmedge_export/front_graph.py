"""The audio front end as nodes in front of a graph: what a GPU would otherwise wait for the host to compute.

TensorRT has no Fourier transform, so it is a convolution. All nodes' names begin with ``front_end/``: they must stay in
float32, because the powers of one window span more than float16 can hold and their logarithm shows it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from mmedge.features.settings import AudioSettings
from mmedge_export.front_tables import FrontTables, front_tables, mel_of
from mmedge_export.weights import check_whole

__all__ = ["FRONT_END", "behind_front_end", "features_of", "front_end_model", "read_features"]

FRONT_END = "front_end/"


def features_of(port: str) -> str:
    """Name of the tensor that the front end of a port makes."""
    return f"{port}.front_end"


def front_end_model(port: str, settings: AudioSettings, like: onnx.ModelProto) -> onnx.ModelProto:
    """The front end alone.

    Args:
        port: Name of its input, [1, N] float32 in -1..1; its output is ``features_of(port)``, [1, ...] float32.
        settings: Of the port.
        like: A model of the opset and IR version that it shall have; opset 13 at least.

    Raises:
        SpecError: A graph cannot compute what is asked.
    """
    nodes, constants = _front_end(port, settings)
    made = _value(features_of(port), _feature_shape(settings))
    given = _value(port, (settings.window_samples,))
    graph = helper.make_graph(nodes, f"{port}.front_end", [given], [made], constants)
    model = helper.make_model(graph, opset_imports=list(like.opset_import), ir_version=like.ir_version)
    model.producer_name = "mmedge"
    check_whole(model)
    return model


def behind_front_end(model: onnx.ModelProto, port: str, settings: AudioSettings) -> onnx.ModelProto:
    """The same model on samples, with the front end of one of its inputs in front.

    Args:
        model: It takes features; it is not changed.
        port: The input.
        settings: Of the port.

    Raises:
        SpecError: A graph cannot compute what is asked.
    """
    nodes, constants = _front_end(port, settings)
    joined = onnx.ModelProto()
    joined.CopyFrom(model)
    read_features(joined.graph, port)
    rest = list(joined.graph.node)
    del joined.graph.node[:]
    joined.graph.node.extend([*nodes, *rest])
    joined.graph.initializer.extend(constants)
    given = next(value for value in joined.graph.input if value.name == features_of(port))
    given.CopyFrom(_value(port, (settings.window_samples,)))
    check_whole(joined)
    return joined


def read_features(graph: onnx.GraphProto, port: str) -> None:
    """Rename a graph's input, in place and in graphs inside, to what the front end makes of it."""
    for value in graph.input:
        value.name = features_of(port) if value.name == port else value.name
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = features_of(port) if name == port else name
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                read_features(inner, port)
    for value in graph.output:  # of a branch that only hands the input on
        value.name = features_of(port) if value.name == port else value.name


class _Chain:
    """Nodes one after another, and their constants."""

    def __init__(self, port: str) -> None:
        self.prefix = f"{FRONT_END}{port}/"
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def put(self, operator: str, *inputs: str | npt.NDArray[Any], **attributes: Any) -> str:
        """Append a node; floats among its inputs become float32 constants. The name of what it makes."""
        name = f"{self.prefix}{operator.lower()}_{len(self.nodes)}"
        names = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        self.nodes.append(helper.make_node(operator, names, [name], name=name, **attributes))
        return name

    def _constant(self, values: npt.NDArray[Any]) -> str:
        name = f"{self.prefix}constant_{len(self.constants)}"
        plain = np.asarray(values, np.float32 if values.dtype.kind == "f" else np.int64)
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(plain), name))
        return name


def _front_end(port: str, settings: AudioSettings) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    mel, tables, chain = mel_of(settings), front_tables(settings), _Chain(port)
    frames = _padded(chain, port, tables, settings.window_samples)
    transform = _strided(chain, frames, tables.kernel, tables.hop)
    squares = chain.put("Mul", transform, transform)
    parts = chain.put("Reshape", squares, np.array([1, 2, -1, tables.frames]))
    spectrum = chain.put("ReduceSum", parts, np.array([1]), keepdims=0)  # [1, K, T]
    energy = ""
    if mel.energy == "spectrum":
        energy = _log_total(chain, spectrum, mel.floor)
    elif mel.energy == "frame":
        samples = _strided(chain, frames, tables.energy_kernel, tables.hop)
        energy = _log_total(chain, chain.put("Mul", samples, samples), mel.floor)
    if mel.power == 1:
        spectrum = chain.put("Sqrt", spectrum)
    energies = chain.put("MatMul", tables.weights[None], spectrum)  # [1, M, T]
    features = _logarithm(chain, energies, settings, tables)
    if mel.coefficients:
        features = chain.put("MatMul", tables.cosines[None], features)
    if energy:
        features = chain.put("Concat", *((features, energy) if mel.dct == "htk" else (energy, features)), axis=1)
    _laid_out(chain, _normalised(chain, features, settings), settings)
    chain.nodes[-1].output[0] = features_of(port)
    return chain.nodes, chain.constants


def _padded(chain: _Chain, samples: str, tables: FrontTables, given: int) -> str:
    """[1, N] to [1, 1, L]."""
    length = len(tables.positions)
    as_many = length <= given < length + tables.hop  # frames, also without leaving out what is left over
    if not as_many or (tables.positions != np.arange(length)).any():
        samples = chain.put("Gather", samples, tables.positions, axis=1)
    if (tables.factors != 1).any():
        samples = chain.put("Mul", samples, tables.factors[None])
    return chain.put("Reshape", samples, np.array([1, 1, -1]))


def _strided(chain: _Chain, samples: str, kernel: npt.NDArray[np.float64], hop: int) -> str:
    """[1, 1, L] to [1, rows of the kernel, T]."""
    return chain.put("Conv", samples, kernel[:, None], kernel_shape=[kernel.shape[1]], strides=[hop])


def _log_total(chain: _Chain, powers: str, floor: float) -> str:
    """[1, K, T] to [1, 1, T]."""
    total = chain.put("ReduceSum", powers, np.array([1]), keepdims=1)
    return chain.put("Log", chain.put("Max", total, np.array([floor])))


def _logarithm(chain: _Chain, energies: str, settings: AudioSettings, tables: FrontTables) -> str:
    mel = mel_of(settings)
    raised = chain.put("Max" if mel.floor_mode == "max" else "Add", energies, np.array([mel.floor]))
    logs = chain.put("Log", raised)
    if tables.log_step != 1:
        logs = chain.put("Mul", logs, np.array([1 / tables.log_step]))
    if tables.log_offset:
        logs = chain.put("Add", logs, np.array([tables.log_offset]))
    if tables.top:
        largest = chain.put("ReduceMax", logs, keepdims=1)
        logs = chain.put("Max", logs, chain.put("Sub", largest, np.array([tables.top])))
    return logs


def _normalised(chain: _Chain, features: str, settings: AudioSettings) -> str:
    mean, std = (np.array(values)[None, :, None] for values in (settings.mean, settings.std))
    if mean.any():
        features = chain.put("Sub", features, mean)
    return chain.put("Div", features, std) if (std != 1).any() else features


def _laid_out(chain: _Chain, features: str, settings: AudioSettings) -> None:
    """[1, M, T] to the layout."""
    shape, layout = _feature_shape(settings), settings.layout
    if layout.replace("C", "") == "TM":
        features = chain.put("Transpose", features, perm=[0, 2, 1])
    if "C" in layout:
        chain.put("Reshape", features, np.array([1, *shape]))


def _feature_shape(settings: AudioSettings) -> Sequence[int]:
    mel = mel_of(settings)
    sizes = {"C": 1, "T": mel.frames_in(settings.window_samples), "M": mel.values}
    return [sizes[axis] for axis in settings.layout]


def _value(name: str, shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, *shape])
