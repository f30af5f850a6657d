"""Graphs of picture and sound for quantization: a tame one, and one that it breaks."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SPEC = """
[model]
name = "{name}"
factory = "none:none"

[inputs.image]
modality = "camera"
size = [16, 16]
rate_hz = 15
layout = "CHW"
mean = [0.5]
std = [0.25]

[inputs.audio]
modality = "audio"
rate_hz = 16000
window_ms = 500
hop_ms = 20
features = "log-mel"
convention = "kaldi"
mels = 20
layout = "TM"
mean = [8.0]
std = [4.0]

[outputs.event]
task = "classification"
labels = ["a", "b", "c"]
activation = "softmax"
"""


def raw(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Pictures of several brightnesses and sounds of several pitches."""
    random = np.random.default_rng(seed)
    light = random.uniform(30, 220, (count, 1, 1, 3))
    image = np.clip(light + random.normal(0, 25, (count, 16, 16, 3)), 0, 255).astype(np.uint8)
    t = np.arange(8000) / 16000
    pitch, level = random.uniform(200, 4000, (count, 1)), random.uniform(0.05, 0.6, (count, 1))
    audio = level * np.sin(2 * np.pi * pitch * t) + 0.01 * random.standard_normal((count, 8000))
    return {"image": image, "audio": audio.astype(np.float32)}


FRAMES = 48
NODES = [
    ("Conv", ["image", "w1", "b1"], "c1", {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    ("Relu", ["c1"], "r1", {}),
    ("Conv", ["r1", "w2"], "c2", {"pads": [1, 1, 1, 1]}),
    ("Relu", ["c2"], "r2", {}),
    ("Add", ["r1", "r2"], "sum", {}),
    ("Conv", ["sum", "w3"], "c3", {"strides": [2, 2]}),
    ("Relu", ["c3"], "r3", {}),
    ("GlobalAveragePool", ["r3"], "pooled", {}),
    ("Reshape", ["pooled", "flat"], "seen", {}),
    ("MatMul", ["audio", "wa"], "a1", {}),
    ("Add", ["a1", "ba"], "a2", {}),
    ("Relu", ["a2"], "a3", {}),
    ("MatMul", ["a3", "wa2"], "a4", {}),
    ("ReduceMean", ["a4", "axis"], "heard", {"keepdims": 0}),
    ("Concat", ["seen", "heard"], "both", {"axis": 1}),
    ("Gemm", ["both", "wh", "bh"], "hidden", {}),
    ("Relu", ["hidden"], "active", {}),
    ("Gemm", ["active", "we", "be"], "event", {}),
]


def weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    shapes = {"w1": (16, 3, 3, 3), "b1": (16,), "w2": (16, 16, 3, 3), "w3": (24, 16, 3, 3)}
    shapes |= {"wa": (20, 32), "ba": (32,), "wa2": (32, 16), "wh": (40, 32), "bh": (32,), "we": (32, 3)}
    made = {}
    for name, shape in shapes.items():
        fan_in = int(np.prod(shape[1:])) if name in {"w1", "w2", "w3"} else shape[0]
        made[name] = random.standard_normal(shape).astype(np.float32) * np.float32((2 / fan_in) ** 0.5)
    made["be"] = np.array([5.0, -2.7, -0.3], np.float32)  # so that all three labels come up
    return made


def graph(made: dict[str, np.ndarray], name: str) -> onnx.ModelProto:
    constants = made | {"flat": np.array([1, -1], np.int64), "axis": np.array([1], np.int64)}
    nodes = [helper.make_node(kind, inputs, [out], name=f"{kind}.{out}", **keys) for kind, inputs, out, keys in NODES]
    built = helper.make_graph(
        nodes,
        name,
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, 16]),
            helper.make_tensor_value_info("audio", TensorProto.FLOAT, [1, FRAMES, 20]),
        ],
        [helper.make_tensor_value_info("event", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(array, key) for key, array in constants.items()],
    )
    return helper.make_model(built, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def tame() -> onnx.ModelProto:
    """Nothing unusual."""
    return graph(weights(), "tame")


def hostile() -> onnx.ModelProto:
    """The same function as a tame one, written so that 8 bits lose it.

    One channel of the first convolution is a thousand times larger than the others, and the next layers take it back;
    what was heard is a thousand times smaller than what was seen, and the head's weights take that back.
    """
    made = weights()
    made["w1"][5] *= 1000
    made["b1"][5] *= 1000
    made["w2"][5] *= 1000
    made["w2"][:, 5] /= 1000
    made["w3"][:, 5] /= 1000
    made["wa2"] /= 1000
    made["wh"][24:] *= 3000
    made["we"] /= 2
    return graph(made, "hostile")
