"""8-bit graphs for ONNX Runtime on CPUs: asymmetric u8 activations and s8 weights, which VNNI and DOT units multiply.

The rules of ONNX Runtime's own quantizer place Q and DQ, because its optimiser recognises what they make; the ranges,
and which operators take part, are ours.
"""

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import shape_inference
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from mmedge.calibration import Method, TensorRange
from mmedge_export.quantize.flatten import FLAT, flattened
from mmedge_export.quantize.placement import followers, products, quantized_inputs
from mmedge_export.quantize.reductions import faster_reductions
from mmedge_export.quantize.tidy import tidied
from mmedge_export.quantize.weights import eight_bit_weights

__all__ = ["int8_cpu", "weights_only"]


def int8_cpu(
    model: onnx.ModelProto,
    ranges: Mapping[str, TensorRange],
    method: Method,
    exact: Collection[str] = (),
    wide: Collection[str] = (),
) -> onnx.ModelProto:
    """A stage for ONNX Runtime's CPU provider.

    Args:
        model: The fp32 stage, nodes named, shapes static.
        ranges: Of its activations.
        method: How they are clipped.
        exact: Products that stay as they are, because they cost accuracy.
        wide: Products that compute in float32 with weights stored in 8 bits, because they are faster so.
    """
    chosen = [name for name in products(model) if name not in exact and name not in wide]
    prepared = flattened(faster_reductions(model, quantized_inputs(model, chosen)))
    if chosen:
        nodes = [*chosen, *followers(prepared, chosen)]
        types = {node.op_type for node in prepared.graph.node if node.name in nodes}
        quantizer = QDQQuantizer(
            shape_inference.infer_shapes(prepared),
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=_tensors_data(ranges, method),
            nodes_to_quantize=nodes,
            nodes_to_exclude=[],
            op_types_to_quantize=sorted(types),
            extra_options={"WeightSymmetric": True, "ActivationSymmetric": False},
        )
        prepared = _without_detours(quantizer.quantize_model(), nodes)
    return tidied(eight_bit_weights(prepared, exact), model)


def weights_only(model: onnx.ModelProto, exact: Collection[str] = ()) -> onnx.ModelProto:
    """A stage that computes in float32 and stores its weights in 8 bits."""
    return tidied(eight_bit_weights(flattened(faster_reductions(model)), exact), model)


def _without_detours(model: onnx.ModelProto, small: Collection[str]) -> onnx.ModelProto:
    """Let operators on floats read what is there as floats, not what was rounded for an 8-bit neighbour.

    An 8-bit Gemm writes floats as well as bytes, at no cost.

    Args:
        model: It is changed.
        small: Names of the operators on 8-bit values.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    results = {value.name for value in graph.output}
    for quantize in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        source = quantize.input[0]
        maker = makers.get(source)
        if maker is not None and maker.name in small and maker.op_type != "Gemm":
            continue
        for dequantize in _readers(graph, quantize.output[0]):
            rounded = dequantize.output[0]
            for reader in _readers(graph, rounded):
                if reader.name not in small:
                    reader.input[:] = [source if name == rounded else name for name in reader.input]
            if rounded not in results and not _readers(graph, rounded):
                graph.node.remove(dequantize)
        if not _readers(graph, quantize.output[0]):
            graph.node.remove(quantize)
    return model


def _readers(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    return [node for node in graph.node if name in node.input]


def _tensors_data(ranges: Mapping[str, TensorRange], method: Method) -> TensorsData:
    data = {}
    for name, given in ranges.items():
        low, high = given.clipped(method)
        data[name] = data[name + FLAT] = TensorData(
            lowest=np.array(low, np.float32), highest=np.array(high, np.float32)
        )
    return TensorsData(CalibrationMethod.MinMax, data)
