"""What each modality is worth: the scores of a fusion model with all of them, with each one alone, without each."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmedge_export.reference.metrics import Scores, score

__all__ = ["ablations", "subsets"]


def subsets(modalities: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Which modalities are there in each line of a report: all, each alone, and all but one where that is another line.

    >>> subsets(("image", "audio"))
    {'all': ('image', 'audio'), 'image alone': ('image',), 'audio alone': ('audio',)}
    """
    lines = {"all": modalities} | {f"{name} alone": (name,) for name in modalities}
    if len(modalities) > 2:
        lines |= {f"without {left_out}": tuple(n for n in modalities if n != left_out) for left_out in modalities}
    return lines


def ablations(
    logits: Callable[..., Tensor],
    inputs: Mapping[str, Tensor],
    truth: npt.NDArray[np.int64],
    baselines: Mapping[str, Tensor] | None = None,
) -> dict[str, Scores]:
    """Score a classifier with every one of the :func:`subsets` of its modalities.

    Args:
        logits: Gives logits [N, L] of the inputs, by keyword; a network in eval mode, or a function around it.
        inputs: Tensors [N, ...] by modality.
        truth: Labels [N].
        baselines: What stands in for a missing modality, to be broadcast to its tensor; by default zeros, which is
            the average input of a port that is normalised.

    Returns:
        Scores by line, as :func:`subsets` names them.
    """
    baselines = baselines or {}
    scores = {}
    for line, present in subsets(tuple(inputs)).items():
        given = {
            name: each if name in present else baselines.get(name, torch.zeros(())).expand_as(each)
            for name, each in inputs.items()
        }
        with torch.inference_mode():
            probability = torch.softmax(logits(**given).double(), 1)
        scores[line] = score(truth, probability.numpy())
    return scores
