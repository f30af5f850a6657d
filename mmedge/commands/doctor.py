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

from mmedge.console import as_json

__all__ = ["Finding", "doctor_command", "examine"]

State = Literal["ok", "missing", "broken"]
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
            click.echo(f"{signs[finding.state]}{finding.what:<28}{finding.detail}{fix}")
    return 1 if any(finding.state == "broken" for finding in findings) else 0


def examine() -> list[Finding]:
    """Look at everything that a bundle may need."""
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
        _optional("torch", "mmedge export", "pip install 'mmedge[export]'"),
        _optional("onnxscript", "mmedge export", "pip install 'mmedge[export]'"),
    ]
    if TEGRA_RELEASE.is_file():
        found.append(Finding(what="Jetson", state="ok", detail=TEGRA_RELEASE.read_text().splitlines()[0].strip("# ")))
    return found


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
