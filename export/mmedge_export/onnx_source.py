"""An ONNX graph as the start of an export; torch is not needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from mmedge.errors import ExportError, SpecError, needs
from mmedge.types import Array
from mmedge_export.fold import fold_shapes
from mmedge_export.graph import count_macs, tapped, tensor_specs
from mmedge_export.graph_check import check_graph
from mmedge_export.isolate import run_isolated
from mmedge_export.onnx_file import read_onnx, supported
from mmedge_export.onnx_ports import fixed_shapes, prune, with_constants
from mmedge_export.parity.cases import Case, Feed
from mmedge_export.parity.comparison import Comparison, Divergence, compare
from mmedge_export.parity.sizes import compare_batch, compare_sizes, other_sizes, resized, symbolic_axes
from mmedge_export.source import References, existing, find_spec, hash_file
from mmedge_export.spec import Spec
from mmedge_export.symbolic import require_symbolic, try_sizes
from mmedge_export.user_code import USER_ERRORS, first_line
from mmedge_export.weights import move_outside, outside_bytes, write_whole

__all__ = ["OnnxSource", "OriginalFile", "open_onnx_source"]

EVALUATED_MACS = 50_000_000  # about a second in onnx's reference evaluator, which is written in numpy
EVALUATED_BYTES = 1 << 28
SEED = 11
TOGETHER = 2  # samples in one batch


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxSource:
    """A graph and where it comes from; see :class:`mmedge_export.source.Source`.

    Attributes:
        model: As it was in the file, with the spec's constants, inputs and outputs.
    """

    path: Path
    sha256: str
    spec: Spec
    model: onnx.ModelProto

    @property
    def made_with(self) -> Mapping[str, str]:
        """See :class:`mmedge_export.source.Source`."""
        return {"onnxruntime": _runtime_version()}

    def write_graph(self, inputs: Mapping[str, Array], path: Path) -> "OriginalFile":
        """See :class:`mmedge_export.source.Source`."""
        notes = self.write_at(inputs, path)
        if self.spec.symbolic:
            require_symbolic(self.model, self.spec, self.path.name)
            write_whole(self.model, path.with_name("symbolic.onnx"))
            notes = try_sizes(path.with_name("symbolic.onnx"), self.spec, inputs, None)
        return OriginalFile(source=self, notes=notes)

    def write_at(self, inputs: Mapping[str, Array], path: Path) -> tuple[str, ...]:
        """Write the graph with exactly these shapes, and tell which open axes they fixed.

        Raises:
            SpecError: The inputs do not fit.
            ExportError: The graph cannot have these shapes.
        """
        light = move_outside(self.model, path.with_suffix(".weights"))
        fixed, notes = fixed_shapes(supported(light, self.path.name), inputs)
        try:
            whole = prune(fold_shapes(fixed), self.spec)
        except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
            raise ExportError(
                f"{self.path.name} does not hold together at the shapes of the spec: {first_line(error)}"
            ) from error
        write_whole(whole, path)
        check_graph(path, inputs, self.spec.returns, whole.opset_import[0].version)
        return tuple(notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalFile:
    """The graph as it was in the file; see :class:`mmedge_export.source.Traced`."""

    source: OnnxSource
    notes: tuple[str, ...]

    def references(self, cases: Sequence[Case], names: Sequence[str], folder: Path) -> References:
        """See :class:`mmedge_export.source.Traced`.

        Rounding noise is what a change of the inputs in their last bit does.
        """
        model, names_out = self.source.model, self.source.spec.returns
        original = folder / "original.onnx"
        inside = [name for name in _typed(model) if name in names and name not in names_out]
        write_whole(move_outside(tapped(model, inside), folder / "original"), original)
        feeds = [feed for case in cases for feed in case.feeds]
        made = run_isolated(original, [*feeds, *map(_nudged, feeds)])
        exact = {name: made[name][: len(feeds)].astype(np.float64) for name in (*names_out, *inside)}
        noisy = {name: made[name][len(feeds) :].astype(np.float64) for name in exact}
        outputs = {name: exact[name][:, 0] for name in names_out}
        found = References(
            name="the original file",
            computed_by=f"onnxruntime {_runtime_version()} on the original file",
            exact=outputs,
            rounded=outputs,
            noisy={name: noisy[name][:, 0] for name in names_out},
            inside={name: exact[name] for name in inside},
            inside_noisy={name: noisy[name] for name in inside},
        )
        first = {name: array[:1] for name, array in outputs.items()}
        checked = _evaluated(model, feeds[0], first, found.allowed(slice(1)))
        sized, sizes = self._at_sizes(cases[0].feeds, original, folder)
        by = f"{found.computed_by}, which onnx {onnx.__version__} evaluates alike" if checked else found.computed_by
        return replace(found, computed_by=by, comparisons=(*checked, *sized), notes=tuple(sizes))

    def _at_sizes(self, samples: Sequence[Feed], original: Path, folder: Path) -> tuple[list[Comparison], list[str]]:
        """What the file gives at other sizes of its open axes, and which of them are open in name only."""
        rows, notes = list[Comparison](), list[str]()
        axes, outputs = symbolic_axes(self.source.model), self.source.spec.returns
        batched = {name for axis in axes for name, position in axis.places if position == 0}
        if any(node.op_type == "DynamicQuantizeLinear" for node in self.source.model.graph.node):
            notes.append("it is quantised while it runs, by ranges of the whole batch: batches were not compared")
        elif batched == samples[0].keys():
            try:
                rows += compare_batch(original, samples[:TOGETHER], outputs)
            except ExportError as error:
                notes.append(f"the batch axis is open in name only: it cannot be {TOGETHER} ({error})")
        for axis in (axis for axis in axes if not axis.is_batch):
            name, position = axis.places[0]
            sizes = other_sizes(samples[0][name].shape[position])
            pairs = [(feed, _nudged(feed)) for feed in (resized(samples[0], axis, size) for size in sizes)]
            feeds = [feed for pair in pairs for feed in pair]
            try:
                rows += compare_sizes(original, self.source.write_at, axis, feeds, outputs, folder)
            except (ExportError, SpecError) as error:
                tried = " and ".join(map(str, sizes))
                notes.append(f"the axis {axis.name} is open in name only: it cannot be {tried} ({error})")
        return rows, notes

    def diverging(self, feed: Feed) -> Divergence | None:
        """See :class:`mmedge_export.source.Traced`; there is no trace here."""
        del feed
        return None


def open_onnx_source(path: Path, spec: Path | None) -> OnnxSource:
    """Read an ONNX file and its spec.

    Raises:
        CheckpointError: It is missing, damaged, or not valid.
        SpecError: There is no spec, or it names other inputs and outputs.
    """
    found = find_spec(existing(path), spec)
    return OnnxSource(path=path, sha256=hash_file(path), spec=found, model=with_constants(read_onnx(path), found))


def _nudged(sample: Mapping[str, Array]) -> dict[str, Array]:
    random = np.random.default_rng(SEED)
    nudged = {}
    for name, array in sample.items():
        nudged[name] = array
        if np.issubdtype(array.dtype, np.floating):
            towards = np.where(random.random(array.shape) < 0.5, -np.inf, np.inf).astype(array.dtype)
            nudged[name] = np.nextafter(array, towards)
    return nudged


def _evaluated(
    model: onnx.ModelProto, sample: Mapping[str, Array], exact: Mapping[str, Array], tolerances: Mapping[str, float]
) -> tuple[Comparison, ...]:
    """ONNX Runtime against onnx's own evaluator, on one sample, where that is quick and knows the operators."""
    if outside_bytes(model) or model.ByteSize() > EVALUATED_BYTES:
        return ()
    specs = tensor_specs(fixed_shapes(model, sample)[0])
    nested = any(attribute.HasField("g") for node in model.graph.node for attribute in node.attribute)
    if nested or sum(count_macs(node, specs) for node in model.graph.node) > EVALUATED_MACS:
        return ()
    try:
        rows = ReferenceEvaluator(model).run(list(exact), dict(sample))
    except USER_ERRORS:  # it lacks an operator, or does not take it as ONNX Runtime does: no second opinion
        return ()
    given = {name: np.asarray(row) for name, row in zip(exact, rows, strict=True)}
    return tuple(compare("onnx's reference evaluator against ONNX Runtime", exact, given, tolerances))


def _typed(model: onnx.ModelProto) -> list[str]:
    """Tensors inside the graph that are known to be floating point."""
    inferred = onnx.shape_inference.infer_shapes(model)
    values = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    return [name for name, kind in values.items() if kind in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)]


def _runtime_version() -> str:
    return str(needs("onnxruntime", fix="pip install 'mmedge[cpu]'").__version__)
