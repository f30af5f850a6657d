"""A first SPEC.toml for a person to edit."""

import json
import re
from collections.abc import Mapping
from typing import Any

from mmedge_export.call import Call
from mmedge_export.guess import Line, guess_input, guess_output, guess_state
from mmedge_export.signature import Signature, Tensor

__all__ = ["spec_text"]

COLUMN = 40
BARE = re.compile(r"[A-Za-z0-9_-]+")
HEAD = """\
# A first SPEC.toml for {origin}, guessed from {source}.
# Compare every line marked EDIT with your training code: nobody sees an error in a wrong mean or colour order.
# Then: mmedge export {checkpoint} --spec SPEC.toml --samples samples.npz -o {name}.mmedge
"""


def spec_text(signature: Signature) -> str:
    """The text of a SPEC.toml with comments, for what is known about a model."""
    name = (
        re.sub(r"\W+", "-", signature.origin.removesuffix(".onnx").split(":")[0].split(".")[-1]).strip("-") or "model"
    )
    model: list[Line] = [("name", json.dumps(name), "")]
    if signature.factory:
        model.append(("factory", json.dumps(signature.factory), "returns an nn.Module"))
    example = f'"{signature.factory.split(":")[0] or "mymodel"}:samples"'
    model.append(
        ("# samples", example, "EDIT: a function of (count, seed) that gives recordings; or --samples FILE.npz")
    )
    parts = [
        HEAD.format(
            origin=signature.origin,
            source="its forward() and an example" if signature.factory else "its graph",
            checkpoint="CHECKPOINT" if signature.factory else signature.origin,
            name=name,
        ),
        _table("model", model),
    ]
    if signature.arguments:
        parts.append(_table("model.arguments", [(_key(k), _value(v), "") for k, v in signature.arguments.items()]))
    parts.append(_call(signature.call, signature.left_out))
    sources = {tensor.name: guess_state(tensor, signature.outputs) for tensor in signature.inputs}
    parts += [
        _table(f"inputs.{_key(tensor.name)}", guess_input(tensor, sources[tensor.name])) for tensor in signature.inputs
    ]
    outputs = [each for each in signature.outputs if each.name not in sources.values()] or [Tensor(name="output")]
    note = (
        ""
        if signature.outputs
        else "# EDIT: nothing was run; one table for each output, by its key or in forward()'s order\n"
    )
    parts += [note + _table(f"outputs.{_key(tensor.name)}", guess_output(tensor)) for tensor in outputs]
    return "\n".join(part for part in parts if part)


def _call(call: Call, left_out: Mapping[str, Any]) -> str:
    lines: list[Line] = []
    if call.style != "keyword":
        lines.append(("style", json.dumps(call.style), "keyword, positional, list, dict or dataclass"))
    if call.argument:
        lines.append(("argument", json.dumps(call.argument), "the argument that takes it"))
    if call.type:
        lines.append(("type", json.dumps(call.type), "the dataclass"))
    if call.constants:
        lines.append(("constants", _value(call.constants), "EDIT: the same at every call"))
    if left_out:
        lines.append(("# constants", _value(left_out), "arguments of forward() that keep their defaults"))
    live = [line for line in lines if not line[0].startswith("#")]
    return _table("model.call" if live else "# model.call", lines) if lines else ""


def _table(name: str, lines: list[Line]) -> str:
    head = f"# [{name.removeprefix('# ')}]" if name.startswith("#") else f"[{name}]"
    return "\n".join([head, *(_line(*line) for line in lines)]) + "\n"


def _line(key: str, value: str, comment: str) -> str:
    text = f"{key} = {value}"
    return f"{text:<{COLUMN - 2}}  # {comment}" if comment else text


def _key(name: str) -> str:
    return name if BARE.fullmatch(name) else json.dumps(name)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value) if isinstance(value, str | bool) else repr(value)
