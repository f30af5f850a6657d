"""Checkpoints: what can be read without running anybody's code, and what is refused."""

import pickle
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mmedge.errors import CheckpointError, SpecError
from mmedge_export.archive import read_archive
from mmedge_export.named import eval_mode
from mmedge_export.source import existing, find_spec, hash_file
from mmedge_export.spec import Spec, read_spec
from mmedge_export.state import fitting_state, state_dict_in
from mmedge_export.user_code import USER_ERRORS, first_line, reason, resolve

__all__ = ["SPEC_KEY", "Checkpoint", "build_model", "call_factory", "load_checkpoint", "save_checkpoint"]

SPEC_KEY = "mmedge.spec"
PARALLEL = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Weights and the description of the model that they belong to.

    Attributes:
        path: Where it was read from.
        sha256: Of the file.
        spec: The description, from inside the file or beside it.
        state: Weights by parameter name.
        module: The whole module, from a pickle or an archive that the user trusts; then there is no ``state``.
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
    state = {
        name: tensor.detach().clone().contiguous() for name, tensor in model.state_dict().items()
    }  # tied ones apart
    save_file(state, path, metadata={SPEC_KEY: spec})


def load_checkpoint(path: str | Path, spec: str | Path | None = None, *, trust_pickle: bool = False) -> Checkpoint:
    """Read a checkpoint and its spec; no code inside is run unless it is trusted.

    Args:
        path: A ``.safetensors`` or ``.pt`` state dict, a pickled module, or a ``.pt2`` archive of torch.export.
        spec: A SPEC.toml; by default the one inside the checkpoint, or ``SPEC.toml`` beside it.
        trust_pickle: Let the file run the code that is in it.

    Raises:
        CheckpointError: It is missing, damaged, not to be run, or not a state dict.
        SpecError: There is no spec, or it does not fit.
    """
    file = existing(Path(path))
    state: dict[str, torch.Tensor] = {}
    module, inside = None, None
    if file.suffix == ".safetensors":
        state, inside = _read_safetensors(file)
        found = find_spec(file, spec, inside)
    elif file.suffix == ".pt2":
        found = find_spec(file, spec)
        module = read_archive(file, found, trusted=trust_pickle)
    else:
        content = _read_pt(file, trust_pickle=trust_pickle)
        if isinstance(content, torch.nn.Module):
            module = content.module if isinstance(content, PARALLEL) else content
        else:
            state = state_dict_in(content, str(file))
        found = find_spec(file, spec)
    return Checkpoint(path=file, sha256=hash_file(file), spec=found, state=state, module=module)


def build_model(checkpoint: Checkpoint) -> torch.nn.Module:
    """Call the spec's factory, load every weight, and give the model in eval mode.

    Raises:
        SpecError: The factory cannot be found or called.
        CheckpointError: A key is missing, unexpected, or of another shape.
    """
    spec = checkpoint.spec
    if checkpoint.module is not None:
        return eval_mode(checkpoint.module)
    if not spec.factory:
        raise SpecError('model.factory is missing; a state dict needs one, e.g. factory = "package.module:build"')
    model = call_factory(spec.factory, spec.arguments)
    where = f"{checkpoint.path} for {spec.factory}"
    model.load_state_dict(fitting_state(checkpoint.state, model.state_dict(), where))
    return model.eval()


def call_factory(name: str, arguments: dict[str, object]) -> torch.nn.Module:
    """The module that a factory makes.

    Args:
        name: The factory, as ``package.module:function``.
        arguments: Its keyword arguments.

    Raises:
        SpecError: It cannot be imported, refuses its arguments, fails, or gives something else.
    """
    factory = resolve(name, "model.factory")
    try:
        model = factory(**arguments)
    except TypeError as error:
        raise SpecError(f"model.factory = {name!r} refused model.arguments: {reason(error)}") from error
    except USER_ERRORS as error:
        raise SpecError(f"model.factory = {name!r} failed: {reason(error)}") from error
    if not isinstance(model, torch.nn.Module):
        raise SpecError(f"model.factory = {name!r} gave {type(model).__name__}, expected a torch.nn.Module")
    return model


def _read_safetensors(file: Path) -> tuple[dict[str, torch.Tensor], str | None]:
    try:
        with safe_open(file, framework="pt") as archive:
            metadata = archive.metadata() or {}
            return {name: archive.get_tensor(name) for name in archive.keys()}, metadata.get(SPEC_KEY)  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{file} is not a whole safetensors file ({error}); copy it again") from error


def _is_script(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return any("/code/" in name for name in archive.namelist())
    except zipfile.BadZipFile:
        return False  # torch.load says what is wrong with it


def _read_pt(file: Path, *, trust_pickle: bool) -> object:
    with file.open("rb") as opened:
        head = opened.read(2)
    if head not in {b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"}:
        raise CheckpointError(
            f"{file} is neither a torch archive nor a pickle; expected a .safetensors or .pt checkpoint"
        )
    if head == b"PK" and _is_script(file):
        raise CheckpointError(
            f"{file} is a TorchScript archive, which cannot be traced again; save model.state_dict() of the module it "
            "was made from, or an .onnx"
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
            f"{file} needs code that is not here ({first_line(error)}); looked in {Path.cwd()} and the installed "
            "packages; run from the folder of the code that made it, or save model.state_dict() there"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{file} is not a whole checkpoint ({' '.join(str(error).split())[:160]})") from error
