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
        prepared = _float_results(quantizer.quantize_model(), chosen)
    return tidied(eight_bit_weights(prepared, exact), model)


def weights_only(model: onnx.ModelProto, exact: Collection[str] = ()) -> onnx.ModelProto:
    """A stage that computes in float32 and stores its weights in 8 bits."""
    return tidied(eight_bit_weights(flattened(faster_reductions(model)), exact), model)


def _float_results(model: onnx.ModelProto, chosen: Collection[str]) -> onnx.ModelProto:
    """Without Q and DQ behind a Gemm that only float operators read: its 8-bit kernel writes float32 as well."""
    graph = model.graph
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    results = {value.name for value in graph.output}
    for node in list(graph.node):
        if node.op_type != "Gemm" or node.name not in chosen or node.output[0] in results:
            continue
        quantize = readers.get(node.output[0], [])
        dequantize = readers.get(quantize[0].output[0], []) if len(quantize) == 1 else []
        after = [reader for each in dequantize for reader in readers.get(each.output[0], [])]
        if [each.op_type for each in quantize] != ["QuantizeLinear"] or not after:
            continue
        if any(reader.op_type == "QuantizeLinear" or _is_small(reader, readers) for reader in after):
            continue
        for each in dequantize:
            for reader in readers[each.output[0]]:
                reader.input[:] = [node.output[0] if name == each.output[0] else name for name in reader.input]
            graph.node.remove(each)
        graph.node.remove(quantize[0])
    return model


def _is_small(node: onnx.NodeProto, readers: Mapping[str, list[onnx.NodeProto]]) -> bool:
    """Whether all that it makes is quantized again."""
    after = [reader for name in node.output for reader in readers.get(name, [])]
    return all(reader.op_type == "QuantizeLinear" for reader in after)


def _tensors_data(ranges: Mapping[str, TensorRange], method: Method) -> TensorsData:
    data = {}
    for name, given in ranges.items():
        low, high = given.clipped(method)
        data[name] = data[name + FLAT] = TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
    return TensorsData(CalibrationMethod.MinMax, data)
