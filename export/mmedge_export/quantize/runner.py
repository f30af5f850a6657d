"""Runs the stages of a bundle over many windows, one stage at a time, so that only what changed is computed again."""

from collections.abc import Collection, Mapping

import numpy as np

from mmedge.backends.ort import OrtSession
from mmedge.manifest import Manifest, Stage, TensorSpec
from mmedge.types import Array
from mmedge_export.quantize.windows import Windows

__all__ = ["StageInputs", "run_again", "run_stage", "run_windows", "stage_inputs"]

Tensors = Mapping[str, Array]
Graphs = Mapping[str, bytes]
StageInputs = list[dict[str, Array]]


def run_windows(manifest: Manifest, graphs: Graphs, windows: Windows) -> dict[str, Array]:
    """Every tensor of every window, [W, ...] with its shape in the manifest after the first axis.

    States are what the model itself made the tick before, unless they are part of the data.

    Args:
        manifest: Of the bundle.
        graphs: An ONNX graph for each stage.
        windows: What the ports are given.

    Raises:
        BundleError: A graph cannot be computed.
    """
    sessions = {stage.name: _session(stage.name, graphs[stage.name]) for stage in manifest.stages}
    if not windows.fed:
        tensors = dict(windows.ports)
        for stage in manifest.stages:
            tensors |= run_stage(manifest, stage, sessions[stage.name], tensors)
        return tensors
    rows: list[dict[str, Array]] = []
    for i, begins in enumerate(windows.begins):
        row = {name: array[i : i + 1] for name, array in windows.ports.items()}
        for name in windows.fed:
            source = manifest.states[name]
            row[name] = np.zeros_like(row[name]) if begins else rows[-1][source]
        for stage in manifest.stages:
            row |= run_stage(manifest, stage, sessions[stage.name], row)
        rows.append(row)
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def run_again(
    manifest: Manifest, graphs: Graphs, windows: Windows, before: Tensors, changed: Collection[str]
) -> dict[str, Array]:
    """As :func:`run_windows`, where only some stages have other graphs than those that made ``before``."""
    if windows.fed:
        return run_windows(manifest, graphs, windows)
    tensors, dirty = dict(before), set[str]()
    for stage in manifest.stages:
        if stage.name in changed or dirty & set(stage.inputs):
            tensors |= run_stage(manifest, stage, _session(stage.name, graphs[stage.name]), tensors)
            dirty |= set(stage.outputs)
    return tensors


def run_stage(manifest: Manifest, stage: Stage, session: OrtSession, tensors: Tensors) -> dict[str, Array]:
    """The outputs of one stage for all windows, [W, ...]."""
    made: dict[str, Array] = {}
    for name in stage.outputs:
        spec = manifest.tensors[name]
        made[name] = np.empty((len(tensors[stage.inputs[0]]), *spec.shape), spec.dtype)
    for i in range(len(next(iter(made.values())))):
        for place, inputs in enumerate(
            stage_inputs(manifest, stage, {name: tensors[name][i] for name in stage.inputs})
        ):
            outputs = session.run(inputs)
            for name in stage.outputs:
                _put(made[name][i], outputs[name], manifest.tensors[name], _length(manifest, stage), place)
    return made


def stage_inputs(manifest: Manifest, stage: Stage, window: Tensors) -> StageInputs:
    """What a stage is given for one window: the window itself, or one item after the other.

    Args:
        manifest: Of the bundle.
        stage: One of its stages.
        window: What its readers see of each of its inputs.
    """
    if not stage.per_item:
        return [dict(window)]
    (port,) = stage.inputs
    spec = manifest.tensors[port]
    assert spec.window_axis is not None  # the manifest has seen to it
    items = np.split(window[port], spec.items, spec.window_axis)
    first = spec.items - _length(manifest, stage)  # the first item whose result is still seen
    missing = max(0, stage.items - 1 - first)  # a stream begins with zeros
    items = [np.zeros_like(items[0])] * missing + items
    ends = range(first + missing + 1, len(items) + 1)
    return [{port: np.concatenate(items[end - stage.items : end], spec.window_axis)} for end in ends]


def _length(manifest: Manifest, stage: Stage) -> int:
    """How many items its readers see of what it makes, at most."""
    if not stage.per_item:
        return 1
    specs = [manifest.tensors[name] for name in stage.outputs]
    return max(spec.items for spec in specs)


def _put(window: Array, made: Array, spec: TensorSpec, length: int, place: int) -> None:
    """Put the newest of ``length`` items where it stands in a window that may be shorter."""
    if spec.window_axis is None:
        window[...] = made
        return
    place = (place - length + spec.items) * spec.item_size
    if place >= 0:
        moved = np.moveaxis(window, spec.window_axis, 0)
        moved[place : place + spec.item_size] = np.moveaxis(made, spec.window_axis, 0)


def _session(name: str, graph: bytes) -> OrtSession:
    return OrtSession(graph, threads=1, name=name)
