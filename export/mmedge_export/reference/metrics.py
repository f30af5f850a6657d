"""How good a classifier is, in plain numpy."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Scores", "area_under_roc", "confusion_matrix", "score"]

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Of L labels; a score that would divide by zero is 0.

    Attributes:
        accuracy: Share of right decisions.
        precision: For each label, the share of its decisions that are right.
        recall: For each label, the share of its windows that are found.
        f1: For each label, the harmonic mean of both.
        roc_auc: For each label against the rest, the chance that a window with it scores higher than one without.
        confusion: Windows by true label (rows) and decision (columns).
    """

    accuracy: float
    precision: list[float]
    recall: list[float]
    f1: list[float]
    roc_auc: list[float]
    confusion: list[list[int]]


def score(truth: Labels, probability: Floats) -> Scores:
    """Score probabilities [N, L] against labels [N]; the decision is the most probable label."""
    confusion = confusion_matrix(truth, probability.argmax(1), probability.shape[1])
    right = np.diag(confusion)
    precision, recall = _share(right, confusion.sum(0)), _share(right, confusion.sum(1))
    return Scores(
        accuracy=float(right.sum() / confusion.sum()),
        precision=precision.tolist(),
        recall=recall.tolist(),
        f1=_share(2 * precision * recall, precision + recall).tolist(),
        roc_auc=[area_under_roc(truth == label, probability[:, label]) for label in range(probability.shape[1])],
        confusion=confusion.tolist(),
    )


def confusion_matrix(truth: Labels, decision: Labels, labels: int) -> Labels:
    """[L, L] counts by true label (rows) and decision (columns)."""
    return np.bincount(truth * labels + decision, minlength=labels * labels).reshape(labels, labels)


def area_under_roc(truth: npt.NDArray[np.bool_], value: Floats) -> float:
    """The chance that a positive has a higher value than a negative; ties count one half.

    Source: Hanley and McNeil, "The meaning and use of the area under a receiver operating characteristic (ROC) curve",
    Radiology 143, 1982: the area is the Mann-Whitney statistic, computed from ranks.
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if positives == 0 or negatives == 0:
        raise ValueError("the area under the ROC curve needs positives and negatives")
    _, place, count = np.unique(value, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    return float((rank[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _share(part: npt.NDArray[np.number], whole: npt.NDArray[np.number]) -> Floats:
    shares: Floats = np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)
    return shares
