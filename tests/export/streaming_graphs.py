"""Streaming models as other tools leave them: what they remember goes in and comes out, made without torch."""

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
WIDTH, SAMPLES, BINS = 8, 256, 16


def value(name: str, shape: Iterable[int | str], kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))


def weights(seed: int, shapes: dict[str, tuple[int, ...]]) -> list[onnx.TensorProto]:
    random = np.random.default_rng(seed)
    return [
        numpy_helper.from_array((0.4 * random.standard_normal(shape)).astype(np.float32), name)
        for name, shape in shapes.items()
    ]


def numbers(**arrays: list[int] | int) -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(np.array(array, np.int64), name) for name, array in arrays.items()]


def model(graph: onnx.GraphProto, *, opset: int, ir: int) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def voice_detector(*, opset: int = 16) -> onnx.ModelProto:
    """Silero's shape: input [batch, N], state [2, batch, 8], a sample rate that chooses a branch."""

    def branch(rate: str, kernel: int, stride: int) -> onnx.GraphProto:
        shapes = {
            "filters": (WIDTH, 1, kernel),
            "w": (1, 4 * WIDTH, WIDTH),
            "r": (1, 4 * WIDTH, WIDTH),
            "b": (1, 8 * WIDTH),
        }
        nodes = [
            helper.make_node("Unsqueeze", ["input", "one"], ["wave"]),
            helper.make_node("Conv", ["wave", "filters"], ["bands"], kernel_shape=[kernel], strides=[stride]),
            helper.make_node("Relu", ["bands"], ["loud"]),
            helper.make_node("Transpose", ["loud"], ["steps"], perm=[2, 0, 1]),
            helper.make_node("Split", ["state", "halves"], ["h", "c"], axis=0),
            helper.make_node("LSTM", ["steps", "w", "r", "b", "", "h", "c"], ["", "h_new", "c_new"], hidden_size=WIDTH),
            helper.make_node("Concat", ["h_new", "c_new"], [f"state_{rate}"], axis=0),
            helper.make_node("Squeeze", ["h_new", "zero"], ["last"]),
            helper.make_node("MatMul", ["last", "head"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], [f"speech_{rate}"]),
        ]
        outputs = [value(f"speech_{rate}", ["batch", 1]), value(f"state_{rate}", [2, "batch", WIDTH])]
        own = [*weights(kernel, shapes | {"head": (WIDTH, 1)}), *numbers(one=[1], zero=[0], halves=[1, 1])]
        return helper.make_graph(nodes, rate, [], outputs, own)

    nodes = [
        helper.make_node("Equal", ["sr", "sixteen"], ["wide"]),
        helper.make_node(
            "If", ["wide"], ["output", "stateN"], then_branch=branch("16k", 32, 16), else_branch=branch("8k", 16, 8)
        ),
    ]
    inputs = [value("input", ["batch", "samples"]), value("state", [2, "batch", WIDTH]), value("sr", [], INT64)]
    outputs = [value("output", ["batch", 1]), value("stateN", ["layers", "batch", WIDTH])]
    return model(helper.make_graph(nodes, "vad", inputs, outputs, numbers(sixteen=16000)), opset=opset, ir=8)


def denoiser(*, opset: int = 11, ir: int = 3) -> onnx.ModelProto:
    """GTCRN's shape: a frame of a spectrum, caches of convolutions, and weights that are inputs as in old files."""
    initial = [
        *weights(3, {"kernel": (4, 2, 3, 3), "back": (2, 4, 1, 1), "mix": (4, 4)}),
        *numbers(begin=[1], end=[9], time=[2]),
    ]
    nodes = [
        helper.make_node("Transpose", ["mix_in"], ["frame"], perm=[0, 3, 2, 1]),  # [1, 2, 1, F]
        helper.make_node("Concat", ["conv_cache", "frame"], ["window"], axis=2),
        helper.make_node("Slice", ["window", "begin", "end", "time"], ["conv_cache_out"]),
        helper.make_node("Conv", ["window", "kernel"], ["c"], kernel_shape=[3, 3], pads=[0, 1, 0, 1]),
        helper.make_node("Tanh", ["c"], ["t"]),
        helper.make_node("ReduceMean", ["t"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "mix"], ["mixed"]),
        helper.make_node("Add", ["mixed", "tra_cache"], ["summed"]),  # [1, 1, 4], a batch axis in the middle
        helper.make_node("Sigmoid", ["summed"], ["tra_cache_out"]),
        helper.make_node("Unsqueeze", ["tra_cache_out"], ["gate"], axes=[3]),  # [1, 1, 4, 1]
        helper.make_node("Transpose", ["gate"], ["gates"], perm=[0, 2, 1, 3]),
        helper.make_node("Mul", ["t", "gates"], ["gated"]),
        helper.make_node("Conv", ["gated", "back"], ["e"], kernel_shape=[1, 1]),
        helper.make_node("Transpose", ["e"], ["enh"], perm=[0, 3, 2, 1]),
    ]
    inputs = [
        value("mix_in", [1, BINS, 1, 2]),
        value("conv_cache", [1, 2, 2, BINS]),
        value("tra_cache", [1, 1, 4]),
        *(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in initial),
    ]
    outputs = [
        value("enh", [1, BINS, 1, 2]),
        value("conv_cache_out", [1, 2, 2, BINS]),
        value("tra_cache_out", [1, 1, 4]),
    ]
    return model(helper.make_graph(nodes, "denoiser", inputs, outputs, initial), opset=opset, ir=ir)


def recognizer(*, opset: int = 13) -> onnx.ModelProto:
    """A streaming Zipformer's shape: features [N, T, C], keys [left, N, D], and a count int64 [N]."""
    nodes = [
        helper.make_node("MatMul", ["x", "wk"], ["k"]),
        helper.make_node("Transpose", ["k"], ["keys"], perm=[1, 0, 2]),  # [T, N, D]
        helper.make_node("Concat", ["cached_key", "keys"], ["all"], axis=0),
        helper.make_node("Slice", ["all", "minus_left", "far", "zero"], ["new_cached_key"]),
        helper.make_node("Transpose", ["all"], ["columns"], perm=[1, 2, 0]),  # [N, D, left + T]
        helper.make_node("MatMul", ["x", "wq"], ["q"]),
        helper.make_node("MatMul", ["q", "columns"], ["scores"]),
        # what was never filled is not attended to
        helper.make_node("Sub", ["left", "processed_lens"], ["unfilled"]),
        helper.make_node("Unsqueeze", ["unfilled", "one_two"], ["edge"]),
        helper.make_node("Less", ["places", "edge"], ["empty"]),
        helper.make_node("Where", ["empty", "low", "scores"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["attended"], axis=-1),
        helper.make_node("Transpose", ["all"], ["rows"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["attended", "rows"], ["encoder_out"]),
        helper.make_node("Add", ["processed_lens", "steps"], ["new_processed_lens"]),
    ]
    left, steps, dim = 6, 4, 8
    initial = [
        *weights(4, {"wk": (12, dim), "wq": (12, dim)}),
        *numbers(minus_left=[-left], far=[1 << 40], zero=[0], one_two=[1, 2], left=left, steps=steps),
        numpy_helper.from_array(np.arange(left + steps, dtype=np.int64).reshape(1, 1, -1), "places"),
        numpy_helper.from_array(np.array(-1e4, np.float32), "low"),
    ]
    inputs = [
        value("x", ["N", steps, 12]),
        value("cached_key", [left, "N", dim]),
        value("processed_lens", ["N"], INT64),
    ]
    outputs = [
        value("encoder_out", ["N", steps, dim]),
        value("new_cached_key", [left, "N", dim]),
        value("new_processed_lens", ["N"], INT64),
    ]
    return model(helper.make_graph(nodes, "recognizer", inputs, outputs, initial), opset=opset, ir=8)


DETECTS = """
[model]
name = "vad"
[model.call]
constants = { sr = RATE }
[inputs.input]
modality = "audio"
rate_hz = RATE
window_ms = 32
hop_ms = 32
[inputs.state]
modality = "state"
shape = [2, 1, 8]
from = "stateN"
[outputs.output]
task = "raw"
"""
DENOISES = """
[model]
name = "denoiser"
[inputs.mix_in]
modality = "tensor"
shape = [16, 1, 2]
rate_hz = 62.5
[inputs.conv_cache]
modality = "state"
shape = [2, 2, 16]
from = "conv_cache_out"
[inputs.tra_cache]
modality = "state"
shape = [1, 4]
from = "tra_cache_out"
[outputs.enh]
task = "raw"
"""
RECOGNIZES = """
[model]
name = "recognizer"
[inputs.x]
modality = "tensor"
shape = [4, 12]
rate_hz = 25
[inputs.cached_key]
modality = "state"
shape = [6, 1, 8]
from = "new_cached_key"
[inputs.processed_lens]
modality = "state"
shape = []
dtype = "int64"
from = "new_processed_lens"
[outputs.encoder_out]
task = "raw"
"""
