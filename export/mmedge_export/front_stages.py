"""Puts audio front ends in front of the stages of a proved model, and proves that nothing else changed.

The model was proved on features. What is new is compared with the host's front end: the features, each within the
bounds that follow from float32, and the outputs, within what features that far off make of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from mmedge.features.settings import AudioSettings
from mmedge.manifest import Stage, TensorSpec
from mmedge.types import Array
from mmedge_export.cut import CutGraph
from mmedge_export.front_graph import behind_front_end, features_of, front_end_model, read_features
from mmedge_export.front_tolerance import front_end_bounds
from mmedge_export.graph import count_macs, tensor_specs
from mmedge_export.isolate import run_isolated
from mmedge_export.parity.comparison import (
    SAMPLES,
    Comparison,
    compare,
    noise_tolerance,
    split_tolerance,
)
from mmedge_export.samples import Sample
from mmedge_export.spec import Spec
from mmedge_export.split import PlannedStage
from mmedge_export.weights import write_beside

__all__ = ["Placed", "place_front_ends", "with_front_ends"]

SEED = 13
FEATURES = "the host's front end against the graph's"
OUTPUTS = "the host's front end and the stages against the graph's"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placed:
    """A model whose graph computes features, and what it is compared with.

    Attributes:
        cut: Its stages.
        audios: Settings of the ports whose features the graph computes.
        feeds: The port tensors of its bundle, of every sample.
        exact: What the model gives on the features of the host, [S, ...] by name.
        off: How far each output may be from that.
        comparisons: The features of each port.
    """

    cut: CutGraph
    audios: Mapping[str, AudioSettings]
    feeds: tuple[Mapping[str, Array], ...]
    exact: Mapping[str, Array]
    off: Mapping[str, float]
    comparisons: tuple[Comparison, ...]

    @property
    def unchanged(self) -> set[str]:
        """Tensors between stages that no front end in the graph has touched."""
        stages = [planned.stage for planned in self.cut.stages]
        return {name for stage in stages if not self.audios.keys() & set(stage.ports) for name in stage.outputs}

    def whole(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """The unsplit model with front ends in front."""
        for name, audio in self.audios.items():
            model = behind_front_end(model, name, audio)
        return model

    def prove(self, bundle: Path) -> tuple[Comparison, ...]:
        """Compare the features, and the outputs of a bundle of :attr:`cut`, with what the host's features give.

        Raises:
            ExportError: The bundle cannot be run.
        """
        staged = run_isolated(bundle, self.feeds)
        return (*self.comparisons, *compare(OUTPUTS, self.exact, staged, self.off, SAMPLES))


def place_front_ends(
    cut: CutGraph, spec: Spec, samples: Sequence[tuple[Sample, Mapping[str, Array]]], folder: Path
) -> Placed:
    """Put the front ends of ``spec.in_graph`` into the graph.

    Args:
        cut: The model on features.
        spec: Of the model.
        samples: Raw sensor data, and what the front ends of the host make of it, batch axis included.
        folder: For temporary files; weights outside of the model are there.

    Raises:
        ExportError: A graph cannot be run.
    """
    audios = {name: port.audio for name, port in spec.ports.items() if port.audio and name in spec.in_graph}
    random = np.random.default_rng(SEED)
    rows, feeds, off = list[Comparison](), [dict(host) for _, host in samples], [dict(host) for _, host in samples]
    for name, audio in audios.items():
        windows = [raw[name][np.newaxis] for raw, _ in samples]
        host = np.stack([tensors[name] for _, tensors in samples])
        radius = np.stack([front_end_bounds(window[0], audio).radius[np.newaxis] for window in windows])
        path = folder / "front_end.onnx"
        write_beside(front_end_model(name, audio, cut.whole), path)
        made = run_isolated(path, [{name: window} for window in windows])[features_of(name)]
        rows.append(_worst(features_of(name), host, made, radius))
        noise = min(rows[-1].share, 1.0) * radius * random.choice((-1.0, 1.0), radius.shape)
        for i, window in enumerate(windows):
            feeds[i][name] = window
            off[i][name] = (host[i] + noise[i]).astype(np.float32)
    path = folder / "on_features.onnx"
    write_beside(cut.whole, path)
    exact = run_isolated(path, [tensors for _, tensors in samples])
    allowed, split = noise_tolerance(exact, run_isolated(path, off)), split_tolerance(exact)
    return Placed(
        cut=with_front_ends(cut, audios),
        audios=audios,
        feeds=tuple(feeds),
        exact=exact,
        off={name: allowed[name] + split[name] for name in exact},
        comparisons=tuple(rows),
    )


def with_front_ends(cut: CutGraph, settings: Mapping[str, AudioSettings]) -> CutGraph:
    """The stages with front ends in the graph.

    The front end of a port becomes part of its encoder. Where something else reads its features too, or nothing but the
    head reads them, it is a stage of its own, which runs once for each window of sound.

    Args:
        cut: A model on features; ``whole`` stays one.
        settings: Of the ports.
    """
    for name, audio in settings.items():
        readers = [planned.stage for planned in cut.stages if name in planned.stage.inputs]
        joined = len(readers) == 1 and readers[0].ports == (name,)
        cut = _in_encoder(cut, name, audio, readers[0]) if joined else _as_stage(cut, name, audio)
    return cut


def _in_encoder(cut: CutGraph, name: str, audio: AudioSettings, encoder: Stage) -> CutGraph:
    graph = behind_front_end(cut.graphs[encoder.name], name, audio)
    macs = _macs(graph)
    stages = (replace(each, macs=macs) if each.stage == encoder else each for each in cut.stages)
    return _changed(cut, name, audio, tuple(stages), {encoder.name: graph}, {})


def _as_stage(cut: CutGraph, name: str, audio: AudioSettings) -> CutGraph:
    made = features_of(name)
    graph = front_end_model(name, audio, cut.whole)
    stage = Stage(name=f"{name}.front_end", ports=(name,), inputs=(name,), outputs=(made,))
    graphs, stages = {stage.name: graph}, [PlannedStage(stage=stage, nodes=frozenset(), macs=_macs(graph))]
    for planned in cut.stages:
        if name in planned.stage.inputs:
            graphs[planned.stage.name] = reader = onnx.ModelProto()
            reader.CopyFrom(cut.graphs[planned.stage.name])
            read_features(reader.graph, name)
            inputs = tuple(made if each == name else each for each in planned.stage.inputs)
            planned = replace(planned, stage=replace(planned.stage, inputs=inputs))
        stages.append(planned)
    return _changed(cut, name, audio, tuple(stages), graphs, {made: cut.tensors[name]})


def _changed(
    cut: CutGraph,
    name: str,
    audio: AudioSettings,
    stages: tuple[PlannedStage, ...],
    graphs: dict[str, onnx.ModelProto],
    tensors: dict[str, TensorSpec],
) -> CutGraph:
    window = TensorSpec(shape=(1, audio.window_samples), dtype="float32")
    return replace(
        cut,
        stages=stages,
        graphs=cut.graphs | graphs,
        tensors=cut.tensors | tensors | {name: window},
    )


def _macs(model: onnx.ModelProto) -> int:
    specs = tensor_specs(model)
    return sum(count_macs(node, specs) for node in model.graph.node)


def _worst(tensor: str, host: Array, made: Array, radius: Array) -> Comparison:
    """The value that comes nearest to its bound, or is furthest beyond it."""
    difference = np.abs(made.astype(np.float64) - host)
    at = np.unravel_index(np.nan_to_num(difference / radius, nan=np.inf).argmax(), host.shape)
    return Comparison(
        tensor=tensor,
        what=FEATURES,
        difference=float(np.nan_to_num(difference[at], nan=np.inf)),
        tolerance=float(radius[at]),
        scale=float(np.abs(host).max()),
        case=SAMPLES,
    )
