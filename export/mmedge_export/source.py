"""What an export starts from, by its suffix; nothing here needs torch, so that an ``.onnx`` file does without it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mmedge.errors import CheckpointError, SpecError, needs
from mmedge.types import Array
from mmedge_export.parity.cases import Case, Feed
from mmedge_export.parity.comparison import Comparison, Divergence, loose_tolerance, noise_tolerance
from mmedge_export.spec import Spec, read_spec

__all__ = ["OWN_TRACE", "References", "Source", "Traced", "existing", "find_spec", "hash_file", "open_source"]

KINDS = "a .safetensors, .pt, .pt2 or .onnx file"
PIECE = 1 << 20
OWN_TRACE = "torch float64 against its own trace"


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """What the original model gives for every feed of every case, [F, ...] by name.

    Attributes:
        name: What it is, for comparisons.
        computed_by: What computed it, and in which precision and version.
        exact: Outputs that the graph is compared with.
        rounded: Outputs that the device is compared with, in the precision of the graph.
        noisy: Outputs with the model's own rounding noise in them, or None where it cannot be measured.
        inside: Tensors inside, [F, 1, ...], under the names that they have in the graph, as far as there are any.
        inside_noisy: The same with rounding noise in them.
        comparisons: What else was compared on the way.
        notes: What could not be compared, and why.
    """

    name: str
    computed_by: str
    exact: dict[str, Array]
    rounded: dict[str, Array]
    noisy: dict[str, Array] | None
    inside: dict[str, Array]
    inside_noisy: dict[str, Array]
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()

    def allowed(self, rows: slice = slice(None)) -> dict[str, float]:
        """Allowed differences of the outputs of some feeds, from the model's own noise where it can be measured."""
        if self.noisy is None:
            return loose_tolerance({name: array[rows] for name, array in self.exact.items()})
        return noise_tolerance(self.exact, self.noisy, rows)

    def allowed_inside(self, rows: slice = slice(None)) -> dict[str, float]:
        """Allowed differences of the tensors inside, each from its own noise."""
        return noise_tolerance(self.inside, self.inside_noisy, rows)


class Traced(Protocol):
    """The original, after the graph has been written from it: what the graph is compared with."""

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know about the graph."""

    def references(self, cases: Sequence[Case], names: Sequence[str], folder: Path) -> References:
        """What the original gives.

        Args:
            cases: What to feed it with.
            names: Tensors of the graph that are wanted besides the outputs.
            folder: For temporary files.

        Raises:
            SpecError: It cannot be computed on one of the feeds.
            ExportError: The same.
        """

    def diverging(self, feed: Feed) -> Divergence | None:
        """Where what was traced stops computing what the original does, for a comparison called OWN_TRACE."""


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

    def write_graph(self, inputs: Mapping[str, Array], path: Path) -> Traced:
        """Write the whole model as one ONNX graph with exactly these shapes."""


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
