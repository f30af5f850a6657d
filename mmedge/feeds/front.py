"""The front end of each kind of port: what makes its tensor from raw sensor data."""

from collections.abc import Callable
from typing import Any, Protocol

from mmedge.errors import InputError
from mmedge.features.audio import AudioFrontEnd
from mmedge.features.camera import CameraFrontEnd
from mmedge.features.tensor import TensorFrontEnd
from mmedge.features.text import TextFrontEnd
from mmedge.manifest import Port
from mmedge.types import Array

__all__ = ["FrontEnd", "front_end"]


class FrontEnd(Protocol):
    """What makes a port's tensor, without the batch axis, from one window of raw sensor data."""

    def window(self, data: Any, /) -> Array:
        """The tensor; raises InputError for data that does not fit."""


def front_end(port: Port, read: Callable[[str], bytes] | None = None) -> FrontEnd:
    """The front end of a port.

    Args:
        port: The port.
        read: Gives the bytes of a file of the bundle; text needs its tokenizer from there.

    Raises:
        InputError: It is a text port, and read is not given.
        MissingLibraryError: It is a text port, and tokenizers is not installed.
        SpecError: The tokenizer cannot be used.
    """
    if port.camera is not None:
        return CameraFrontEnd(port.camera)
    if port.audio is not None:
        return AudioFrontEnd(port.audio)
    if port.text is not None:
        if read is None:
            raise InputError(f"{port.text.tokenizer} is needed to read text; give front_end() a way to read it")
        return TextFrontEnd(port.text, read(port.text.tokenizer))
    values = port.tensor or port.state
    assert values is not None  # a port has one of them
    return TensorFrontEnd(values)
