"""A torch module with flat named inputs and outputs around the user's own, whatever that one takes and returns."""

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch

from mmedge.errors import ExportError, SpecError
from mmedge_export.call import Call
from mmedge_export.user_code import USER_ERRORS, reason, resolve

__all__ = ["Named", "call_model", "eval_mode", "named_copy", "named_outputs"]

DEPTH = 2  # a tuple in a dict, and no deeper
Path = tuple[str | int, ...]


class Named(torch.nn.Module):
    """Calls a module as it wants to be called, and gives its outputs as a tuple in the spec's order.

    Args:
        model: The user's module.
        call: How its forward() takes the inputs.
        outputs: Names of what it returns, by key where it returns keys, else in its order.
    """

    def __init__(self, model: torch.nn.Module, call: Call, outputs: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.call = call
        self.outputs = tuple(outputs)

    def forward(self, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Outputs for inputs by port name, in the order of the ports."""
        return _in_order(call_model(self.model, self.call, inputs), self.outputs)


def call_model(model: torch.nn.Module, call: Call, inputs: dict[str, torch.Tensor]) -> object:
    """What forward() returns for inputs by port name, in the order of the ports.

    Raises:
        SpecError: ``call.type`` cannot be imported.
    """
    if call.style == "keyword":
        return model(**inputs, **call.constants)
    if call.style == "positional":
        return model(*inputs.values(), **call.constants)
    kind = resolve(call.type, "model.call.type") if call.type else dict
    packed = list(inputs.values()) if call.style == "list" else kind(**inputs)
    if call.argument:
        return model(**{call.argument: packed}, **call.constants)
    return model(packed, **call.constants)


def named_outputs(given: object) -> dict[str, torch.Tensor]:
    """The tensors that forward() returned, by their keys where it gave them any; of those, the outermost.

    Raises:
        SpecError: There are none.
    """
    leaves = list(_leaves(given, ()))
    if _keyed(given) is not None and any(len(path) == 1 for path, _ in leaves):
        leaves = [leaf for leaf in leaves if len(leaf[0]) == 1]  # deeper down lie hidden states and the like
    if not leaves:
        raise SpecError(f"forward() returns {type(given).__name__}, expected tensors")
    if all(any(isinstance(key, str) for key in path) for path, _ in leaves):
        return {"_".join(map(str, path)): tensor for path, tensor in leaves}
    if len(leaves) == 1:
        return {"output": leaves[0][1]}
    return {f"output_{i}": tensor for i, (_, tensor) in enumerate(leaves)}


def named_copy(model: torch.nn.Module, call: Call, outputs: Sequence[str], dtype: torch.dtype = torch.float32) -> Named:
    """A :class:`Named` around a copy of the module, in eval mode and one precision; the module itself stays untouched.

    Raises:
        ExportError: The module holds something that cannot be copied.
        SpecError: ``call.type`` cannot be imported.
    """
    # weight_norm keeps a tensor with a history, which deepcopy refuses
    loose = [
        value
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, torch.Tensor) and not value.is_leaf
    ]
    own_tensors: dict[int, object] = {id(tensor): tensor.detach().clone() for tensor in loose}
    for parameter in model.parameters():  # the same memory in another object: .to() gives that one its own, if need be
        if type(parameter) is torch.nn.Parameter:
            own_tensors[id(parameter)] = torch.nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch about its own graphs
            own = copy.deepcopy(model, own_tensors)
    except USER_ERRORS as error:
        raise ExportError(
            f"{type(model).__name__} cannot be copied: {reason(error)}; let the factory return a module without it"
        ) from error
    named = Named(eval_mode(own).to(dtype), call, outputs)
    named.training = False
    return named


def eval_mode(model: torch.nn.Module) -> torch.nn.Module:
    """The same module in eval mode; a graph out of a torch.export archive has no other mode and refuses eval()."""
    return model if isinstance(model, torch.fx.GraphModule) else model.eval()


def _in_order(given: object, outputs: Sequence[str]) -> tuple[torch.Tensor, ...]:
    leaves = list(_leaves(given, ()))
    names = _names(leaves)
    if all(name in names for name in outputs):
        return tuple(names[name] for name in outputs)
    if _keyed(given) is not None and not isinstance(given, tuple):
        raise SpecError(f"forward() returns {', '.join(names) or 'no tensor'}, the spec expects {', '.join(outputs)}")
    if len(leaves) != len(outputs):
        count = f"{len(leaves)} tensors" if leaves else type(given).__name__
        raise SpecError(f"forward() returns {count}, the spec has {len(outputs)} output(s): {', '.join(outputs)}")
    return tuple(tensor for _, tensor in leaves)


def _leaves(value: object, path: Path) -> Iterator[tuple[Path, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield path, value
    elif len(path) < DEPTH:
        keyed = _keyed(value)
        sequence = value if isinstance(value, tuple | list) else ()
        items: Iterable[tuple[Any, object]] = enumerate(sequence) if keyed is None else keyed.items()
        for key, item in items:
            yield from _leaves(item, (*path, key))


def _keyed(value: object) -> dict[str, Any] | None:
    """What has keys as a dict: mappings (Hugging Face's ModelOutput among them), dataclasses, named tuples."""
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    return None


def _names(leaves: Sequence[tuple[Path, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Tensors by key; a nested one by ``outer_inner``, and by ``inner`` alone where only one is called that."""
    last = [path[-1] for path, _ in leaves if path]
    names = {}
    for path, tensor in leaves:
        if any(isinstance(key, str) for key in path):
            names["_".join(map(str, path))] = tensor
            if isinstance(path[-1], str) and last.count(path[-1]) == 1:
                names[path[-1]] = tensor
    return names
