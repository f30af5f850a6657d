"""A whole graph into the graphs of its stages: by modality, and each window of pictures or sound by time."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from mmedge.errors import SpecError
from mmedge.gates import GATE_WEIGHTS, Gates
from mmedge.manifest import Port, TensorSpec
from mmedge.types import Array
from mmedge_export.gates.find import NO_WEIGHTS, Weighed, weigh_gates
from mmedge_export.graph import extract, tensor_specs
from mmedge_export.spec import DeclaredGates
from mmedge_export.split import PlannedStage, SplitPlan, plan_split
from mmedge_export.windows import join_loops, split_window, window_axis

__all__ = ["CutGraph", "cut_graph"]

WORTH_KEEPING = 0.01  # of all multiply-accumulates, that no weight may move from an encoder to the head


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
        gates: The gates that the stages have weights for; ``whole`` has none.
    """

    whole: onnx.ModelProto
    stages: tuple[PlannedStage, ...]
    graphs: dict[str, onnx.ModelProto]
    tensors: dict[str, TensorSpec]
    kept_whole: str
    notes: tuple[str, ...]
    gates: Gates | None = None


def cut_graph(
    model: onnx.ModelProto,
    ports: Mapping[str, Port],
    samples: Sequence[Mapping[str, Array]],
    folder: Path,
    in_graph: Collection[str] = (),
    declared: DeclaredGates | None = None,
) -> CutGraph:
    """Split by modality, then each window of pictures or sound by time where that is proved to change nothing.

    Args:
        model: The whole graph.
        ports: Its inputs.
        samples: Real port tensors, batch axis included, for the proofs.
        folder: For temporary files.
        in_graph: Ports whose front end will be in front of the graph; their windows stay whole.
        declared: What the spec says of gates over the sensors.

    Raises:
        SpecError: What it says is not so.
    """
    whole = join_loops(model, ports)
    plan, weighed = _with_weights(whole, ports, samples, folder, declared)
    model, single = weighed.model, len(ports) == 1
    stages, notes = list(plan.stages), [weighed.note] if weighed.note else []
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
        whole=whole,
        stages=tuple(stages),
        graphs=graphs,
        tensors=tensors,
        kept_whole="" if axes else plan.kept_whole,
        notes=tuple(notes),
        gates=weighed.gates,
    )


def _with_weights(
    model: onnx.ModelProto,
    ports: Mapping[str, Port],
    samples: Sequence[Mapping[str, Array]],
    folder: Path,
    declared: DeclaredGates | None,
) -> tuple[SplitPlan, Weighed]:
    """The split of a graph that has weights of modalities if it has gates, unless encoders would have to wait for them.

    Raises:
        SpecError: It is not so what the spec says of gates.
    """
    sensors = [name for name, port in ports.items() if not port.state]
    states = [name for name in ports if name not in sensors]
    plan, found = plan_split(model, states), weigh_gates(model, sensors, samples, folder, declared)
    if found.gates is None:
        return plan, replace(found, note="") if plan.kept_whole else found  # no head, so no word of what is in it
    changed = plan_split(found.model, states, {GATE_WEIGHTS: found.gates.ports})
    lost = sum(planned.macs for planned in plan.stages if len(planned.stage.ports) == 1)
    lost -= sum(planned.macs for planned in changed.stages if len(planned.stage.ports) == 1)
    if lost <= WORTH_KEEPING * sum(planned.macs for planned in plan.stages):
        return changed, found
    why = "its gates lie inside of encoders, which would have to run at every decision"
    if declared is not None:
        raise SpecError(f"outputs.{declared.output} is said to be gates, which cannot be used: {why}")
    return plan, Weighed(model=model, note=f"{NO_WEIGHTS}: {why}")
