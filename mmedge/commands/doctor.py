"""``mmedge doctor``."""

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import click

from mmedge.backends.cuda import find_device
from mmedge.backends.trt import dla_cores
from mmedge.console import as_json
from mmedge.errors import BackendError, MissingLibraryError
from mmedge.jetson import WHERE_DLA_IS, describe_dla, jetson_model
from mmedge.sessions import BACKENDS, backend_problem

__all__ = ["Finding", "doctor_command", "examine"]

State = Literal["ok", "missing", "broken"]
TENSORRT_FIX = "on a Jetson: apt install python3-libnvinfer, and a venv with --system-site-packages"
TEGRA_RELEASE = Path("/etc/nv_tegra_release")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: What it is.
        state: ok, missing (an option that is not there) or broken (it must be mended).
        detail: Version, or what is wrong.
        fix: What to type, or "".
    """

    what: str
    state: State
    detail: str
    fix: str = ""


@click.command("doctor", short_help="What is installed, what is broken, what to type.")
@click.option("--json", "json_output", is_flag=True, help="Print the findings as JSON.")
def doctor_command(*, json_output: bool) -> int:
    """Look at this machine; ends with status 1 when something must be mended before a bundle can run."""
    findings = examine()
    if json_output:
        click.echo(as_json(findings))
    else:
        signs = {"ok": "ok     ", "missing": "-      ", "broken": "BROKEN "}
        for finding in findings:
            fix = f"  ->  {finding.fix}" if finding.fix else ""
            click.echo(f"{signs[finding.state]}{finding.what:<31}{finding.detail}{fix}")
    return 1 if any(finding.state == "broken" for finding in findings) else 0


def examine(release: Path = TEGRA_RELEASE, model: str | None = None) -> list[Finding]:
    """Look at everything that a bundle may need.

    Args:
        release: The file that a Jetson has.
        model: What the Jetson calls itself; looked up if left out.
    """
    found = [
        Finding(
            what="python", state="ok", detail=f"{platform.python_version()} on {platform.machine()} {sys.platform}"
        ),
        *_rivals("onnxruntime", "onnxruntime-gpu"),
        *_rivals("opencv-python", "opencv-python-headless"),
        _needed("numpy", lambda module: module.__version__, "pip install mmedge"),
        _needed("onnxruntime", _ort, "pip install 'mmedge[cpu]'"),
        _needed("cv2", lambda module: f"OpenCV {module.__version__}", "pip install 'mmedge[cpu]'"),
        _optional("av", "mp4 files with sound", "pip install 'mmedge[media]'"),
        _optional("sounddevice", "microphones", "pip install 'mmedge[mic]', and: apt install libportaudio2"),
        _optional("soxr", "sound of other rates", "pip install 'mmedge[resample]'"),
        _optional("tokenizers", "models that read text", "pip install 'mmedge[text]'"),
        *_gpu(),
        _optional("tensorrt", "engines on the device itself", TENSORRT_FIX),
        _optional("tensorrt-rtx", "engines for RTX GPUs, built on any machine", "pip install 'mmedge[rtx]'"),
        _optional(
            "onnxruntime-ep-nv-tensorrt-rtx",
            "the backend onnxruntime-rtx",
            "pip install onnxruntime-ep-nv-tensorrt-rtx-cu13",
        ),
        _backends(),
        _optional("torch", "mmedge export", "pip install 'mmedge[export]'"),
        _optional("onnxscript", "mmedge export", "pip install 'mmedge[export]'"),
    ]
    if release.is_file():
        found.append(Finding(what="Jetson", state="ok", detail=release.read_text().splitlines()[0].strip("# ")))
        found.append(_dla(jetson_model() if model is None else model))
    return found


def _gpu() -> list[Finding]:
    found = [_optional("cuda-bindings", "engines, and memory on the GPU", "pip install 'mmedge[cuda]'")]
    try:
        device = find_device()
    except MissingLibraryError:
        return found
    except BackendError as error:
        return [*found, Finding(what="GPU", state="missing", detail=str(error).partition(";")[0])]
    memory = f"{device.memory_bytes / 2**30:.0f} GiB"
    detail = f"{device.name}, {device.capability}, {memory}, the driver brings CUDA {device.driver}"
    return [*found, Finding(what="GPU", state="ok", detail=detail)]


def _backends() -> Finding:
    """What a bundle can be run with here."""
    able = [backend for backend in BACKENDS if not backend_problem(backend)]
    if not able:
        return Finding(what="backends", state="broken", detail="none can compute here", fix="pip install 'mmedge[cpu]'")
    return Finding(what="backends", state="ok", detail=f"{', '.join(able)} can compute here")


def _dla(model: str) -> Finding:
    """Deep-learning accelerators: how many TensorRT finds, or how many are on such a Jetson if it cannot be asked."""
    try:
        cores = dla_cores()
    except (BackendError, MissingLibraryError) as error:
        return Finding(what="DLA", state="missing", detail=f"{describe_dla(model)}; TensorRT cannot be asked: {error}")
    if not cores:
        return Finding(
            what="DLA", state="missing", detail=f"TensorRT finds none; {describe_dla(model)}; {WHERE_DLA_IS}"
        )
    return Finding(what="DLA", state="ok", detail=f"{cores} cores, which mmedge leaves alone: it builds for the GPU")


def _needed(name: str, describe: Callable[..., str], fix: str) -> Finding:
    try:
        return Finding(what=name, state="ok", detail=describe(import_module(name)))
    except ImportError as error:
        return Finding(what=name, state="broken", detail=f"cannot be imported ({error})", fix=fix)
    except AttributeError:
        return Finding(what=name, state="broken", detail="is an empty folder: another package removed it",
                       fix=f"pip install --force-reinstall --no-deps {_package(name)}")  # fmt: skip


def _ort(module: object) -> str:
    providers: list[str] = module.get_available_providers()  # type: ignore[attr-defined]
    return f"{module.__version__}, {', '.join(providers)}"  # type: ignore[attr-defined]


def _package(name: str) -> str:
    return {"cv2": "opencv-python-headless"}.get(name, name)


def _optional(package: str, what: str, fix: str) -> Finding:
    try:
        return Finding(what=package, state="ok", detail=f"{version(package)}, for {what}")
    except PackageNotFoundError:
        return Finding(what=package, state="missing", detail=f"only needed for {what}", fix=fix)


def _rivals(first: str, second: str) -> list[Finding]:
    """Two packages that own the same folder: whichever is removed takes the other with it."""
    if _installed(first) and _installed(second):
        detail = f"{first} and {second} are both installed and overwrite one another"
        fix = f"pip uninstall -y {first} {second} && pip install {second}"
        return [Finding(what=first, state="broken", detail=detail, fix=fix)]
    return []


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
