"""Where a failure begins: the first node, in the order of the graph, that does not compute what it should."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from mmedge.bundle import MANIFEST
from mmedge.gates import GATE_WEIGHTS
from mmedge.manifest import Manifest, Stage, read_manifest
from mmedge.types import Array
from mmedge_export.graph import stripped, tapped, tensor_specs
from mmedge_export.isolate import run_isolated
from mmedge_export.parity.cases import Case, Feed, located
from mmedge_export.parity.comparison import Divergence, ParityReport, compare, split_tolerance
from mmedge_export.parity.origin import divergence_at
from mmedge_export.parity.prove import STAGES, Evidence
from mmedge_export.source import OWN_TRACE, Traced
from mmedge_export.weights import read_graph, write_whole

__all__ = ["first_divergence"]


def first_divergence(
    report: ParityReport, evidence: Evidence, traced: Traced, bundle: Path, folder: Path
) -> Divergence | None:
    """The first node that is wrong, or None where there is nothing to compare the nodes with.

    Args:
        report: A proof that failed.
        evidence: What it was made from.
        traced: The original.
        bundle: The folder that failed.
        folder: For temporary files.

    Raises:
        ExportError: A graph cannot be run.
    """
    failed = [row for row in report.comparisons if not row.holds]
    against = {row.what for row in failed}
    case = next((case for case in evidence.cases for row in failed if row.case == case.name), evidence.cases[0])
    if OWN_TRACE in against:
        return traced.diverging(case.feeds[0])
    if against == {STAGES}:
        return _in_stages({row.tensor for row in failed}, evidence, case, bundle, folder)
    return _in_graph(evidence, traced, case, folder)


def _in_graph(evidence: Evidence, traced: Traced, case: Case, folder: Path) -> Divergence | None:
    """Every tensor of the whole graph against the same in the original."""
    names = [name for node in evidence.graph.graph.node for name in node.output if name]
    references = traced.references([case], names, folder)
    given = _values(evidence.graph, list(references.inside), case.feeds, folder)
    outputs = {name: array[:, np.newaxis] for name, array in references.exact.items()}
    expected = {**references.inside, **outputs}
    allowed = {**references.allowed_inside(), **references.allowed()}
    return _first(evidence.graph, names, expected, given, allowed)


def _in_stages(failed: set[str], evidence: Evidence, case: Case, bundle: Path, folder: Path) -> Divergence | None:
    """Every tensor of the first stage that is wrong against the same in the whole graph."""
    manifest = read_manifest((bundle / MANIFEST).read_text(encoding="utf-8"), MANIFEST)
    stage = next((stage for stage in manifest.stages if failed & set(stage.outputs)), None)
    if stage is None:
        return None
    if stage.per_item:  # its tensors are of one item, those of the whole graph of a window
        return _at(evidence.graph, next(name for name in stage.outputs if name in failed))
    graph = read_graph(bundle / next(iter(manifest.variants.values())).files[stage.name])
    names = [name for node in graph.graph.node for name in node.output if name]
    expected = _values(evidence.graph, names, case.feeds, folder)
    feeds = _stage_feeds(evidence, manifest, stage, case)
    if feeds[0].keys() != set(stage.inputs):  # it reads what only graphs with weights of modalities make
        return None
    given = _values(graph, names, feeds, folder)
    return _first(evidence.graph, names, expected, given, split_tolerance(expected))


def _stage_feeds(evidence: Evidence, manifest: Manifest, stage: Stage, case: Case) -> list[Feed]:
    """What the whole graph gives a stage."""
    rows = next(at for other, at in located(evidence.cases) if other is case)
    inside = {name: evidence.whole[name][rows] for name in stage.inputs if name in evidence.whole}
    ones = {GATE_WEIGHTS: np.ones(len(manifest.gates.ports), np.float32)} if manifest.gates else {}
    feeds = [{**feed, **ones, **{name: rows[i] for name, rows in inside.items()}} for i, feed in enumerate(case.feeds)]
    return [{name: feed[name] for name in stage.inputs if name in feed} for feed in feeds]


def _values(graph: onnx.ModelProto, names: Sequence[str], feeds: Sequence[Feed], folder: Path) -> dict[str, Array]:
    """Those of some tensors of a graph whose shape is static, [F, ...]."""
    static, outputs = tensor_specs(graph), {value.name for value in graph.graph.output}
    path = folder / "diagnosed.onnx"
    write_whole(tapped(stripped(graph), [name for name in names if name in static and name not in outputs]), path)
    made = run_isolated(path, feeds)
    return {name: made[name] for name in names if name in made}


def _first(
    graph: onnx.ModelProto,
    names: Sequence[str],
    expected: Mapping[str, Array],
    given: Mapping[str, Array],
    allowed: Mapping[str, float],
) -> Divergence | None:
    for name in names:
        if name not in expected or name not in given:
            continue
        same = given[name].shape == expected[name].shape
        if not same or not compare("", {name: expected[name]}, given, allowed)[0].holds:
            return _at(graph, name)
    return None


def _at(graph: onnx.ModelProto, tensor: str) -> Divergence | None:
    return next((divergence_at(node, tensor) for node in graph.graph.node if tensor in node.output), None)
