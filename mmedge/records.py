"""Frozen dataclasses to plain JSON and back; whatever does not fit its annotation is refused by its path."""

import types
import typing
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import lru_cache
from typing import Any, TypeVar

__all__ = ["RecordError", "from_plain", "to_plain"]

T = TypeVar("T")


class RecordError(ValueError):
    """A value does not fit the annotation of its field; the text begins with the path to it."""


def to_plain(value: object) -> Any:
    """Dataclasses, tuples and dicts as json can write them; fields at their default are left out."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: to_plain(getattr(value, f.name)) for f in fields(value) if getattr(value, f.name) != _default(f)
        }
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return value


def _default(field: Field[Any]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


def from_plain(kind: type[T], value: object, path: str = "") -> T:
    """Build a dataclass from what json read.

    Args:
        kind: A dataclass of int, float, str, bool, Literal, None, other dataclasses, and tuples and dicts of them.
        value: Untrusted data.
        path: Where the value stands in its document, for messages.

    Raises:
        RecordError: A field is missing, unknown, or of another type.
        ValueError: The dataclass itself refuses a value.
    """
    result: T = _convert(kind, value, path)
    return result


def _convert(kind: Any, value: object, path: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in {typing.Union, types.UnionType}:
        if value is None and type(None) in arguments:
            return None
        (kind,) = [argument for argument in arguments if argument is not type(None)]
        return _convert(kind, value, path)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise RecordError(f"{path} is {value!r}, expected one of {', '.join(map(repr, arguments))}")
    if origin is tuple:
        return tuple(_convert(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(_plain(list, value, path)))
    if origin is dict:
        return {key: _convert(arguments[1], item, _join(path, key)) for key, item in _plain(dict, value, path).items()}
    if is_dataclass(kind):
        return _dataclass(kind, _plain(dict, value, path), path)
    if kind is float and type(value) is int:
        return float(value)
    return _plain(kind, value, path)


def _dataclass(kind: Any, value: dict[str, object], path: str) -> Any:
    hints = _hints(kind)
    if unknown := sorted(value.keys() - hints.keys()):
        raise RecordError(f"{_join(path, unknown[0])} is not known; expected {', '.join(hints)}")
    required = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in required if name not in value]:
        raise RecordError(f"{_join(path, missing[0])} is missing")
    return kind(**{name: _convert(hints[name], item, _join(path, name)) for name, item in value.items()})


@lru_cache(maxsize=64)
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _plain(kind: type[T], value: object, path: str) -> T:
    if type(value) is not kind:
        raise RecordError(f"{path or 'it'} is {type(value).__name__} {str(value)[:40]!r}, expected {kind.__name__}")
    return value


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
