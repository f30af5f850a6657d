"""Splits a window encoder by time: what is computed for each item of the window alone becomes a stage of its own.

An item is a picture, or so many columns of a spectrum or samples of a waveform as divide both the window and the hop:
then the items of one window are items of the next one.

The rules of the operators say how far the items are kept apart; what they say is then proved on samples. What fails
the proof is taken out, with all that depends on it, until the rest holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path

import onnx

from mmedge.errors import ExportError
from mmedge.features.frames import unlike_columns
from mmedge.manifest import Port, Stage, time_axis
from mmedge.types import Array
from mmedge_export.graph import count_macs, reads, tensor_specs
from mmedge_export.proof import Proof, item_graph, reach
from mmedge_export.regions import Trail, border_of, follow_window, moving_in, settled, without
from mmedge_export.split import PlannedStage, SplitPlan, plan_split
from mmedge_export.unrolled import split_to_slices, stack_copies

__all__ = ["WindowSplit", "join_loops", "split_window", "window_axis"]

WORTH_SPLITTING = 0.05  # of the encoder's multiply-accumulates must be saved at each new item
PROOF_SAMPLES = 2
PUSH_MACS = 100_000  # about 5 microseconds of a core, which a call of a small graph takes beside its computing
MIN_SAMPLES = 16  # of a waveform in an item: fewer are no chunk that anybody encodes


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSplit:
    """A window encoder in two: a graph for the newest item, and the nodes of the rest.

    Attributes:
        item: The stage of one item.
        item_model: Its graph.
        rest: The stage of the window, or None when nothing is left for it.
        axes: For each tensor that the item stage makes, and for the port, the axis of the window.
        sizes: Slices along it that make an item.
        note: What a person should know about it, or "".
    """

    item: PlannedStage
    item_model: onnx.ModelProto
    rest: PlannedStage | None
    axes: dict[str, int]
    sizes: dict[str, int]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pace:
    """How a window advances.

    Attributes:
        size: Slices of the port that make an item.
        pushes: Items that are new at a decision.
        push_macs: What the calls around the computing of an item cost beside it.
    """

    size: int
    pushes: float = 1.0
    push_macs: int = 0


def window_axis(port: Port) -> int | None:
    """The axis of a port's tensor, batch axis included, along which the items of its window lie."""
    axis = time_axis(port)
    return None if axis is None or port.shape[axis - 1] == 1 else axis


def join_loops(model: onnx.ModelProto, ports: Mapping[str, Port]) -> onnx.ModelProto:
    """The same model, with what unrolled loops make of each item of a window put together in one tensor."""
    for name, port in ports.items():
        axis = window_axis(port)
        if axis is None or port.audio:
            continue
        model = split_to_slices(model, name, axis, port.shape[axis - 1])
        encoder = _encoder(plan_split(model), name)
        if encoder is not None:
            trail = follow_window(model, encoder.nodes, name, axis)
            model = stack_copies(model, trail.loop, f"{name}.items")
    return model


def split_window(
    model: onnx.ModelProto, plan: SplitPlan, name: str, port: Port, samples: Sequence[Mapping[str, Array]], folder: Path
) -> WindowSplit | str:
    """Split the encoder of one camera or audio port by time, or say why not.

    Args:
        model: The whole graph.
        plan: How it is split by modality.
        name: The port.
        port: Its window of pictures or of sound.
        samples: Real port tensors, batch axis included, for the proof.
        folder: For temporary files.
    """
    axis, encoder = window_axis(port), _encoder(plan, name)
    if axis is None:
        return "its window is one item"
    if encoder is None:
        return "it has no encoder of its own"
    if port.audio and (why := unlike_columns(port.audio)):
        return why
    proof = Proof(samples=[sample[name] for sample in samples[:PROOF_SAMPLES]], folder=folder)
    paces = _paces(port, port.shape[axis - 1])
    trails = [follow_window(model, encoder.nodes, name, axis, pace.size) for pace in paces]
    best = _best(proof, encoder, list(zip(paces, trails, strict=True)))
    if best is not None:
        return best
    if not trails:
        return "no chunk of sound divides both its window and its hop"
    mixing = _first_mixing(trails[-1])
    return (
        f"its items mix from the first layers on: {mixing}" if mixing else "what is private to an item saves too little"
    )


def _best(proof: Proof, encoder: PlannedStage, ways: Sequence[tuple[_Pace, Trail]]) -> WindowSplit | None:
    """The cheapest split that holds; what promises most is proved first."""
    drafts = []
    for pace, trail in ways:
        for start in _regions(trail, encoder):
            region, split = _drafted(trail, encoder, start, pace)
            if split is not None:
                drafts.append((_macs(split, pace), pace, trail, region))
    best, least = None, float("inf")
    for promised, pace, trail, region in sorted(drafts, key=lambda draft: draft[0]):
        if promised >= least:
            break
        proved = _proved(trail, proof, encoder, region, pace)
        if proved is not None and _macs(proved, pace) < least:
            best, least = proved, _macs(proved, pace)
    return best


def _paces(port: Port, length: int) -> list[_Pace]:
    """The sizes that an item may have, the largest one first."""
    if port.audio is None:
        return [_Pace(size=1)]
    slice_samples = port.audio.mel.hop_length if port.audio.mel else 1
    hop = port.audio.hop_samples / slice_samples
    common = gcd(int(hop), length) if hop == int(hop) else 1
    least = 1 if port.audio.mel else MIN_SAMPLES
    sizes = [size for size in range(common, least - 1, -1) if common % size == 0]
    return [_Pace(size=size, pushes=hop / size, push_macs=PUSH_MACS) for size in sizes if size < length]


def _macs(split: WindowSplit, pace: _Pace) -> float:
    """Of a decision."""
    return pace.pushes * (split.item.macs + pace.push_macs) + (split.rest.macs if split.rest else 0)


def _encoder(plan: SplitPlan, name: str) -> PlannedStage | None:
    return next((planned for planned in plan.stages if planned.stage.ports == (name,)), None)


def _regions(trail: Trail, encoder: PlannedStage) -> list[frozenset[int]]:
    """What to try: nodes of which each slice depends on one item, and also those that look at a few neighbours."""
    nodes = trail.model.graph.node
    alone = frozenset(i for i in trail.nodes if all(trail.is_item_wise(name) for name in nodes[i].output))
    return list({settled(trail, region, encoder.stage.outputs) for region in (alone, trail.nodes)})


def _proved(
    trail: Trail, proof: Proof, encoder: PlannedStage, region: frozenset[int], pace: _Pace
) -> WindowSplit | None:
    """The largest part of a region that holds, if the split is worth it."""
    constant = encoder.nodes - _depending(trail, encoder)
    while True:
        region, split = _drafted(trail, encoder, region, pace)
        if split is None or not proof.disproved(trail, region | constant, split.item.stage.outputs):
            return split
        names = [name for name in moving_in(trail.model, region, trail.port) - {trail.port} if trail.is_window(name)]
        failed = proof.disproved(trail, region | constant, sorted(names))
        region = settled(trail, without(trail.model, region, failed), encoder.stage.outputs)


def _drafted(
    trail: Trail, encoder: PlannedStage, region: frozenset[int], pace: _Pace
) -> tuple[frozenset[int], WindowSplit | None]:
    """A split that is not proved yet, of a region that is smaller where its graph cannot be made for single items."""
    try:
        return region, _planned(trail, encoder, region, encoder.nodes - _depending(trail, encoder), pace)
    except ExportError:  # an operator that its rule does not know well enough: it is somewhere in here
        smaller = settled(trail, sorted(region)[: len(region) // 2], encoder.stage.outputs)
        return _drafted(trail, encoder, smaller, pace)


def _depending(trail: Trail, encoder: PlannedStage) -> set[int]:
    moving = moving_in(trail.model, encoder.nodes, trail.port)
    return {i for i in encoder.nodes if moving & set(trail.model.graph.node[i].output)}


def _planned(
    trail: Trail, encoder: PlannedStage, region: frozenset[int], constant: frozenset[int], pace: _Pace
) -> WindowSplit | None:
    """The split at a region's border, or None when it saves too little."""
    nodes, port = trail.model.graph.node, trail.port
    border = [name for name in border_of(trail, region, set(encoder.stage.outputs)) if name != port]
    if not border:
        return None
    model = item_graph(trail, region | constant, border)
    specs = tensor_specs(model)
    cost = sum(count_macs(node, specs) for node in model.graph.node)
    macs = sum(count_macs(nodes[i], trail.specs) for i in region)
    if macs - pace.pushes * (cost + pace.push_macs) < WORTH_SPLITTING * encoder.macs or not macs:
        return None
    stage = Stage(
        name=f"{port}.item",
        ports=(port,),
        inputs=(port,),
        outputs=tuple(border),
        per_item=True,
        items=reach(trail, border),
    )
    left = encoder.nodes - region
    read = set[str]().union(*(reads(nodes[i]) for i in left))
    outputs = tuple(name for name in encoder.stage.outputs if name not in border)
    rest = PlannedStage(
        stage=replace(
            encoder.stage,
            name=port,
            inputs=tuple(name for name in (port, *border) if name in read),
            outputs=outputs,
        ),
        nodes=left,
        macs=encoder.macs - macs,
    )
    return WindowSplit(
        item=PlannedStage(stage=stage, nodes=region, macs=cost),
        item_model=model,
        rest=rest if outputs else None,
        axes={name: trail.lanes[name].axis for name in (port, *border)},
        sizes={name: trail.lanes[name].inner for name in (port, *border)},
        note=_note(trail, rest, encoder),
    )


def _note(trail: Trail, rest: PlannedStage, encoder: PlannedStage) -> str:
    share = rest.macs / encoder.macs
    return f"{share:.0%} of its work stays per window: {_first_mixing(trail)}" if share > 0.5 else ""


def _first_mixing(trail: Trail) -> str:
    nodes, copies = trail.model.graph.node, {name for row in trail.loop.copies for name in row}
    mixing = dict(trail.mixing)
    for i, node in enumerate(nodes):
        if i not in trail.nodes and copies & reads(node):
            mixing.setdefault(i, "is not repeated in the same way for every item")
    if not mixing:
        return ""
    first = min(mixing)
    return f"{nodes[first].op_type} {nodes[first].name or nodes[first].output[0]!r} {mixing[first]}"
