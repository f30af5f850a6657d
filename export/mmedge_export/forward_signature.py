"""What a torch module takes and gives: from forward()'s signature, an example, and one run."""

import inspect
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch

from mmedge.errors import MmedgeError, SpecError
from mmedge_export.call import Call
from mmedge_export.checkpoint import call_factory
from mmedge_export.guess import guess_modality, is_sensor
from mmedge_export.named import call_model, named_copy, named_outputs
from mmedge_export.signature import Shape, Signature, Tensor
from mmedge_export.user_code import USER_ERRORS, reason

__all__ = ["module_signature"]

PLAIN: dict[type, Any] = {bool: False, int: 0, float: 0.0, str: ""}
SEED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class _Forward:
    """forward()'s arguments, sorted.

    Attributes:
        call: How it takes the inputs.
        inputs: Their names.
        left_out: Arguments with a default, which are no inputs.
    """

    call: Call
    inputs: list[str]
    left_out: dict[str, Any]


def module_signature(factory: str, arguments: dict[str, Any], shapes: dict[str, Shape]) -> Signature:
    """Build a module and look at it.

    Args:
        factory: ``package.module:function``.
        arguments: Its keyword arguments.
        shapes: Of the inputs, batch axis included; else ``module.example_inputs()`` is asked for tensors.

    Raises:
        SpecError: It cannot be built, takes other inputs, or fails on these.
    """
    model = call_factory(factory, arguments)
    example = _example(model, shapes)
    forward = _read_forward(model, example)
    if unknown := sorted(example.keys() - set(forward.inputs)):
        raise SpecError(f"{factory} has no input {unknown[0]}; forward() takes {', '.join(forward.inputs)}")
    whole = all(name in example for name in forward.inputs)
    call, outputs = _run(model, forward, example) if whole else (forward.call, {})
    return Signature(
        origin=factory,
        factory=factory,
        arguments=arguments,
        call=call,
        inputs=tuple(_tensor(name, example.get(name)) for name in forward.inputs),
        outputs=tuple(_tensor(name, tensor) for name, tensor in outputs.items()),
        left_out=forward.left_out,
    )


def _example(model: torch.nn.Module, shapes: dict[str, Shape]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(SEED)
    hints = _hints(model)
    given = {
        name: torch.randint(2, shape, generator=generator)
        if _holds_integers(name, shape, hints.get(name))
        else torch.randn(shape, generator=generator)
        for name, shape in shapes.items()
    }
    make = getattr(model, "example_inputs", None)
    if shapes or not callable(make):
        return given
    try:
        made = make()
    except USER_ERRORS as error:
        raise SpecError(f"example_inputs() failed: {reason(error)}") from error
    if isinstance(made, torch.Tensor):
        made = (made,)
    if isinstance(made, Sequence):
        made = dict(zip(inspect.signature(model.forward).parameters, made, strict=False))
    nested = [value for value in made.values() if isinstance(value, Mapping)] if isinstance(made, Mapping) else []
    made = nested[0] if len(nested) == 1 else made
    if not isinstance(made, Mapping):
        raise SpecError(
            f"example_inputs() gave {type(made).__name__}, expected tensors by name or in forward()'s order"
        )
    return {str(name): tensor for name, tensor in made.items() if isinstance(tensor, torch.Tensor)}


def _read_forward(model: torch.nn.Module, example: Mapping[str, torch.Tensor]) -> _Forward:
    parameters = {
        name: each
        for name, each in inspect.signature(model.forward).parameters.items()
        if each.kind not in {each.VAR_POSITIONAL, each.VAR_KEYWORD}
    }
    hints = _hints(model)
    constants, inputs, left_out = {}, [], {}
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and hints.get(name) in PLAIN:
            constants[name] = PLAIN[hints[name]]
        elif parameter.default is parameter.empty or name in example or (parameter.default is None and is_sensor(name)):
            inputs.append(name)
        elif type(parameter.default) in PLAIN:
            left_out[name] = parameter.default
    if len(inputs) == 1 and inputs[0] not in example:
        call, names = _packed(inputs[0], hints.get(inputs[0]), example, constants)
        return _Forward(call=call, inputs=names, left_out=left_out)
    by_position = any(parameters[name].kind is inspect.Parameter.POSITIONAL_ONLY for name in inputs)
    call = Call(style="positional" if by_position else "keyword", constants=constants)
    return _Forward(call=call, inputs=inputs, left_out=left_out)


def _hints(model: torch.nn.Module) -> dict[str, Any]:
    try:
        return typing.get_type_hints(model.forward)
    except USER_ERRORS:  # an annotation names what is not imported: it is only a hint
        return {}


def _holds_integers(name: str, shape: Shape, hint: Any) -> bool:
    """By its annotation, or else as what a tokenizer gives."""
    hinted = {hint, *typing.get_args(hint)}
    if hinted & {torch.LongTensor, torch.IntTensor, torch.FloatTensor}:
        return torch.FloatTensor not in hinted
    return guess_modality(Tensor(name=name, shape=shape, dtype="int64")) == "text"


def _packed(
    name: str, hint: Any, example: Mapping[str, torch.Tensor], constants: dict[str, Any]
) -> tuple[Call, list[str]]:
    """forward() takes everything in one argument."""
    if is_dataclass(hint) and isinstance(hint, type):
        kind = f"{hint.__module__}:{hint.__qualname__}"
        return Call(style="dataclass", argument=name, type=kind, constants=constants), [f.name for f in fields(hint)]
    origin = typing.get_origin(hint) or hint
    container = isinstance(origin, type) and origin is not torch.Tensor
    if container and issubclass(origin, list | tuple | Sequence):
        style: typing.Literal["list", "dict"] = "list"
    elif example or (container and issubclass(origin, Mapping)):
        style = "dict"
    else:
        return Call(constants=constants), [name]
    if not example:
        raise SpecError(f"forward({name}) takes a {style}: name what is in it, with --shape NAME=1,... for each")
    return Call(style=style, argument=name, constants=constants), list(example)


def _run(
    model: torch.nn.Module, forward: _Forward, example: Mapping[str, torch.Tensor]
) -> tuple[Call, dict[str, torch.Tensor]]:
    """One run: how forward() was called in the end, and what it gave."""
    inputs = {name: example[name] for name in forward.inputs}
    own = named_copy(model, forward.call, ()).model
    try:
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            return forward.call, named_outputs(call_model(own, forward.call, inputs))
    except MmedgeError:
        raise
    except USER_ERRORS as error:
        if forward.call.style == "dict":  # without an annotation, it could as well be a list
            return _run(model, replace(forward, call=replace(forward.call, style="list")), example)
        sizes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in inputs.items())
        raise SpecError(f"forward() failed on {sizes}: {reason(error)}; give other sizes with --shape") from error


def _tensor(name: str, tensor: torch.Tensor | None) -> Tensor:
    if tensor is None:
        return Tensor(name=name)
    return Tensor(name=name, shape=tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))
