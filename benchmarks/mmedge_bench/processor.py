"""What a result was measured on."""

import platform
from importlib.metadata import version

import mmedge
from mmedge.measured import processor_name

__all__ = ["made_with"]


def made_with() -> dict[str, str]:
    """The processor, and versions of what takes the time."""
    return {
        "processor": processor_name(),
        "python": platform.python_version(),
        "mmedge": mmedge.__version__,
        "numpy": version("numpy"),
        "onnxruntime": version("onnxruntime"),
    }
