"""From a model's raw output tensors to what a prediction carries."""

from collections.abc import Mapping
from math import exp

import numpy as np

from mmedge.manifest import Output
from mmedge.types import FLOAT32, Array

__all__ = ["activate", "decode", "to_plain_outputs"]

DECIDED = 0.5
FEW = 16  # values that are decoded one by one, as numpy takes longer to begin than they take


def activate(tensor: Array, output: Output) -> Array:
    """The output without its batch axis, after its activation; a new array.

    Args:
        tensor: [1, ...] raw values.
        output: Its description.
    """
    values: Array = tensor[0].astype(FLOAT32)
    if output.activation == "softmax" and values.ndim == 1 and len(values) <= FEW:
        raw = values.tolist()
        top = max(raw)
        powers = [exp(value - top) for value in raw]
        total = sum(powers)
        for place, power in enumerate(powers):
            values[place] = power / total
    elif output.activation == "softmax":
        values -= np.maximum.reduce(values, axis=-1, keepdims=True)
        np.exp(values, out=values)
        values /= np.add.reduce(values, axis=-1, keepdims=True)
    elif output.activation == "sigmoid":
        values = 0.5 * (1 + np.tanh(0.5 * values))  # never overflows, unlike 1 / (1 + exp(-x))
    return values


def decode(
    tensors: Mapping[str, Array], described: Mapping[str, Output]
) -> tuple[dict[str, Array], dict[str, str | tuple[str, ...]]]:
    """Outputs and winning labels by name.

    Args:
        tensors: Raw output tensors [1, ...] by tensor name; not kept.
        described: The model's outputs.
    """
    outputs: dict[str, Array] = {}
    labels: dict[str, str | tuple[str, ...]] = {}
    for name, output in described.items():
        values = outputs[name] = activate(tensors[output.tensor], output)
        if output.labels:
            labels[name] = _label(values, output)
    return outputs, labels


def _label(values: Array, output: Output) -> str | tuple[str, ...]:
    if output.task == "multilabel":
        return tuple(name for name, value in zip(output.labels, values.reshape(-1), strict=True) if value > DECIDED)
    if values.ndim == 1 and len(values) <= FEW:
        listed: list[float] = values.tolist()
        return output.labels[listed.index(max(listed))]
    return output.labels[int(values.argmax())]


def to_plain_outputs(outputs: Mapping[str, Array], described: Mapping[str, Output]) -> dict[str, object]:
    """Outputs for JSON: label to value where there are labels, a number for a single value, else lists; NaN is None."""
    plain: dict[str, object] = {}
    for name, values in outputs.items():
        labels = described[name].labels
        finite = np.where(np.isfinite(values), values.astype(object), np.array(None))
        if labels:
            plain[name] = dict(zip(labels, finite.reshape(-1).tolist(), strict=True))
        else:
            plain[name] = finite.item() if values.size == 1 else finite.tolist()
    return plain
