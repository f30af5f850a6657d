"""A checkpoint or a torch.export archive as the start of an export."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mmedge.errors import SpecError
from mmedge.types import Array
from mmedge_export.checkpoint import build_model, load_checkpoint
from mmedge_export.fold import fold_shapes
from mmedge_export.graph_check import check_graph
from mmedge_export.onnx_ports import fixed_shapes, prune
from mmedge_export.parity import Comparison, compare, noise_tolerance
from mmedge_export.source import References
from mmedge_export.spec import Spec
from mmedge_export.symbolic import export_symbolic, require_symbolic, try_sizes
from mmedge_export.trace import OPSET, reference_outputs, trace
from mmedge_export.weights import read_graph, write_whole

__all__ = ["TorchSource", "open_torch_source"]

FALLBACK = 1e-4  # of the largest output, for models whose rounding noise cannot be measured
ALONE = 2  # samples that are also computed in one batch
Samples = Sequence[Mapping[str, Array]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchSource:
    """A torch module and where it comes from; see :class:`mmedge_export.source.Source`.

    Attributes:
        model: It is only ever copied.
        given_spec: The spec, if it is another than the one inside or beside the checkpoint.
        trusted: Whether the checkpoint may run the code that is in it.
    """

    path: Path
    sha256: str
    spec: Spec
    model: torch.nn.Module
    given_spec: Path | None = None
    trusted: bool = False

    @property
    def made_with(self) -> Mapping[str, str]:
        """See :class:`mmedge_export.source.Source`."""
        return {"torch": str(torch.__version__)}

    def write_graph(self, inputs: Mapping[str, Array], path: Path) -> tuple[str, ...]:
        """See :class:`mmedge_export.source.Source`."""
        notes = self._write_bound(inputs, path) if self.spec.symbolic else []
        if not self.spec.symbolic:
            trace(self.model, inputs, self.spec.returns, path, self.spec.call)
        kinds = {tensor.dtype for tensor in self.model.state_dict().values() if tensor.is_floating_point()}
        other = sorted(str(kind).removeprefix("torch.") for kind in kinds - {torch.float32})
        notes += [f"weights in {', '.join(other)} are computed with in float32"] if other else []
        return tuple(notes)

    def _write_bound(self, inputs: Mapping[str, Array], path: Path) -> list[str]:
        """A graph with symbolic axes, tried at several sizes and then fixed at those of the inputs."""
        outputs, open_path = self.spec.returns, path.with_name("symbolic.onnx")
        export_symbolic(self.path, self.given_spec, open_path, trust_pickle=self.trusted)
        model = read_graph(open_path)
        require_symbolic(model, self.spec, "the graph of torch.onnx")
        notes = try_sizes(
            open_path,
            self.spec,
            inputs,
            lambda given: reference_outputs(self.model, [given], outputs, torch.float32, self.spec.call),
        )
        write_whole(prune(fold_shapes(fixed_shapes(model, inputs)[0]), self.spec), path)
        check_graph(path, inputs, outputs, OPSET)
        return notes

    def references(self, samples: Samples, folder: Path) -> References:
        """See :class:`mmedge_export.source.Source`."""
        del folder
        outputs, call = self.spec.returns, self.spec.call
        rounded: dict[str, Array] = dict(reference_outputs(self.model, samples, outputs, torch.float32, call))
        try:
            exact: dict[str, Array] = dict(reference_outputs(self.model, samples, outputs, torch.float64, call))
        except SpecError:  # a dtype is written into its forward()
            precision, exact = "float32", rounded
            tolerances = {name: _fallback(array) for name, array in rounded.items()}
        else:
            precision, tolerances = "float64", noise_tolerance(exact, rounded)
        return References(
            name=f"torch {precision}",
            computed_by=f"torch {torch.__version__} {precision}",
            exact=exact,
            rounded=rounded,
            tolerances=tolerances,
            comparisons=self._alone(samples, rounded, tolerances),
        )

    def _alone(
        self, samples: Samples, rounded: Mapping[str, Array], tolerances: Mapping[str, float]
    ) -> tuple[Comparison, ...]:
        """A sample alone against the same in a batch: a .squeeze() without a dim mixes up axes only when alone."""
        few = samples[:ALONE]
        batch = {name: np.concatenate([sample[name] for sample in few]) for name in few[0]}
        outputs = self.spec.returns
        try:
            together = reference_outputs(self.model, [batch], outputs, torch.float32, self.spec.call)
        except SpecError:  # it takes one sample at a time and no more, which is all that a bundle does
            return ()
        alone = {name: array[:ALONE] for name, array in rounded.items()}
        # other kernels for another batch may round otherwise; axes mixed up are a far larger difference
        loose = {name: max(tolerances[name], _fallback(array)) for name, array in rounded.items()}
        return tuple(compare("torch on one sample against a batch of two", alone, dict(together), loose))


def _fallback(array: Array) -> float:
    return FALLBACK * float(np.abs(array).max(initial=0.0))


def open_torch_source(path: Path, spec: Path | None, *, trust_pickle: bool) -> TorchSource:
    """Read a checkpoint and build its model.

    Raises:
        CheckpointError: It cannot be read, must not be, or does not fit its model.
        SpecError: There is no spec, or it does not fit.
    """
    checkpoint = load_checkpoint(path, spec, trust_pickle=trust_pickle)
    model = build_model(checkpoint)
    return TorchSource(
        path=checkpoint.path,
        sha256=checkpoint.sha256,
        spec=checkpoint.spec,
        model=model,
        given_spec=spec,
        trusted=trust_pickle,
    )
