"""Measures variants of one bundle on its windows: at the outputs, at the embeddings, and with one sensor alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx

from mmedge.backends.ort import OrtSession
from mmedge.bundle import Bundle
from mmedge.calibration import TensorRange
from mmedge.manifest import Manifest, StagePlan
from mmedge.types import Array
from mmedge_export.quantize.calibrate import fp32_graphs
from mmedge_export.quantize.runner import run_again, run_stage, run_windows
from mmedge_export.quantize.score import Budget, Loss, losses, relative_error
from mmedge_export.quantize.variants import imitated_stage, prepared
from mmedge_export.quantize.windows import Windows

__all__ = ["Alone", "EmbeddingShift", "Evaluator", "Plans", "first_windows"]

Plans = Mapping[str, StagePlan]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingShift:
    """One tensor between stages, in the variant against fp32.

    Attributes:
        tensor: Its name.
        cosine: Mean cosine of the angle between the two, after the fp32 mean was taken away.
        error: Relative error.
    """

    tensor: str
    cosine: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """One output while one sensor is real and the others stand at their mean embedding.

    A fused decision can hide that a branch is damaged, when another one decides alone.

    Attributes:
        port: The sensor.
        output: The output.
        error: Relative error of the variant against fp32 under the same conditions.
        share_fp32: Share of this sensor in how much the output moves when a sensor is taken away.
        share: The same in the variant.
    """

    port: str
    output: str
    error: float
    share_fp32: float
    share: float


class Evaluator:
    """Everything that is needed to judge plans for one bundle; graphs and reference tensors are kept.

    Attributes:
        manifest: Of the bundle.
        models: The fp32 stages, nodes named.
        ranges: Of their activations.
        windows: What is measured with.
        reference: Every tensor in fp32, [W, ...].
    """

    def __init__(
        self,
        bundle: Bundle,
        ranges: Mapping[str, Mapping[str, TensorRange]],
        windows: Windows,
        reference: Mapping[str, Array] | None = None,
    ) -> None:
        self.manifest: Manifest = bundle.manifest
        self.fp32 = fp32_graphs(bundle)
        self.models: dict[str, onnx.ModelProto] = {name: prepared(graph) for name, graph in self.fp32.items()}
        self.ranges = ranges
        self.windows = windows
        self.reference = run_windows(self.manifest, self.fp32, windows) if reference is None else dict(reference)
        self._graphs: dict[tuple[str, str, StagePlan], bytes] = {}
        self._border = _border(self.manifest)
        self._fp32_alone: dict[frozenset[str], dict[str, Array]] = {}

    def graphs(self, family: str, plans: Plans) -> dict[str, bytes]:
        """A graph for each stage that ONNX Runtime computes on a CPU; stages without a plan are fp32."""
        made = {}
        for name, model in self.models.items():
            plan = plans.get(name)
            if plan is None or plan.precision == "fp32":
                made[name] = self.fp32[name]
                continue
            key = (family, name, plan)
            if key not in self._graphs:
                graph = imitated_stage(model, self.ranges[name], plan, family)
                self._graphs[key] = graph.SerializeToString()
            made[name] = self._graphs[key]
        return made

    def tensors(self, family: str, plans: Plans) -> dict[str, Array]:
        """Every tensor of a variant, [W, ...]."""
        graphs = self.graphs(family, plans)
        changed = [name for name in graphs if graphs[name] is not self.fp32[name]]
        return run_again(self.manifest, graphs, self.windows, self.reference, changed)

    def error(self, tensors: Mapping[str, Array]) -> float:
        """Mean relative error of the raw outputs of a variant."""
        names = {output.tensor for output in self.manifest.outputs.values()}
        return float(np.mean([relative_error(self.reference[name], tensors[name]) for name in sorted(names)]))

    def losses(self, tensors: Mapping[str, Array], budget: Budget) -> list[Loss]:
        """The outputs of a variant, judged."""
        return losses(self.manifest, self.reference, tensors, self.windows.labels, budget)

    def shifts(self, tensors: Mapping[str, Array]) -> list[EmbeddingShift]:
        """The embeddings of a variant against fp32."""
        rows = []
        for name in self._embeddings():
            expected = self.reference[name].reshape(len(self.windows), -1).astype(np.float64)
            given = tensors[name].reshape(len(self.windows), -1).astype(np.float64)
            mean = expected.mean(0)
            a, b = expected - mean, given - mean
            norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            cosines = np.divide((a * b).sum(1), norms, out=np.ones(len(a)), where=norms > 0)
            error = relative_error(self.reference[name], tensors[name])
            rows.append(EmbeddingShift(tensor=name, cosine=float(cosines.mean()), error=error))
        return rows

    def alone(self, family: str, plans: Plans, tensors: Mapping[str, Array]) -> list[Alone]:
        """Every output with every sensor alone; empty for a model whose sensors do not meet."""
        ports = sorted({port for owners in self._border.values() for port in owners})
        if len(ports) < 2:
            return []
        graphs = self.graphs(family, plans)
        every = frozenset(ports)
        sides = {frozenset([port]) for port in ports} | {every - {port} for port in ports}
        expected = {kept: self._masked(self.fp32, self.reference, kept) for kept in sides}
        given = {kept: self._masked(graphs, tensors, kept) for kept in sides}
        rows = []
        for name, output in self.manifest.outputs.items():
            tensor = output.tensor
            shares_fp32 = _shares({p: expected[every - {p}][tensor] - self.reference[tensor] for p in ports})
            shares = _shares({p: given[every - {p}][tensor] - tensors[tensor] for p in ports})
            rows += [
                Alone(
                    port=port,
                    output=name,
                    error=relative_error(expected[frozenset([port])][tensor], given[frozenset([port])][tensor]),
                    share_fp32=shares_fp32[port],
                    share=shares[port],
                )
                for port in ports
            ]
        return rows

    def _masked(
        self, graphs: Mapping[str, bytes], tensors: Mapping[str, Array], kept: frozenset[str]
    ) -> dict[str, Array]:
        """Tensors of the stages where sensors meet, when only some of the sensors are real."""
        if graphs is self.fp32 and kept in self._fp32_alone:
            return self._fp32_alone[kept]
        masked = dict(tensors)
        for name, owners in self._border.items():
            if not set(owners) <= kept and self.reference[name].dtype.kind == "f":
                mean = self.reference[name].mean(0, keepdims=True)
                masked[name] = np.broadcast_to(mean, self.reference[name].shape)
        for stage in self.manifest.stages:
            if len(stage.ports) > 1:
                session = OrtSession(graphs[stage.name], threads=1, name=stage.name)
                masked |= run_stage(self.manifest, stage, session, masked)
        if graphs is self.fp32:
            self._fp32_alone[kept] = masked
        return masked

    def _embeddings(self) -> list[str]:
        read = {name for stage in self.manifest.stages for name in stage.inputs}
        return [name for stage in self.manifest.stages for name in stage.outputs if name in read]


def first_windows(evaluator: Evaluator, bundle: Bundle, count: int) -> Evaluator:
    """An evaluator that measures with fewer windows."""
    if len(evaluator.windows) <= count:
        return evaluator
    windows = evaluator.windows
    fewer = replace(
        windows,
        ports={name: array[:count] for name, array in windows.ports.items()},
        labels={name: array[:count] for name, array in windows.labels.items()},
        begins=windows.begins[:count],
    )
    reference = {name: array[:count] for name, array in evaluator.reference.items()}
    return Evaluator(bundle, evaluator.ranges, fewer, reference)


def _shares(moved: Mapping[str, Array]) -> dict[str, float]:
    """How far an output moves when each sensor is taken away, as shares of their sum."""
    distances = {port: float(np.sqrt(np.mean(np.square(change, dtype=np.float64)))) for port, change in moved.items()}
    total = sum(distances.values()) or 1.0
    return {port: distance / total for port, distance in distances.items()}


def _border(manifest: Manifest) -> dict[str, tuple[str, ...]]:
    """What the stages of several sensors are given by the others, and by which sensor."""
    makers = {name: stage for stage in manifest.stages for name in stage.outputs}
    border: dict[str, tuple[str, ...]] = {}
    for stage in manifest.stages:
        if len(stage.ports) < 2:
            continue
        for name in stage.inputs:
            owners = makers[name].ports if name in makers else (name,)
            if len(owners) == 1:
                border[name] = owners
    return border
