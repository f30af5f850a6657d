"""A whole graph into the graphs of its stages: by modality, and each window of pictures or sound by time."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from mmedge.manifest import Port, TensorSpec
from mmedge.types import Array
from mmedge_export.graph import extract, tensor_specs
from mmedge_export.split import PlannedStage, plan_split
from mmedge_export.windows import join_loops, split_window, window_axis

__all__ = ["CutGraph", "cut_graph"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CutGraph:
    """The stages of a model and their graphs.

    Attributes:
        whole: The model that was cut, with what unrolled loops make of each item of a window put together.
        stages: In an order in which they can run.
        graphs: By stage name.
        tensors: Everything that goes from stage to stage, ports included.
        kept_whole: Why the graph was not split by modality, or "".
        notes: What a person should know about the split.
    """

    whole: onnx.ModelProto
    stages: tuple[PlannedStage, ...]
    graphs: dict[str, onnx.ModelProto]
    tensors: dict[str, TensorSpec]
    kept_whole: str
    notes: tuple[str, ...]


def cut_graph(
    model: onnx.ModelProto,
    ports: Mapping[str, Port],
    samples: Sequence[Mapping[str, Array]],
    folder: Path,
    in_graph: Collection[str] = (),
) -> CutGraph:
    """Split by modality, then each window of pictures or sound by time where that is proved to change nothing.

    Args:
        model: The whole graph.
        ports: Its inputs.
        samples: Real port tensors, batch axis included, for the proofs.
        folder: For temporary files.
        in_graph: Ports whose front end will be in front of the graph; their windows stay whole.
    """
    model = join_loops(model, ports)
    plan = plan_split(model, [name for name, port in ports.items() if port.state])
    single = len(ports) == 1
    stages, notes = list(plan.stages), []
    graphs: dict[str, onnx.ModelProto] = {}
    axes: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for name, port in ports.items():
        if window_axis(port) is None or (plan.kept_whole and not single):
            continue
        if name in in_graph:
            notes.append(f"{name} is encoded a window at a time: its front end is in the graph")
            continue
        found = split_window(model, plan, name, port, samples, folder)
        if isinstance(found, str):
            notes.append(f"{name} is encoded a window at a time: {found}")
            continue
        at = next(i for i, planned in enumerate(stages) if planned.stage.ports == (name,))
        stages[at : at + 1] = [found.item, *([found.rest] if found.rest else [])]
        graphs[found.item.stage.name] = found.item_model
        axes |= found.axes
        sizes |= found.sizes
        if found.note:
            notes.append(f"{name}: {found.note}")
    specs, tensors = tensor_specs(model), {}
    for planned in stages:
        stage = planned.stage
        if stage.name not in graphs:
            graphs[stage.name] = extract(model, planned.nodes, stage.inputs, stage.outputs, stage.name)
        for tensor in (*stage.inputs, *stage.outputs):
            tensors[tensor] = replace(specs[tensor], window_axis=axes.get(tensor), item_size=sizes.get(tensor, 1))
    return CutGraph(
        whole=model,
        stages=tuple(stages),
        graphs=graphs,
        tensors=tensors,
        kept_whole="" if axes else plan.kept_whole,
        notes=tuple(notes),
    )
