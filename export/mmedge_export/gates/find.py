"""Gates over the sensors of a model, or why there are none that could be used."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from mmedge.errors import ExportError, SpecError
from mmedge.gates import GATE_VALUES, GATE_WEIGHTS, Gates
from mmedge.manifest import TensorSpec
from mmedge.types import Array
from mmedge_export.gates.candidates import Candidate, candidates
from mmedge_export.gates.proof import owners, shows
from mmedge_export.gates.surgery import weighed
from mmedge_export.graph import tensor_specs
from mmedge_export.spec import DeclaredGates

__all__ = ["NO_WEIGHTS", "Weighed", "weigh_gates"]

NO_WEIGHTS = "no weights of modalities"
MOST_TRIED = 8  # each is run some dozen times
Samples = Sequence[Mapping[str, Array]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """A graph, with weights of modalities if it has gates.

    Attributes:
        model: The graph.
        gates: Its gates, None if it is as it was.
        note: What a person should know about gates that were not used, or "".
    """

    model: onnx.ModelProto
    gates: Gates | None = None
    note: str = ""


def weigh_gates(
    model: onnx.ModelProto,
    sensors: Collection[str],
    samples: Samples,
    folder: Path,
    declared: DeclaredGates | None = None,
) -> Weighed:
    """Find the gates over the sensors, prove which is whose, and give them weights.

    Args:
        model: The whole graph.
        sensors: Its inputs that are no states, in order.
        samples: Real port tensors, batch axis included, for the proof.
        folder: For temporary files.
        declared: What the spec says, if it says something.

    Raises:
        SpecError: What it says is not so.
    """
    if len(sensors) < 2:
        return Weighed(model=model)
    specs = tensor_specs(model)
    if declared is not None and declared.output not in {value.name for value in model.graph.output}:
        raise SpecError(f"outputs.{declared.output} is said to be gates, and the model has no such output")
    tried = candidates(model, sensors, specs, declared=declared.output if declared else "")
    proved = list[tuple[Candidate, tuple[str, ...]]]()
    failures = ""
    for candidate in tried[:MOST_TRIED]:
        try:
            owner = owners(model, candidate, samples, specs, folder)
        except ExportError as error:  # it cannot be cut there, or not be computed with a gate that is shut
            owner, failures = None, f": {error}"
        if owner is not None:
            proved.append((candidate, owner))
    if declared is not None:
        named = (declared.output, declared.ports)
        proved = [each for each in proved if shows(model, *each, specs, named, folder)]
    if len(proved) != 1 or len(tried) > MOST_TRIED:
        why = _why(tried, proved, specs, failures)
        if declared is not None:
            what = f"outputs.{declared.output} is said to be gates of {', '.join(declared.ports)}"
            raise SpecError(f"{what}; {why or 'it is made of no softmax or sigmoid that is multiplied with them'}")
        return Weighed(model=model, note=why and f"{NO_WEIGHTS}: {why}")
    (candidate, owner), names = proved[0], {GATE_WEIGHTS, GATE_VALUES}
    if taken := names & {*specs, *(name for node in model.graph.node for name in node.output)}:
        return Weighed(model=model, note=f"{NO_WEIGHTS}: the model has a tensor {min(taken)} already")
    ports = tuple(name for name in sensors if name in owner)
    changed = weighed(model, candidate, owner, ports, specs[candidate.tensors[0]].shape)
    return Weighed(model=changed, gates=Gates(kind=candidate.kind, ports=ports))


def _why(tried: Sequence[Candidate], proved: Sequence[object], specs: Mapping[str, TensorSpec], failures: str) -> str:
    """Why nothing is used; "" if nothing looks like gates."""
    if not tried:
        return ""
    first = tried[0]
    where = f"{', '.join(first.tensors)} {list(specs[first.tensors[0]].shape)}"
    if len(proved) > 1 or len(tried) > MOST_TRIED:
        count = len(proved) if len(proved) > 1 else len(tried)
        return (
            f"{count} sets of gates in the head, which cannot be told apart; say which with gates = [...] of an output"
        )
    return f"the head has what looks like gates ({where}); that each scales one sensor could not be proved{failures}"
