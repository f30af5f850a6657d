"""An ONNX graph as the start of an export; torch is not needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from mmedge.errors import ExportError, needs
from mmedge.types import Array
from mmedge_export.fold import fold_shapes
from mmedge_export.graph import count_macs, tensor_specs
from mmedge_export.graph_check import check_graph
from mmedge_export.isolate import run_isolated
from mmedge_export.onnx_file import read_onnx, supported
from mmedge_export.onnx_ports import fixed_shapes, prune, with_constants
from mmedge_export.parity import Comparison, compare, noise_tolerance
from mmedge_export.source import References, existing, find_spec, hash_file
from mmedge_export.spec import Spec
from mmedge_export.symbolic import require_symbolic, try_sizes
from mmedge_export.user_code import USER_ERRORS, first_line
from mmedge_export.weights import move_outside, outside_bytes, write_whole

__all__ = ["OnnxSource", "open_onnx_source"]

EVALUATED_MACS = 50_000_000  # about a second in onnx's reference evaluator, which is written in numpy
EVALUATED_BYTES = 1 << 28
SEED = 11
Samples = Sequence[Mapping[str, Array]]


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

    def write_graph(self, inputs: Mapping[str, Array], path: Path) -> tuple[str, ...]:
        """See :class:`mmedge_export.source.Source`."""
        light = move_outside(self.model, path.with_name("weights"))
        fixed, notes = fixed_shapes(supported(light, self.path.name), inputs)
        if self.spec.symbolic:
            require_symbolic(self.model, self.spec, self.path.name)
            write_whole(light, path.with_name("symbolic.onnx"))
            notes = try_sizes(path.with_name("symbolic.onnx"), self.spec, inputs, None)
        try:
            whole = prune(fold_shapes(fixed), self.spec)
        except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
            raise ExportError(
                f"{self.path.name} does not hold together at the shapes of the spec: {first_line(error)}"
            ) from error
        write_whole(whole, path)
        check_graph(path, inputs, self.spec.returns, whole.opset_import[0].version)
        return tuple(notes)

    def references(self, samples: Samples, folder: Path) -> References:
        """See :class:`mmedge_export.source.Source`.

        Rounding noise is what a change of the inputs in their last bit does to the outputs.
        """
        original = folder / "original.onnx"
        write_whole(move_outside(self.model, folder / "original"), original)
        made = run_isolated(original, [*samples, *map(_nudged, samples)])
        outputs = {name: made[name][:, 0].astype(np.float64) for name in self.spec.returns}
        exact = {name: array[: len(samples)] for name, array in outputs.items()}
        tolerances = noise_tolerance(exact, {name: array[len(samples) :] for name, array in outputs.items()})
        checked = _evaluated(self.model, samples[0], exact, tolerances)
        by = f"onnxruntime {_runtime_version()} on the original file"
        return References(
            name="the original file",
            computed_by=f"{by}, which onnx {onnx.__version__} evaluates alike" if checked else by,
            exact=exact,
            rounded=exact,
            tolerances=tolerances,
            comparisons=checked,
        )


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
        towards = np.where(random.random(array.shape) < 0.5, -np.inf, np.inf).astype(array.dtype, copy=False)
        nudged[name] = np.nextafter(array, towards) if np.issubdtype(array.dtype, np.floating) else array
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
    first = {name: array[:1] for name, array in exact.items()}
    return tuple(compare("onnx's reference evaluator against ONNX Runtime", first, given, tolerances))


def _runtime_version() -> str:
    return str(needs("onnxruntime", fix="pip install 'mmedge[cpu]'").__version__)
