"""What a result was measured on."""

import platform
from importlib.metadata import version
from pathlib import Path

import mmedge

__all__ = ["made_with"]


def made_with() -> dict[str, str]:
    """The processor, and versions of what takes the time."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "processor": next(names, platform.machine()),
        "python": platform.python_version(),
        "mmedge": mmedge.__version__,
        "numpy": version("numpy"),
        "onnxruntime": version("onnxruntime"),
    }
