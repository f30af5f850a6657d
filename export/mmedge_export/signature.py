"""What a model takes and gives, as far as its code, an example or its graph says; plain data."""

from dataclasses import dataclass, field
from typing import Any

from mmedge_export.call import Call

__all__ = ["Shape", "Signature", "Tensor"]

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One input or output.

    Attributes:
        name: Its name.
        shape: Batch axis included; None if nobody knows.
        dtype: numpy's name.
    """

    name: str
    shape: Shape | None = None
    dtype: str = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a model takes and gives.

    Attributes:
        origin: ``package.module:function``, or the name of an ``.onnx`` file.
        factory: The same, if it is a function.
        arguments: What the factory was called with.
        call: How forward() takes the inputs; constants are guesses.
        inputs: In order.
        outputs: In order; empty if nothing was run.
        left_out: Arguments of forward() that have a default, with it.
    """

    origin: str
    factory: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    call: Call = field(default_factory=Call)
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...] = ()
    left_out: dict[str, Any] = field(default_factory=dict)
