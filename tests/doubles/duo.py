"""A model of a few lines of numpy, with encoders that can be held up, and its unsplit twin."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from time import monotonic, sleep

import numpy as np
import numpy.typing as npt

from mmedge.baseline import Baseline
from mmedge.branches import shares
from mmedge.calibration import EmbeddingStatistics, Moments
from mmedge.features.settings import AudioSettings, CameraSettings, StateSettings, TensorSettings
from mmedge.feeds import front_end
from mmedge.manifest import SCHEMA, FileRecord, Manifest, Output, Port, Stage, TensorSpec, Variant
from mmedge.stream import Stream, StreamOptions
from mmedge.types import NS, Prediction

FRAMES = 3
WINDOW = 320
HOP = 160
RATE_HZ = 16000
CAMERA_HZ = 100
T0 = 7 * NS
HOP_NS = HOP * NS // RATE_HZ
CAMERA_NS = NS // CAMERA_HZ
WEIGHTS = np.array([1, 2, 4], np.float32)
PATIENCE_S = 60  # for what happens at once, but on a machine that has other things to do
Array = npt.NDArray[np.float32]


def see(pictures: Array) -> Array:
    """[..., T, 4, 4] to [..., T, 2]."""
    return np.stack([pictures.mean((-1, -2)), pictures.max((-1, -2))], -1)


def remember(seen: Array) -> Array:
    """[1, T, 2] to [1, 2]."""
    return np.einsum("t,btc->bc", WEIGHTS, seen)


def hear(sound: Array) -> Array:
    """[1, N] to [1, 2]."""
    return np.stack([np.abs(sound).mean(-1), sound[:, ::2].sum(-1)], -1)


def join(image: Array, audio: Array, sound: Array, lidar: Array, h: Array) -> tuple[Array, Array]:
    """The head: it also reads the sound itself, which must belong to its embedding."""
    out = np.concatenate([image + h, audio, sound[:, -2:], lidar.sum(-1, keepdims=True)], -1)
    return out, 0.5 * h + audio * image


def whole(pictures: Array, sound: Array, lidar: Array, h: Array) -> tuple[Array, Array]:
    """The unsplit model on windows with a batch axis."""
    return join(remember(see(pictures)), hear(sound), sound, lidar, h)


class Double:
    """A session of numpy that can be held up, made slow, broken, and tells what it was given."""

    def __init__(self, inputs: tuple[str, ...], outputs: tuple[str, ...], function: Callable[..., object]) -> None:
        self.inputs, self.outputs, self.function = inputs, outputs, function
        self.open = Event()
        self.open.set()
        self.busy = Event()
        self.before: Callable[[], None] = lambda: None
        self.given: list[tuple[Array, ...]] = []

    def bind(self, buffers, resident=()):
        def run() -> None:
            self.given.append(tuple(buffers[name].copy() for name in self.inputs))
            self.busy.set()
            assert self.open.wait(PATIENCE_S)
            self.before()
            made = self.function(*(buffers[name] for name in self.inputs))
            for name, values in zip(self.outputs, made if isinstance(made, tuple) else (made,), strict=True):
                buffers[name][...] = values

        return run


def manifest() -> Manifest:
    spec = lambda *shape: TensorSpec(shape=shape, dtype="float32")  # noqa: E731
    window = TensorSpec(shape=(1, FRAMES, 4, 4), dtype="float32", window_axis=1)
    seen = TensorSpec(shape=(1, FRAMES, 2), dtype="float32", window_axis=1)
    camera = CameraSettings(width_px=4, height_px=4, frames=FRAMES, rate_hz=CAMERA_HZ, color="gray", layout="THW")
    files = {"x.onnx": FileRecord(bytes=0, sha256=""), "golden.npz": FileRecord(bytes=0, sha256="")}
    stages = (
        Stage(name="image.item", ports=("image",), inputs=("image",), outputs=("seen",), per_item=True),
        Stage(name="image", ports=("image",), inputs=("seen",), outputs=("remembered",)),
        Stage(name="audio", ports=("audio",), inputs=("audio",), outputs=("heard",)),
        Stage(
            name="head",
            ports=("image", "audio", "lidar", "h"),
            inputs=("remembered", "heard", "audio", "lidar", "h"),
            outputs=("out", "h_next"),
        ),
    )
    return Manifest(
        schema=SCHEMA,
        name="duo",
        made_with={},
        ports={
            "image": Port(camera=camera),
            "audio": Port(audio=AudioSettings(rate_hz=RATE_HZ, window_samples=WINDOW, hop_samples=HOP)),
            "lidar": Port(tensor=TensorSettings(shape=(3,))),
            "h": Port(state=StateSettings(shape=(2,), source="h_next")),
        },
        tensors={
            "image": window,
            "seen": seen,
            "remembered": spec(1, 2),
            "audio": spec(1, WINDOW),
            "heard": spec(1, 2),
            "lidar": spec(1, 3),
            "h": spec(1, 2),
            "out": spec(1, 7),
            "h_next": spec(1, 2),
        },
        stages=stages,
        macs={stage.name: 0 for stage in stages},
        outputs={"out": Output(tensor="out")},
        variants={"fp32": Variant(files={stage.name: "x.onnx" for stage in stages}, backends=())},
        golden="golden.npz",
        files=files,
    )


@dataclass
class Duo:
    """The model, its encoders, and the streams that a test opened."""

    item: Double = field(default_factory=lambda: Double(("image",), ("seen",), see))
    image: Double = field(default_factory=lambda: Double(("seen",), ("remembered",), remember))
    audio: Double = field(default_factory=lambda: Double(("audio",), ("heard",), hear))
    head: Double = field(
        default_factory=lambda: Double(("remembered", "heard", "audio", "lidar", "h"), ("out", "h_next"), join)
    )
    streams: list[Stream] = field(default_factory=list)

    def stream(
        self,
        tick: str | None = "audio",
        *,
        live: bool = True,
        baseline: Callable[[], Baseline] | None = None,
        **options: object,
    ) -> Stream:
        sessions = {"image.item": self.item, "image": self.image, "audio": self.audio, "head": self.head}
        opened = Stream(manifest(), sessions, tick, None, StreamOptions(live=live, **options), baseline)
        self.streams.append(opened)
        return opened

    def warm(self, tick: str | None = "audio", **options: object) -> Stream:
        """A stream that has decided once: it saw FRAMES pictures, a window of sound and one scan, up to T0."""
        opened = self.stream(tick, **options)
        for i in range(FRAMES):
            opened.push_frame(picture(i), T0 - (FRAMES - 1 - i) * NS // CAMERA_HZ)
            until(lambda i=i: opened.runs["image.item"] == i + 1)
        opened.push_tensor(np.ones(3, np.float32), T0)
        until(lambda: opened.branches["lidar"].encoded and opened.branches["image"].encoded)
        opened.push_audio(sound(WINDOW), T0 - WINDOW * NS // RATE_HZ)
        until(lambda: opened.branches["audio"].encoded)
        if opened.tick.port == "audio" and opened.options.deadline_ms is None:
            until(lambda: opened.totals["ticks"])
        return opened

    def close(self) -> None:
        for double in (self.item, self.image, self.audio, self.head):
            double.open.set()
        for stream in self.streams:
            stream.close()


def picture(seed: int) -> npt.NDArray[np.uint8]:
    values = np.random.default_rng(seed).integers(0, 256, (4, 4, 1), dtype=np.uint8)
    return np.repeat(values, 3, axis=2)


def gray(pixels: npt.NDArray[np.uint8]) -> Array:
    settings = manifest().ports["image"]
    return front_end(settings).window(np.stack([pixels] * FRAMES))[0]


def sound(count: int, seed: int = 0) -> Array:
    return (0.1 * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def until(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Wait for something that another thread does."""
    end = monotonic() + timeout_s
    while not condition():
        assert monotonic() < end, "it did not happen"
        sleep(0.0005)


def push_hops(stream: Stream, hops: int, first: int = 0) -> None:
    """Sound of the duo, hop by hop from a number on."""
    for i in range(first, first + hops):
        stream.push_audio(sound(HOP, seed=i), T0 + i * HOP_NS)


def predictions(stream: Stream, count: int) -> list[Prediction]:
    """The next predictions, as soon as there are so many."""
    got = []

    def enough():
        got.extend(stream.poll())
        return len(got) >= count

    until(enough)
    return got


def predictions_to(stream: Stream, t_ns: int) -> list[Prediction]:
    """The next predictions up to that of a tick."""
    got = []
    until(lambda: got.extend(stream.poll()) or (got and got[-1].t_ns >= t_ns))
    return got


def hear_hops(stream: Stream, hops: int, first: int = 0) -> list[Prediction]:
    """What is decided at each hop, pushed when the one before it was decided, so that none is passed over."""
    made = []
    for i in range(first, first + hops):
        push_hops(stream, 1, i)
        made += predictions_to(stream, T0 + (i + 1) * HOP_NS)
    return made


def baseline(*, real: bool = True) -> Baseline:
    """Statistics of all that its sensors share with its head."""
    tensors, by_port = manifest().tensors, shares(manifest())
    random = np.random.default_rng(3)
    means = {
        name: random.standard_normal(tensors[name].shape).astype(np.float32) for ns in by_port.values() for name in ns
    }
    return Baseline(
        shares=by_port,
        moments={name: Moments(mean=mean, std=np.ones_like(mean)) for name, mean in means.items()},
        statistics={
            name: EmbeddingStatistics(ports=(port,), distances={"1": 1.0}, magnitude=1.0)
            for port, names in by_port.items()
            for name in names
        },
        windows=8,
        real=real,
    )


def show(stream: Stream, seed: int, t_ns: int) -> None:
    """A window of pictures that ends at a time."""
    for i in range(FRAMES):
        stream.push_frame(picture(seed + i), t_ns - (FRAMES - 1 - i) * NS // CAMERA_HZ)
