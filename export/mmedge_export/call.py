"""How forward() is called: the graph has flat named inputs, the user's module may want them in something."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from mmedge.errors import SpecError
from mmedge.records import RecordError

__all__ = ["Call", "read_call"]

Style = Literal["keyword", "positional", "list", "dict", "dataclass"]
KEYS = ("style", "argument", "type", "constants")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """How forward() takes its inputs.

    Attributes:
        style: ``keyword`` is forward(image=..., audio=...), ``positional`` forward(image, audio), ``list``
            forward([image, audio]), ``dict`` forward({"image": ..., "audio": ...}), ``dataclass``
            forward(Batch(image=..., audio=...)).
        argument: For list, dict and dataclass, the name of the argument that takes it; "" passes it as the first.
        type: For dataclass, the class as ``package.module:Class``; anything that takes the inputs by keyword will do.
        constants: Further keyword arguments of forward(), the same at every call; inputs of an ``.onnx`` graph, too.

    Raises:
        SpecError: The parts do not fit together.
    """

    style: Style = "keyword"
    argument: str = ""
    type: str = ""
    constants: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.style not in get_args(Style):
            raise SpecError(f"model.call.style is {self.style!r}, expected one of {', '.join(get_args(Style))}")
        if (self.style == "dataclass") != bool(self.type):
            raise SpecError('model.call.type goes with style = "dataclass", e.g. type = "mymodel:Batch"')
        if self.argument and self.style in {"keyword", "positional"}:
            raise SpecError(f"model.call.argument is for list, dict and dataclass, style is {self.style!r}")
        if self.argument and self.argument in self.constants:
            raise SpecError(f"model.call.constants has {self.argument!r}, which takes the inputs")


def read_call(table: Mapping[str, Any]) -> Call:
    """Read ``[model.call]`` of a spec.

    Raises:
        ValueError: A key is unknown or of the wrong kind, or the parts do not fit together.
    """
    if unknown := sorted(table.keys() - set(KEYS)):
        raise RecordError(f"model.call.{unknown[0]} is not known; expected {', '.join(KEYS)}")
    for key, value in table.items():
        kind = dict if key == "constants" else str
        if type(value) is not kind:
            raise RecordError(f"model.call.{key} is {value!r}, expected {kind.__name__}")
    return Call(**table)
