"""What an export starts from, by its suffix; nothing here needs torch, so that an ``.onnx`` file does without it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mmedge.errors import CheckpointError, SpecError, needs
from mmedge.types import Array
from mmedge_export.parity import Comparison
from mmedge_export.spec import Spec, read_spec

__all__ = ["References", "Source", "existing", "find_spec", "hash_file", "open_source"]

KINDS = "a .safetensors, .pt, .pt2 or .onnx file"
PIECE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """What the original model gives for every sample, [S, ...] by output.

    Attributes:
        name: What it is, for comparisons.
        computed_by: What computed it, and in which precision and version.
        exact: What the graph is compared with.
        rounded: What the device is compared with, in the precision of the graph.
        tolerances: Allowed differences, from the model's own rounding noise where it can be measured.
        comparisons: What else was compared on the way.
    """

    name: str
    computed_by: str
    exact: dict[str, Array]
    rounded: dict[str, Array]
    tolerances: dict[str, float]
    comparisons: tuple[Comparison, ...] = ()


class Source(Protocol):
    """What an export asks of the file that it starts from."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def sha256(self) -> str:
        """Of the file."""

    @property
    def spec(self) -> Spec:
        """The description, from inside the file or beside it."""

    @property
    def made_with(self) -> Mapping[str, str]:
        """Versions of the libraries that read and traced it."""

    def write_graph(self, inputs: Mapping[str, Array], path: Path) -> tuple[str, ...]:
        """Write the whole model as one ONNX graph with exactly these shapes; what a person should know about it."""

    def references(self, samples: Sequence[Mapping[str, Array]], folder: Path) -> References:
        """What the original gives for port tensors, batch axis included; ``folder`` is for temporary files."""


def open_source(path: Path, spec: Path | None, *, trust_pickle: bool) -> Source:
    """Read what an export starts from.

    Args:
        path: A checkpoint, a torch.export archive, or an ONNX graph.
        spec: A SPEC.toml other than the one inside or beside the file.
        trust_pickle: Let the file run the code that is pickled in it.

    Raises:
        CheckpointError: It cannot be read, or must not be.
        SpecError: There is no spec, or it does not fit.
        MissingLibraryError: torch is not installed, and the file needs it.
    """
    if path.suffix == ".onnx":
        from mmedge_export.onnx_source import open_onnx_source

        return open_onnx_source(path, spec)
    needs("torch", fix="pip install 'mmedge[export]' (an .onnx file needs no torch)")
    from mmedge_export.torch_source import open_torch_source

    return open_torch_source(path, spec, trust_pickle=trust_pickle)


def existing(path: Path) -> Path:
    """The path, if there is a file that is not empty.

    Raises:
        CheckpointError: There is none.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; expected {KINDS}")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty; expected {KINDS}")
    return path


def hash_file(path: Path) -> str:
    """SHA-256 of a file of any size."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def find_spec(file: Path, given: str | Path | None, inside: str | None = None) -> Spec:
    """The spec that belongs to a file: the one that was given, the one inside, or ``SPEC.toml`` beside it.

    Raises:
        SpecError: There is none, or it cannot be read.
    """
    if given is None and inside is not None:
        return read_spec(inside, f"the spec inside {file.name}", file.parent)
    path = Path(given) if given is not None else file.with_name("SPEC.toml")
    if not path.is_file():
        raise SpecError(
            f"no spec for {file}: not inside it, and {path} does not exist; write one with: mmedge spec init, "
            "or give --spec"
        )
    try:
        return read_spec(path.read_text(encoding="utf-8"), str(path), path.parent)
    except UnicodeDecodeError as error:
        raise SpecError(f"{path} is not UTF-8 text; expected a SPEC.toml") from error
