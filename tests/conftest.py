"""What tests of all packages share."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from time import sleep

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

SYSTEM_PYTHON = shutil.which("python3", path="/usr/bin")  # which has what Debian packages


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--bundle", help="A bundle of the reference model, where it cannot be exported because torch is missing."
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot do, or fail where MMEDGE_REQUIRE=pulse,trt promised that it can."""
    promised = os.environ.get("MMEDGE_REQUIRE", "").split(",")
    for mark, missing in NEEDS.items():
        if item.get_closest_marker(mark) and (why := missing()):
            (pytest.fail if mark in promised else pytest.skip)(why)


def _no_pulse() -> str:
    from mmedge_bench.virtual_microphone import missing_for_microphone

    return missing_for_microphone()


def _no_gstreamer() -> str:
    return "" if find_spec("gi") else "this Python has no gi; apt install python3-gi, venv with --system-site-packages"


@cache
def _no_rtsp() -> str:
    needed = "import gi; gi.require_version('GstRtspServer', '1.0')"
    found = subprocess.run([SYSTEM_PYTHON, "-c", needed], capture_output=True, check=False) if SYSTEM_PYTHON else None
    return "" if found and found.returncode == 0 else "apt install python3-gi gir1.2-gst-rtsp-server-1.0"


def _no_rtx() -> str:
    return "" if find_spec("tensorrt_rtx") else "tensorrt_rtx is not installed"


def _no_gpu() -> str:
    from mmedge.backends.cuda import find_device
    from mmedge.errors import MmedgeError

    try:
        find_device()
    except MmedgeError as error:
        return str(error)
    return ""


NEEDS = {"pulse": _no_pulse, "gstreamer": _no_gstreamer, "rtsp": _no_rtsp, "trt": _no_rtx, "cuda": _no_gpu}


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What was measured on this machine before does not choose a backend for the tests, nor do they write it down."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Recordings and reference values of others, which are not part of this repository."""
    folder = os.environ.get("MMEDGE_DATA")
    if not folder:
        pytest.skip("MMEDGE_DATA is not set")
    return Path(folder)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """A folder of a name, filled by one worker for all of them."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent

    def made(name: str, fill: Callable[[Path], object]) -> Path:
        folder, whole, failed = shared / name, shared / f"{name}.whole", shared / f"{name}.failed"
        try:
            folder.mkdir()
        except FileExistsError:
            for _ in range(3000):
                if whole.exists() or failed.exists():
                    break
                sleep(0.2)
            assert whole.exists(), f"{folder} was not made by another worker"
            return folder
        try:
            fill(folder)
        except BaseException:
            failed.touch()
            raise
        whole.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def reference_bundle(request: pytest.FixtureRequest, made_once: Callable[..., Path]) -> Path:
    """The reference model's bundle; read only. Beside it, as whole.onnx, the unsplit graph where torch is installed."""
    given = request.config.getoption("--bundle")
    if given:
        return Path(given)
    pytest.importorskip("torch")
    from mmedge_export.pipeline import ExportOptions, export
    from mmedge_export.reference import CHECKPOINT

    def fill(folder: Path) -> None:
        export(CHECKPOINT, folder / "reference.mmedge", ExportOptions(keep_whole=folder / "whole.onnx"))

    return made_once("reference", fill) / "reference.mmedge"


@pytest.fixture
def bundle_copy(reference_bundle: Path, tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return Path(shutil.copytree(reference_bundle, tmp_path / "copy.mmedge"))
