"""How much worse a variant decides than the fp32 graphs: by truth where there is some, else by agreement."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmedge.decode import DECIDED, activate
from mmedge.manifest import Manifest, Output
from mmedge.types import Array

__all__ = ["Budget", "Loss", "losses", "relative_error"]

Tensors = Mapping[str, Array]
Decoded = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a variant may lose.

    Attributes:
        drop: Of a score between 0 and 1, e.g. 0.005.
        error: Relative error of outputs that are no decisions and have no truth to compare with.
    """

    drop: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One output of a variant against the same output in fp32.

    Attributes:
        output: Its name.
        metric: What was compared.
        windows: On how many windows.
        fp32: Score of the fp32 graphs, 1 where they are the truth themselves.
        variant: Score of the variant.
        allowed: How much smaller it may be.
        relative: It is a relative error of values, and no share of right decisions.
    """

    output: str
    metric: str
    windows: int
    fp32: float
    variant: float
    allowed: float
    relative: bool = False

    @property
    def drop(self) -> float:
        """How much smaller the score is."""
        return self.fp32 - self.variant

    @property
    def holds(self) -> bool:
        """Whether the drop is allowed; NaN is not."""
        return self.drop <= self.allowed


def losses(manifest: Manifest, reference: Tensors, made: Tensors, labels: Tensors, budget: Budget) -> list[Loss]:
    """Every output of a variant, judged.

    Args:
        manifest: Of the bundle.
        reference: Tensors of the fp32 graphs, [W, ...].
        made: The same tensors of the variant.
        labels: Truths by output, see :class:`mmedge_export.quantize.windows.Windows`.
        budget: What is allowed.
    """
    rows = []
    for name, output in manifest.outputs.items():
        expected = np.stack([activate(row, output) for row in reference[output.tensor]])
        given = np.stack([activate(row, output) for row in made[output.tensor]])
        if not np.isfinite(given).all():
            nothing = float("nan")
            rows.append(Loss(output=name, metric="NaN", windows=len(given), fp32=1, variant=nothing, allowed=0))
        elif name in labels and _known(labels[name], output).any():
            rows.append(_by_truth(name, output, expected, given, labels[name], budget))
        else:
            rows.append(_by_agreement(name, output, expected, given, budget))
    return rows


def relative_error(reference: Array, made: Array) -> float:
    """Root mean square of the difference, as a share of the spread of the reference over windows and elements."""
    reference, made = reference.astype(np.float64), made.astype(np.float64)
    spread = float(np.sqrt(np.mean(np.square(reference - reference.mean(0)))))
    spread = spread or float(np.sqrt(np.mean(np.square(reference)))) or 1.0
    error = float(np.sqrt(np.mean(np.square(made - reference))) / spread)
    return error if np.isfinite(error) else float("inf")


def _known(labels: Array, output: Output) -> npt.NDArray[np.bool_]:
    return np.asarray(labels >= 0 if output.task == "classification" else np.isfinite(labels))


def _by_truth(name: str, output: Output, expected: Decoded, given: Decoded, labels: Array, budget: Budget) -> Loss:
    known = _known(labels, output)
    if output.task == "classification":
        metric = "accuracy"
        scores = [float(np.mean(_winners(values)[known] == labels[known])) for values in (expected, given)]
    elif output.task == "multilabel":
        metric = "share of right labels"
        truth = labels[known] > DECIDED
        scores = [float(np.mean((values[known] > DECIDED) == truth)) for values in (expected, given)]
    else:
        metric = "1 - mean error / spread of the truth"
        spread = float(np.mean(np.abs(labels[known] - np.median(labels[known])))) or 1.0
        scores = [1 - float(np.mean(np.abs(values[known] - labels[known]))) / spread for values in (expected, given)]
    count = int(known.reshape(len(known), -1).any(1).sum())
    return Loss(output=name, metric=metric, windows=count, fp32=scores[0], variant=scores[1], allowed=budget.drop)


def _by_agreement(name: str, output: Output, expected: Decoded, given: Decoded, budget: Budget) -> Loss:
    if output.task == "classification":
        metric, score = "same decision as fp32", float(np.mean(_winners(expected) == _winners(given)))
    elif output.task == "multilabel":
        metric, score = "same labels as fp32", float(np.mean((expected > DECIDED) == (given > DECIDED)))
    else:
        metric, score = "1 - relative error against fp32", 1 - relative_error(expected, given)
    relative = output.task not in {"classification", "multilabel"}
    return Loss(
        output=name,
        metric=metric,
        windows=len(given),
        fp32=1.0,
        variant=score,
        allowed=budget.error if relative else budget.drop,
        relative=relative,
    )


def _winners(values: Decoded) -> npt.NDArray[np.int64]:
    return np.asarray(values.reshape(len(values), -1).argmax(1))
