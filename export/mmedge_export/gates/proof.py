"""Which gate scales which sensor, found out by shutting them.

The gates are cut off from what makes them and are given instead. What comes of the sensors is then looked at with some
gates open and the others at zero: with one gate open, exactly one sensor may still be felt; with the gates of one
sensor shut, that one may not be felt any more, to the last bits, and every other one must.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from mmedge.manifest import TensorSpec
from mmedge.types import Array
from mmedge_export.gates.candidates import Candidate
from mmedge_export.graph import extract
from mmedge_export.isolate import run_isolated
from mmedge_export.parity.comparison import split_tolerance
from mmedge_export.weights import write_beside

__all__ = ["owners", "shows"]

DRAWS = 2  # other values of each sensor
SEED = 17
Feed = Mapping[str, Array]


def owners(
    model: onnx.ModelProto,
    candidate: Candidate,
    samples: Sequence[Feed],
    specs: Mapping[str, TensorSpec],
    folder: Path,
) -> tuple[str, ...] | None:
    """The sensor that each gate scales, or None where that cannot be told.

    Args:
        model: The whole graph.
        candidate: What could be gates.
        samples: Real port tensors, batch axis included.
        specs: Of the graph's tensors.
        folder: For temporary files.

    Raises:
        ExportError: The graph cannot be run.
    """
    inputs = [value.name for value in model.graph.input]
    path = folder / "gates.onnx"
    given, nodes = [*inputs, *candidate.tensors], range(len(model.graph.node))
    write_beside(extract(model, nodes, given, candidate.outputs, "gates"), path)
    every = range(candidate.size)
    felt = _felt(path, candidate, samples, specs, [set(every), *({gate} for gate in every)])
    if felt[0] != set(candidate.ports) or any(len(ports) != 1 for ports in felt[1:]):
        return None
    owner = tuple(next(iter(ports)) for ports in felt[1:])
    others = [{gate for gate in every if owner[gate] != port} for port in candidate.ports]
    felt = _felt(path, candidate, samples, specs, others)
    if any(ports != set(candidate.ports) - {port} for port, ports in zip(candidate.ports, felt, strict=True)):
        return None
    return owner


def shows(
    model: onnx.ModelProto,
    candidate: Candidate,
    owner: Sequence[str],
    specs: Mapping[str, TensorSpec],
    output: tuple[str, Sequence[str]],
    folder: Path,
) -> bool:
    """Whether the last axis of an output holds the gates of some sensors, in their order.

    Args:
        model: The whole graph.
        candidate: The gates.
        owner: The sensor of each.
        specs: Of the graph's tensors.
        output: Its name, and the sensors.
        folder: For temporary files.
    """
    name, ports = output
    if set(ports) != set(owner) or specs[name].shape[-1] != len(ports):
        return False
    path = folder / "shown.onnx"
    write_beside(extract(model, range(len(model.graph.node)), candidate.tensors, [name], "shown"), path)
    open_gates = [{gate for gate, port in enumerate(owner) if port != shut} for shut in ports]
    made = run_isolated(path, [_given(candidate, specs, gates) for gates in open_gates])[name]
    return all(not values[..., i].any() and np.delete(values, i, -1).all() for i, values in enumerate(made))


def _felt(
    path: Path,
    candidate: Candidate,
    samples: Sequence[Feed],
    specs: Mapping[str, TensorSpec],
    configurations: Sequence[Collection[int]],
) -> list[set[str]]:
    """For each set of gates that are open, the sensors whose values make a difference to some output."""
    random = np.random.default_rng(SEED)
    drawn = {port: [_other(samples, port, random) for _ in range(DRAWS)] for port in candidate.ports}
    changed = [(port, {port: values}) for port in candidate.ports for values in drawn[port]]
    base = dict(samples[0])
    feeds = [
        base | change | _given(candidate, specs, gates)
        for gates in configurations
        for change in ({}, *(change for _, change in changed))
    ]
    made = run_isolated(path, feeds)
    rows, tolerance = len(changed) + 1, split_tolerance(made)
    found = []
    for start in range(0, len(feeds), rows):
        ports = set[str]()
        for row, (port, _) in enumerate(changed, start + 1):
            if any(np.abs(made[n][row] - made[n][start]).max() > tolerance[n] for n in candidate.outputs):
                ports.add(port)
        found.append(ports)
    return found


def _given(candidate: Candidate, specs: Mapping[str, TensorSpec], gates: Collection[int]) -> dict[str, Array]:
    """The gates: equal where they are open, zero where they are shut."""
    arrays = {name: np.zeros(specs[name].shape, specs[name].dtype) for name in candidate.tensors}
    for gate in gates:
        if candidate.axis is None:
            arrays[candidate.tensors[gate]][...] = 1 / len(gates)
        else:
            np.moveaxis(arrays[candidate.tensors[0]], candidate.axis, 0)[gate] = 1 / len(gates)
    return arrays


def _other(samples: Sequence[Feed], port: str, random: np.random.Generator) -> Array:
    """Values of a sensor in the range of its samples; of what is no float, the values that there are."""
    values = np.stack([sample[port] for sample in samples])
    if values.dtype.kind != "f":
        return random.choice(values.reshape(-1), values.shape[1:])
    low, high = float(values.min()), float(values.max())
    return random.uniform(low, high if high > low else low + 1, values.shape[1:]).astype(values.dtype)
