"""State dicts as people save them: inside something, with a prefix; all of it fits the model, or nothing is loaded."""

from collections.abc import Mapping

import torch

from mmedge.errors import CheckpointError

__all__ = ["fitting_state", "state_dict_in"]

SHOWN = 3
State = Mapping[str, torch.Tensor]


def state_dict_in(content: object, where: str) -> dict[str, torch.Tensor]:
    """The state dict that a file holds: all of it, or the only one among its values, beside an optimizer and an epoch.

    Args:
        content: What was read.
        where: The file's name, for messages.

    Raises:
        CheckpointError: There is none, or more than one.
    """
    if isinstance(content, Mapping) and _is_state(content):
        return dict(content)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{where} holds {type(content).__name__}, expected a state dict: names to tensors")
    found = {str(key): value for key, value in content.items() if _is_state(value)}
    if "state_dict" in found:
        return dict(found["state_dict"])
    if len(found) != 1:
        keys = ", ".join(found or map(str, content)) or "nothing"
        raise CheckpointError(
            f"{where} holds {type(content).__name__} of {keys}, expected one state dict; save that one by itself"
        )
    return dict(*found.values())


def fitting_state(state: State, expected: State, where: str) -> dict[str, torch.Tensor]:
    """The weights under the names that the model gives them.

    Args:
        state: As it was saved: perhaps every name behind a prefix, by DataParallel ("module."), torch.compile
            ("_orig_mod."), or the class that trained it ("model.").
        expected: The model's own state dict.
        where: Whose weights they are and what model they are for, for messages.

    Raises:
        CheckpointError: A name is missing or unexpected, or a shape is another.
    """
    while not state.keys() & expected.keys() and (prefix := _prefix(state)):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    missing, surprising = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or surprising:
        raise CheckpointError(f"{where} does not fit: missing {_some(missing)}; unexpected {_some(surprising)}")
    for name, tensor in expected.items():
        if state[name].shape != tensor.shape:
            raise CheckpointError(
                f"{where} does not fit: {name} is {list(state[name].shape)}, the model has {list(tensor.shape)}"
            )
    return dict(state)


def _is_state(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in value.items())
    )


def _prefix(state: State) -> str:
    first = {name.split(".")[0] for name in state if "." in name}
    return f"{first.pop()}." if len(first) == 1 and all("." in name for name in state) else ""


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN]) or "nothing"
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
