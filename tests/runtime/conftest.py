"""A small clip, and the command line in this process."""

import json
import sys
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cuda_double
import numpy as np
import numpy.typing as npt
import pytest
import tensorrt_double
from duo import Duo
from engine_bundles import LIBRARIES, put_engines

from mmedge import cli
from mmedge.bundle import file_record, open_bundle
from mmedge.model import Model, load
from mmedge.records import to_plain

CAMERA_HZ = 15
RATE_HZ = 16000
SECONDS = 3


@dataclass(frozen=True)
class Clip:
    video: Path
    sound: Path
    samples: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Three seconds of moving shapes and a sweeping tone."""
    cv2 = pytest.importorskip("cv2")
    folder = tmp_path_factory.mktemp("clip")
    random = np.random.default_rng(5)
    writer = cv2.VideoWriter(str(folder / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), CAMERA_HZ, (320, 240))
    for i in range(CAMERA_HZ * SECONDS):
        picture = random.integers(0, 60, (240, 320, 3), dtype=np.uint8)
        cv2.circle(picture, (20 + 6 * i, 120), 15, (255, 60 * (i % 4), 40), -1)
        writer.write(picture)
    writer.release()
    t = np.arange(RATE_HZ * SECONDS) / RATE_HZ
    sound = 0.4 * np.sin(2 * np.pi * (700 + 300 * t) * t) + 0.05 * random.standard_normal(len(t))
    pcm = (sound * 32767).astype("<i2")
    with wave.open(str(folder / "clip.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(pcm.tobytes())
    return Clip(video=folder / "clip.mp4", sound=folder / "clip.wav", samples=(pcm / 32768).astype(np.float32))


@pytest.fixture(scope="session")
def model(reference_bundle: Path) -> Model:
    return load(reference_bundle)


@pytest.fixture(scope="session")
def whole_graph(reference_bundle: Path) -> Path:
    """The unsplit graph of the same export."""
    path = reference_bundle.with_name("whole.onnx")
    if not path.exists():
        pytest.skip("the unsplit graph was not kept beside the bundle")
    return path


@pytest.fixture(scope="session")
def put_listed() -> Callable[[Path, str, bytes], None]:
    """Write a file into a bundle and its hash into the manifest."""

    def put(bundle: Path, name: str, content: bytes) -> None:
        (bundle / name).write_bytes(content)
        manifest = bundle / "manifest.json"
        document = json.loads(manifest.read_text())
        document["files"][name] = to_plain(file_record(bundle / name))
        manifest.write_text(json.dumps(document))

    return put


@pytest.fixture
def duo() -> Iterator[Duo]:
    """A model of numpy whose encoders can be held up; its streams are closed in the end."""
    made = Duo()
    yield made
    made.close()


@pytest.fixture
def device(monkeypatch, tmp_path):
    """A GPU and both libraries."""
    made = cuda_double.Cuda()
    double = tensorrt_double.RuntimeDouble(made)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", made.module)
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_double.as_tensorrt(double))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", tensorrt_double.as_rtx(double))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    yield double
    assert not made.races
    made.forget()  # it lives until the last finalizer of what it allocated


@pytest.fixture(params=LIBRARIES)
def library(request):
    return request.param


@pytest.fixture
def engines(bundle_copy, device, library):
    bundle = open_bundle(bundle_copy)
    put_engines(bundle, library)
    return bundle_copy


@pytest.fixture
def mmedge_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """The command line as a user calls it."""

    def call(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["mmedge", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        code = ended.value.code
        return Ended(status=code if isinstance(code, int) else 1, out=told.out, err=told.err)

    return call
