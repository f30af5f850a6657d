"""Windows to calibrate and to measure with: what the stages of a running model would be given."""

import hashlib
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mmedge.errors import InputError
from mmedge.gates import GATE_WEIGHTS
from mmedge.manifest import Manifest, Output
from mmedge.types import Array

__all__ = ["UNLABELLED", "Moment", "Windows", "label_values", "stacked"]

UNLABELLED = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Moment:
    """What a model is given for one decision, and what it should say.

    Attributes:
        ports: Tensor of each port, [1, ...].
        labels: What is known about some outputs: a label, a tuple of labels, or values.
        begins: Whether states begin anew here.
        given: State ports whose value is part of the data, and not what the model made the tick before.
    """

    ports: dict[str, Array]
    labels: Mapping[str, object] = field(default_factory=dict)
    begins: bool = True
    given: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Windows:
    """W moments of calibration data.

    Attributes:
        ports: Tensor of each port, [W, 1, ...]; and what a head with gates reads beside them, all ones [W, P].
        labels: For each output that some moment has a truth for: classification [W] int64, -1 where it is not known;
            other tasks [W, ...] float64, NaN where it is not known.
        begins: [W] bool, where states begin anew.
        fed: State ports that hold what the model made the tick before.
        sources: How many moments came from each file.
        real: Whether it is real sensor data.
    """

    ports: dict[str, Array]
    labels: dict[str, Array]
    begins: npt.NDArray[np.bool_]
    fed: frozenset[str]
    sources: dict[str, int]
    real: bool

    def __len__(self) -> int:
        return len(self.begins)

    def __repr__(self) -> str:
        return f"Windows({len(self)} of {', '.join(self.sources)})"

    @property
    def sha256(self) -> str:
        """Of everything in it, so that other data is noticed."""
        digest = hashlib.sha256()
        for kind, arrays in (("port", self.ports), ("label", self.labels), ("", {"begins": self.begins})):
            for name, array in sorted(arrays.items()):
                digest.update(f"{kind}/{name} {array.dtype} {array.shape}\n".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def stacked(moments: Sequence[tuple[str, Moment]], manifest: Manifest, *, real: bool) -> Windows:
    """Moments of several files as arrays.

    Args:
        moments: File and moment, in order.
        manifest: Of the model.
        real: Whether it is real sensor data.

    Raises:
        InputError: A truth does not fit its output, or there are no moments.
    """
    if not moments:
        raise InputError("the calibration data holds no window; give longer clips")
    sources: dict[str, int] = {}
    for source, _ in moments:
        sources[source] = sources.get(source, 0) + 1
    known = {name for _, moment in moments for name in moment.labels}
    if lost := sorted(known - manifest.outputs.keys()):
        raise InputError(f"there are labels for {lost[0]!r}; the model's outputs are {', '.join(manifest.outputs)}")
    labels = {
        name: np.stack([_truth(manifest, name, source, moment.labels.get(name)) for source, moment in moments])
        for name in sorted(known)
    }
    given = frozenset[str]().union(*(moment.given for _, moment in moments))
    ports = {name: np.stack([moment.ports[name] for _, moment in moments]) for name in manifest.ports}
    if manifest.gates is not None:
        ports[GATE_WEIGHTS] = np.ones((len(moments), len(manifest.gates.ports)), np.float32)
    return Windows(
        ports=ports,
        labels=labels,
        begins=np.array([moment.begins for _, moment in moments]),
        fed=frozenset(manifest.states.keys() - given),
        sources=sources,
        real=real,
    )


def _truth(manifest: Manifest, name: str, where: str, value: object) -> Array:
    output = manifest.outputs[name]
    shape = manifest.tensors[output.tensor].shape[1:]
    try:
        return label_values(output, shape, value)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: the label of {name} is {value!r}; {error}") from error


def label_values(output: Output, shape: Sequence[int], value: object) -> Array:
    """One truth as numbers.

    Args:
        output: What it is about.
        shape: Of the output, without a batch axis.
        value: None where it is not known; a label or its number; labels that are on; or values.

    Raises:
        ValueError: It does not fit; the text says what would.
    """
    if output.task == "classification":
        return np.array(UNLABELLED if value is None else _class(output.labels, value), np.int64)
    if value is None:
        return np.full(shape, np.nan)
    if output.task == "multilabel" and not isinstance(value, np.ndarray):
        on = [str(each) for each in value] if isinstance(value, Iterable) and not isinstance(value, str) else [value]
        if unknown := [each for each in on if each not in output.labels]:
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(output.labels)}")
        return np.array([float(label in on) for label in output.labels]).reshape(shape)
    values = np.asarray(value, np.float64)
    if values.size != np.prod(shape, dtype=int):
        raise ValueError(f"expected {list(shape)} numbers")
    return values.reshape(shape)


def _class(labels: Sequence[str], value: object) -> int:
    if isinstance(value, str):
        if value not in labels:
            raise ValueError(f"expected one of {', '.join(labels)}")
        return labels.index(value)
    number: int = operator.index(np.asarray(value).item())
    if not UNLABELLED <= number < len(labels):
        raise ValueError(f"expected 0 to {len(labels) - 1}, or {UNLABELLED} where it is not known")
    return number
