"""Runs camera-plus-audio fusion models, each encoder at its own sensor's clock."""

from typing import TYPE_CHECKING, Any

from mmedge.errors import (
    BackendError,
    BundleError,
    BundleVersionError,
    CheckpointError,
    ClosedError,
    EngineError,
    ExportError,
    InputError,
    MissingLibraryError,
    MmedgeError,
    ParityError,
    ShortSourceError,
    SourceError,
    SpecError,
    StreamError,
)
from mmedge.model import Model, load
from mmedge.running import run
from mmedge.stream import Stream
from mmedge.types import AudioChunk, Prediction, TensorReading, TextMessage, VideoFrame

__all__ = [
    "AudioChunk",
    "BackendError",
    "BundleError",
    "BundleVersionError",
    "CheckpointError",
    "ClosedError",
    "EngineError",
    "ExportError",
    "InputError",
    "MissingLibraryError",
    "MmedgeError",
    "Model",
    "ParityError",
    "Prediction",
    "ShortSourceError",
    "SourceError",
    "SpecError",
    "Stream",
    "StreamError",
    "Swap",
    "TensorReading",
    "TextMessage",
    "VideoFrame",
    "load",
    "run",
]

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mmedge.swap import Swap


def __getattr__(name: str) -> Any:
    """What few programs need is imported when it is asked for."""
    if name == "Swap":
        from mmedge.swap import Swap

        return Swap
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
