"""A checkpoint or a torch.export archive as the start of an export."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mmedge.errors import SpecError
from mmedge.types import Array
from mmedge_export.checkpoint import build_model, load_checkpoint
from mmedge_export.parity.cases import Case, Feed, located
from mmedge_export.parity.comparison import Comparison, Divergence, compare, loose_tolerance
from mmedge_export.program import Program
from mmedge_export.source import OWN_TRACE, References
from mmedge_export.spec import Spec
from mmedge_export.symbolic import export_symbolic, require_symbolic, try_sizes
from mmedge_export.trace import reference_outputs, rounds_inside, signatures, trace
from mmedge_export.user_code import USER_ERRORS, first_line
from mmedge_export.weights import read_graph

__all__ = ["TorchSource", "TracedModule", "open_torch_source"]

ALONE = 2  # samples that are also computed in one batch
DOUBLE = 2.0**-23  # float64 rounds 2**29 times finer than float32; some of that is left to other kernels


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

    def write_graph(self, inputs: Mapping[str, Array], path: Path) -> "TracedModule":
        """See :class:`mmedge_export.source.Source`."""
        program = trace(self.model, inputs, self.spec.returns, path, self.spec.call)
        tried = self._tried(inputs, path.with_name("symbolic.onnx")) if self.spec.symbolic else ()
        return TracedModule(model=self.model, spec=self.spec, program=program, tried=tried)

    def _tried(self, inputs: Mapping[str, Array], path: Path) -> tuple[str, ...]:
        """What is shipped has fixed sizes; that the axes can be open is shown on a graph of its own."""
        export_symbolic(self.path, self.given_spec, path, trust_pickle=self.trusted)
        require_symbolic(read_graph(path), self.spec, "the graph of torch.onnx")
        call, outputs = self.spec.call, self.spec.returns
        return try_sizes(
            path, self.spec, inputs, lambda feed: reference_outputs(self.model, [feed], outputs, torch.float32, call)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedModule:
    """A module and what torch.export made of it; see :class:`mmedge_export.source.Traced`."""

    model: torch.nn.Module
    spec: Spec
    program: Program
    tried: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """See :class:`mmedge_export.source.Traced`."""
        kinds = {tensor.dtype for tensor in self.model.state_dict().values() if tensor.is_floating_point()}
        other = sorted(str(kind).removeprefix("torch.") for kind in kinds - {torch.float32})
        return (*self.tried, *([f"weights in {', '.join(other)} are computed with in float32"] if other else []))

    def references(self, cases: Sequence[Case], names: Sequence[str], folder: Path) -> References:
        """See :class:`mmedge_export.source.Traced`."""
        del folder
        feeds = [feed for case in cases for feed in case.feeds]
        rounded = self._outputs(feeds, torch.float32)
        try:
            exact, precision = self._outputs(feeds, torch.float64), "float64"
            loose = rounds_inside(self.model, feeds[0], self.spec.returns, self.spec.call)
        except SpecError:  # a dtype is written into its forward()
            exact, precision, loose = rounded, "float32", True
        inside, inside_noisy, notes = self._inside(feeds, [*names, *self.spec.returns])
        traced = {name: inside.pop(name)[:, 0] for name in self.spec.returns if name in inside}
        complete = traced.keys() == set(self.spec.returns)
        noisy = rounded if precision == "float64" else traced if complete else None
        found = References(
            name=f"torch {precision}",
            computed_by=f"torch {torch.__version__} {precision}",
            exact=exact,
            rounded=rounded,
            noisy=noisy,
            inside=inside,
            inside_noisy={name: inside_noisy[name] for name in inside},
            notes=notes,
        )
        own = _own_trace(cases, found, traced, loose=loose) if precision == "float64" else []
        return replace(found, comparisons=(*own, *self._alone(cases[0].feeds, found)))

    def diverging(self, feed: Feed) -> Divergence | None:
        """See :class:`mmedge_export.source.Traced`."""
        return self.program.first_unlike(feed, signatures(self.model, feed, self.spec.returns, self.spec.call))

    def _outputs(self, feeds: Sequence[Feed], dtype: torch.dtype) -> dict[str, Array]:
        return dict(reference_outputs(self.model, feeds, self.spec.returns, dtype, self.spec.call))

    def _inside(
        self, feeds: Sequence[Feed], names: Sequence[str]
    ) -> tuple[dict[str, Array], dict[str, Array], tuple[str, ...]]:
        try:
            exact = self.program.values(feeds, names, torch.float64)
            return exact, self.program.values(feeds, list(exact), torch.float32), ()
        except USER_ERRORS as error:
            note = f"torch cannot run its own trace in float64 ({first_line(error)}), so only outputs were compared"
            return {}, {}, (note,)

    def _alone(self, samples: Sequence[Feed], references: References) -> list[Comparison]:
        """A sample alone against the same in a batch: a .squeeze() without a dim mixes up axes only when alone."""
        few = samples[:ALONE]
        batch = {name: np.concatenate([sample[name] for sample in few]) for name in few[0]}
        try:
            together = self._outputs([batch], torch.float32)
        except SpecError:  # it takes one sample at a time and no more, which is all that a bundle does
            return []
        alone = {name: array[: len(few)] for name, array in references.rounded.items()}
        together = {name: _own(array, alone[name].shape) for name, array in together.items()}
        # other kernels for another batch may round otherwise; axes mixed up are a far larger difference
        fine, loose = references.allowed(slice(len(few))), loose_tolerance(alone)
        allowed = {name: max(fine[name], loose[name]) for name in alone}
        return compare("torch on one sample against a batch of two", alone, together, allowed)


def _own(array: Array, shape: tuple[int, ...]) -> Array:
    """What a batch gives each sample alone: CLIP and its like score every sample with every other of the batch."""
    for axis in range(1, len(shape)):
        paired = (*shape[:axis], shape[0], *shape[axis + 1 :])
        if shape[axis] == 1 and array.shape == paired:
            return np.expand_dims(np.moveaxis(np.diagonal(array, axis1=0, axis2=axis), -1, 0), axis)
    return array


def _own_trace(
    cases: Sequence[Case], references: References, traced: Mapping[str, Array], *, loose: bool
) -> list[Comparison]:
    """The module against what was exported of it, in float64, where even what is drowned in an output can be seen."""
    rows = []
    for case, at in located(cases):
        exact = {name: array[at] for name, array in references.exact.items() if name in traced}
        given = {name: traced[name][at] for name in exact}
        allowed = {
            name: value if loose else DOUBLE * value for name, value in references.allowed(at).items() if name in exact
        }
        rows += compare(OWN_TRACE, exact, given, allowed, case.name)
    return rows


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
