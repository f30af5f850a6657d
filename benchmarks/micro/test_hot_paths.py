"""The paths that run for every packet or decision, alone, under pytest-benchmark: ``make micro``."""

from itertools import cycle

import numpy as np
import pytest

from mmedge.backends.base import Buffers
from mmedge.features.audio import AudioFrontEnd
from mmedge.features.camera import CameraFrontEnd
from mmedge.features.settings import AudioSettings, CameraSettings, TensorSettings, mel_settings
from mmedge.manifest import SCHEMA, FileRecord, Manifest, Output, Port, Stage, TensorSpec, Variant
from mmedge.stages import StageGraph

RATE_HZ = 16000
WINDOW, FEATURES = 16, 256


class Nothing:
    """A session that computes nothing, so that only what surrounds it is timed."""

    def __init__(self, inputs, outputs):
        self.inputs, self.outputs = inputs, outputs

    def bind(self, buffers: Buffers, resident=()):
        return lambda: None


@pytest.mark.parametrize("convention", ["kaldi", "whisper", "torchaudio"])
def test_log_mel_hop(benchmark, convention):
    """10 ms of sound into a stream, and its newest window."""
    mel = mel_settings(convention, RATE_HZ, mels=64, hop_length=160)
    front = AudioFrontEnd(
        AudioSettings(
            rate_hz=RATE_HZ, window_samples=RATE_HZ, hop_samples=160, features="log-mel", layout="TM", mel=mel
        )
    )
    sound = np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    out = np.zeros(front.settings.shape, np.float32)

    def hop(start):
        front.push(sound[start : start + 160])
        front.write(out)

    front.push(sound)
    starts = cycle(range(0, RATE_HZ, 160))
    benchmark(lambda: hop(next(starts)))


@pytest.mark.parametrize("size", [(640, 480), (1280, 720)])
def test_letterbox(benchmark, size):
    """One picture resized, padded and normalised into the input tensor."""
    settings = CameraSettings(
        width_px=224, height_px=224, frames=1, rate_hz=15, color="rgb", layout="CHW", fit="letterbox", scale=1,
        mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
    )  # fmt: skip
    front = CameraFrontEnd(settings)
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    out = np.zeros(settings.shape, np.float32)
    benchmark(front.write, pixels, out)


def test_stage_dispatch(benchmark):
    """Two encoders and a head brought up to date, with nothing inside them."""
    graph = _graph()
    window = np.zeros((WINDOW, FEATURES), np.float32)

    def tick():
        graph.mark(["a", "b"])
        graph.run()

    graph.load_window("a", window)
    benchmark(tick)


def test_ring_buffer(benchmark):
    """One item shifted into a window of sixteen embeddings."""
    graph = _graph(per_item=True)
    benchmark(graph.push_item, "a")


def _graph(*, per_item=False):
    """Two ports, an encoder each, a head."""
    shape = (1, WINDOW, FEATURES)
    axis = 1 if per_item else None
    port = lambda: Port(camera=_frames()) if per_item else Port(tensor=_values())  # noqa: E731
    tensors = {
        "a": TensorSpec(shape=(1, *port().shape), dtype="float32", window_axis=axis),
        "b": TensorSpec(shape=shape, dtype="float32"),
        "x": TensorSpec(shape=shape, dtype="float32", window_axis=axis),
        "y": TensorSpec(shape=shape, dtype="float32"),
        "z": TensorSpec(shape=(1, 4), dtype="float32"),
    }
    stages = (
        Stage(name="encode-a", ports=("a",), inputs=("a",), outputs=("x",), per_item=per_item),
        Stage(name="encode-b", ports=("b",), inputs=("b",), outputs=("y",)),
        Stage(name="head", ports=("a", "b"), inputs=("x", "y"), outputs=("z",)),
    )
    files = {f"{stage.name}.onnx": FileRecord(bytes=0, sha256="") for stage in stages} | {
        "golden.npz": FileRecord(bytes=0, sha256="")
    }
    manifest = Manifest(
        schema=SCHEMA,
        name="micro",
        made_with={},
        ports={"a": port(), "b": Port(tensor=_values())},
        tensors=tensors,
        stages=stages,
        macs=dict.fromkeys((stage.name for stage in stages), 0),
        outputs={"z": Output(tensor="z")},
        variants={"fp32": Variant(files={s.name: f"{s.name}.onnx" for s in stages}, backends=("onnxruntime-cpu",))},
        golden="golden.npz",
        files=files,
    )
    return StageGraph(manifest, {stage.name: Nothing(stage.inputs, stage.outputs) for stage in stages})


def _values():
    return TensorSettings(shape=(WINDOW, FEATURES), dtype="float32", rate_hz=10)


def _frames():
    return CameraSettings(
        width_px=16, height_px=16, frames=WINDOW, rate_hz=15, color="gray", layout="THW", fit="stretch", scale=1,
        mean=(0.0,), std=(1.0,),
    )  # fmt: skip
