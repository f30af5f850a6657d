"""Checkpoints: what can be read without running anybody's code, and what is refused."""

import hashlib
import importlib
import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mmedge.errors import CheckpointError, SpecError
from mmedge_export.spec import Spec, read_spec

__all__ = ["SPEC_KEY", "Checkpoint", "build_model", "load_checkpoint", "resolve", "save_checkpoint"]

SPEC_KEY = "mmedge.spec"
PARALLEL = "module."  # what torch.nn.DataParallel puts before every name
NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Weights and the description of the model that they belong to.

    Attributes:
        path: Where it was read from.
        sha256: Of the file.
        spec: The description, from inside the file or beside it.
        state: Weights by parameter name.
        module: The whole module, from a pickle that the user trusts; then there is no ``state``.
    """

    path: Path
    sha256: str
    spec: Spec
    state: dict[str, torch.Tensor]
    module: torch.nn.Module | None = None


def save_checkpoint(path: str | Path, model: torch.nn.Module, spec: str) -> None:
    """Write weights and SPEC.toml as one safetensors file.

    Args:
        path: The file to write.
        model: Its ``state_dict()`` is saved.
        spec: Text of a SPEC.toml.

    Raises:
        SpecError: The text is not a SPEC.toml.
    """
    read_spec(spec, "spec")
    state = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, path, metadata={SPEC_KEY: spec})


def load_checkpoint(path: str | Path, spec: str | Path | None = None, *, trust_pickle: bool = False) -> Checkpoint:
    """Read a ``.safetensors`` or ``.pt`` checkpoint and its spec; no code inside either is run unless it is trusted.

    Args:
        path: The checkpoint.
        spec: A SPEC.toml; by default the one inside the checkpoint, or ``SPEC.toml`` beside it.
        trust_pickle: Let a ``.pt`` file run the code that is pickled in it.

    Raises:
        CheckpointError: It is missing, damaged, a pickle, or not a state dict.
        SpecError: There is no spec, or it does not fit.
    """
    file = Path(path)
    if not file.is_file():
        raise CheckpointError(f"{file} does not exist; expected a .safetensors or .pt checkpoint")
    if file.stat().st_size == 0:
        raise CheckpointError(f"{file} is empty; expected a .safetensors or .pt checkpoint")
    module, inside = None, None
    if file.suffix == ".safetensors":
        state, inside = _read_safetensors(file)
    else:
        content = _read_pt(file, trust_pickle=trust_pickle)
        module = content if isinstance(content, torch.nn.Module) else None
        state = {} if module else _state_dict(file, content)
    return Checkpoint(
        path=file,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        spec=_find_spec(file, spec, inside),
        state=state,
        module=module,
    )


def build_model(checkpoint: Checkpoint) -> torch.nn.Module:
    """Call the spec's factory, load every weight, and give the model in eval mode.

    Raises:
        SpecError: The factory cannot be found or called.
        CheckpointError: A key is missing, unexpected, or of another shape.
    """
    spec = checkpoint.spec
    if checkpoint.module is not None:
        return checkpoint.module.eval()
    if not spec.factory:
        raise SpecError('model.factory is missing; a state dict needs one, e.g. factory = "package.module:build"')
    factory = resolve(spec.factory, "model.factory")
    try:
        model = factory(**spec.arguments)
    except TypeError as error:
        raise SpecError(f"model.factory = {spec.factory!r} refused model.arguments: {error}") from error
    if not isinstance(model, torch.nn.Module):
        raise SpecError(f"model.factory = {spec.factory!r} gave {type(model).__name__}, expected a torch.nn.Module")
    model.load_state_dict(_fitting_state(checkpoint, model.state_dict()))
    return model.eval()


def resolve(name: str, key: str) -> Callable[..., Any]:
    """Import ``package.module:function``.

    Args:
        name: What to import.
        key: The key of the spec it stands under, for messages.

    Raises:
        SpecError: It cannot be imported or is not there.
    """
    module_name, _, attribute = name.partition(":")
    if not attribute:
        raise SpecError(f"{key} = {name!r} is not package.module:function")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise SpecError(
            f"{key} = {name!r} cannot be imported ({error}); run from the folder that holds it, or install it"
        ) from error
    if not callable(found):
        raise SpecError(f"{key} = {name!r} is {type(found).__name__}, expected a function")
    function: Callable[..., Any] = found
    return function


def _read_safetensors(file: Path) -> tuple[dict[str, torch.Tensor], str | None]:
    try:
        with safe_open(file, framework="pt") as archive:
            metadata = archive.metadata() or {}
            return {name: archive.get_tensor(name) for name in archive.keys()}, metadata.get(SPEC_KEY)  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{file} is not a whole safetensors file ({error}); copy it again") from error


def _read_pt(file: Path, *, trust_pickle: bool) -> object:
    with file.open("rb") as opened:
        head = opened.read(2)
    if head not in {b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"}:
        raise CheckpointError(
            f"{file} is neither a torch archive nor a pickle; expected a .safetensors or .pt checkpoint"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about versions of the pickle protocol
            return torch.load(file, map_location="cpu", weights_only=not trust_pickle)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file} holds pickled Python objects, which run code when they are loaded; save model.state_dict() "
            "instead, or give --trust-pickle if you trust whoever made it"
        ) from error
    except (ImportError, AttributeError) as error:
        raise CheckpointError(
            f"{file} needs code that is not here ({error}); looked in {Path.cwd()} and the installed packages"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{file} is not a whole checkpoint ({' '.join(str(error).split())[:160]})") from error


def _state_dict(file: Path, content: object) -> dict[str, torch.Tensor]:
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise CheckpointError(f"{file} holds {type(content).__name__}, expected a state dict: names to tensors")
    return dict(content)


def _find_spec(file: Path, given: str | Path | None, inside: str | None) -> Spec:
    beside = file.with_name("SPEC.toml")
    if given is None and inside is not None:
        return read_spec(inside, f"the spec inside {file.name}", file.parent)
    path = Path(given) if given is not None else beside
    if not path.is_file():
        raise SpecError(
            f"no spec for {file}: not inside it, and {path} does not exist; write a SPEC.toml, or give --spec"
        )
    return read_spec(path.read_text(encoding="utf-8"), str(path), path.parent)


def _fitting_state(checkpoint: Checkpoint, expected: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    state = checkpoint.state
    if not state.keys() & expected.keys() and all(name.startswith(PARALLEL) for name in state):
        state = {name.removeprefix(PARALLEL): tensor for name, tensor in state.items()}
    missing = sorted(expected.keys() - state.keys())
    surprising = sorted(state.keys() - expected.keys())
    if missing or surprising:
        raise CheckpointError(
            f"{checkpoint.path} does not fit {checkpoint.spec.factory}: "
            f"missing {_names(missing)}; unexpected {_names(surprising)}"
        )
    for name, tensor in expected.items():
        given = state[name]
        if given.shape != tensor.shape:
            raise CheckpointError(
                f"{checkpoint.path}: {name} is {list(given.shape)}, {checkpoint.spec.factory} has {list(tensor.shape)}"
            )
    return state


def _names(names: list[str]) -> str:
    shown = ", ".join(names[:NAMED]) or "nothing"
    return f"{shown} and {len(names) - NAMED} more" if len(names) > NAMED else shown
