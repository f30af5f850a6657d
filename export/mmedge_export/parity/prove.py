"""The proof: the original against the whole graph, and the whole graph against its stages, in every case.

The embeddings at the cut are compared as well as the outputs, each by its own noise: a stage that is a little wrong
shows there even if nothing of it is left in an output.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from mmedge.errors import ExportError, SpecError
from mmedge.types import Array
from mmedge_export.cut import CutGraph
from mmedge_export.graph import extract
from mmedge_export.isolate import run_isolated
from mmedge_export.parity.cases import Case, located
from mmedge_export.parity.comparison import Comparison, ParityReport, compare, split_tolerance
from mmedge_export.source import References, Traced
from mmedge_export.user_code import first_line
from mmedge_export.weights import write_beside

__all__ = ["STAGES", "Evidence", "gather", "prove", "references_of"]

STAGES = "the ONNX graph against its stages"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a bundle is compared with.

    Attributes:
        cases: What everything was fed with, the samples first.
        references: What the original gives.
        whole: Outputs of the unsplit graph and its tensors at the cut, [F, 1, ...] by name.
        graph: The unsplit graph.
        notes: What could not be compared, and why.
    """

    cases: tuple[Case, ...]
    references: References
    whole: dict[str, Array]
    graph: onnx.ModelProto
    notes: tuple[str, ...]

    @property
    def feeds(self) -> list[Mapping[str, Array]]:
        """Those of all cases, one after another."""
        return [feed for case in self.cases for feed in case.feeds]


def gather(traced: Traced, cut: CutGraph, cases: Sequence[Case], folder: Path) -> Evidence:
    """Compute what a bundle will be compared with.

    A case on which the original itself cannot be computed proves nothing; it is left out, and the notes say so.

    Args:
        traced: The original.
        cut: The unsplit graph and its stages.
        cases: What to feed, the samples first.
        folder: For temporary files.

    Raises:
        SpecError: The original cannot be computed on the samples.
        ExportError: The graph cannot.
    """
    outputs = [value.name for value in cut.whole.graph.output]
    there = {name for node in cut.whole.graph.node for name in node.output} - {*outputs}
    inside = [name for name in cut.tensors if name in there]
    kept, references, notes = references_of(traced, cases, inside, folder)
    path = folder / "tapped.onnx"
    nodes = range(len(cut.whole.graph.node))
    write_beside(extract(cut.whole, nodes, _ports(cut.whole), [*outputs, *inside], "tapped"), path)
    whole = run_isolated(path, [feed for case in kept for feed in case.feeds])
    return Evidence(
        cases=tuple(kept), references=references, whole=whole, graph=cut.whole, notes=(*notes, *references.notes)
    )


def prove(bundle: Path, evidence: Evidence, *, real: bool) -> ParityReport:
    """Compare a bundle on the disk with what it was made from; whether it holds is for the caller to ask.

    Args:
        bundle: Its folder.
        evidence: What it is compared with.
        real: Whether the samples are real sensor data.

    Raises:
        ExportError: The bundle cannot be run.
        ParityError: It gives other tensors or shapes.
    """
    references, whole = evidence.references, evidence.whole
    staged = run_isolated(bundle, evidence.feeds)
    against_whole = f"{references.name} against the ONNX graph"
    rows = list[Comparison]()
    for case, at in located(evidence.cases):
        for exact, given, allowed in (
            (references.exact, {name: whole[name][:, 0] for name in references.exact}, references.allowed(at)),
            (references.inside, whole, references.allowed_inside(at)),
        ):
            rows += compare(against_whole, _rows(exact, at), _rows(given, at), allowed, case.name)
        expected = _rows(whole, at)
        rows += compare(STAGES, expected, _rows(staged, at), split_tolerance(expected), case.name)
    return ParityReport(
        samples=len(evidence.cases[0].feeds),
        real=real,
        original=references.name,
        reference=references.computed_by,
        cases=tuple(case.name for case in evidence.cases),
        comparisons=(*rows, *references.comparisons),
        notes=evidence.notes,
    )


def _rows(arrays: Mapping[str, Array], at: slice) -> dict[str, Array]:
    return {name: array[at] for name, array in arrays.items()}


def _ports(graph: onnx.ModelProto) -> list[str]:
    return [value.name for value in graph.graph.input]


def references_of(
    traced: Traced, cases: Sequence[Case], names: Sequence[str], folder: Path
) -> tuple[list[Case], References, list[str]]:
    """The cases on which the original can be computed, what it gives there, and a note for each of the others.

    Args:
        traced: The original.
        cases: The samples first; on them it must be possible.
        names: Tensors that are wanted besides the outputs.
        folder: For temporary files.

    Raises:
        SpecError: The original cannot be computed on the samples.
        ExportError: The same.
    """
    try:
        found, notes = traced.references(cases, names, folder), list[str]()
    except (SpecError, ExportError) as error:
        if len(cases) == 1:
            raise
        return _one_by_one(traced, cases, names, folder, error)
    bad = [case for case, at in located(cases) if case is not cases[0] and not _finite(found, at)]
    if not bad:
        return list(cases), found, notes
    notes += [f"{case.name}: not compared, the model itself gives NaN or infinity there" for case in bad]
    kept, found, more = references_of(traced, [case for case in cases if case not in bad], names, folder)
    return kept, found, notes + more


def _one_by_one(
    traced: Traced, cases: Sequence[Case], names: Sequence[str], folder: Path, error: Exception
) -> tuple[list[Case], References, list[str]]:
    kept, notes = [cases[0]], []
    for case in cases[1:]:
        if refusal := _refusal(traced, [cases[0], case], folder):
            notes.append(f"{case.name}: not compared, the model itself fails there ({refusal})")
        else:
            kept.append(case)
    if len(kept) == len(cases):
        raise error
    kept, found, more = references_of(traced, kept, names, folder)
    return kept, found, notes + more


def _refusal(traced: Traced, cases: Sequence[Case], folder: Path) -> str:
    try:
        traced.references(cases, (), folder)
    except (SpecError, ExportError) as error:
        return first_line(error.__cause__ or error)  # our own text names files of the user's, and the bundle travels
    return ""


def _finite(references: References, at: slice) -> bool:
    return all(np.isfinite(array[at]).all() for array in references.exact.values())
