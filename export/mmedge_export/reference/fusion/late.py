"""Late fusion: every modality decides on its own, and the decisions are combined.

All blocks take logits and give log-probabilities, which a softmax turns into exactly the combined probabilities.
"""

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor, nn

__all__ = ["Hybrid", "ProductOfExperts", "ScoreAverage"]


class ScoreAverage(nn.Module):
    """Logits [B, L] of M modalities to the logarithm [B, L] of the mean of their probabilities.

    One modality that is sure cannot overrule the others: the mean bears a sensor that is wrong.

    Source: Kittler et al., "On combining classifiers", IEEE TPAMI 20, 1998 (sum rule).
    """

    def forward(self, *logits: Tensor) -> Tensor:
        """Average the probabilities."""
        each = torch.stack([torch.log_softmax(scores, 1) for scores in logits], 1)
        return torch.logsumexp(each, 1) - log(len(logits))


class ProductOfExperts(nn.Module):
    """Logits [B, L] of M modalities to the logarithm [B, L] of the normalised product of their probabilities.

    It is Bayes' rule where the modalities are independent given the label: the product is divided by the prior to the
    power of M - 1, because every modality has counted it once. One modality that is sure that it is not, vetoes.

    Args:
        prior: Probabilities of the L labels in the data that the modalities learned from; None for equal ones.

    Source: Kittler et al., "On combining classifiers", IEEE TPAMI 20, 1998 (product rule); Hinton,
    "Training products of experts by minimizing contrastive divergence", Neural Computation 14, 2002.
    """

    log_prior: Tensor

    def __init__(self, prior: Sequence[float] | None = None) -> None:
        super().__init__()
        self.register_buffer("log_prior", torch.log(torch.tensor(prior if prior is not None else [1.0])))

    def forward(self, *logits: Tensor) -> Tensor:
        """Multiply the probabilities."""
        each = torch.stack([torch.log_softmax(scores, 1) for scores in logits], 1)
        return torch.log_softmax(each.sum(1) - (len(logits) - 1) * self.log_prior, 1)


class Hybrid(nn.Module):
    """Vectors [B, F_m] of M modalities to log-probabilities [B, L]: a joint opinion beside the modalities' own.

    The joint opinion sees all vectors at once, the others one each; the probabilities of all M + 1 are averaged.

    Source: Snoek et al., "Early versus late fusion in semantic video analysis", ACM Multimedia 2005; Atrey et al.,
    "Multimodal fusion for multimedia analysis: a survey", Multimedia Systems 16, 2010 (hybrid).
    """

    def __init__(self, features: tuple[int, ...], width: int, labels: int) -> None:
        super().__init__()
        self.own = nn.ModuleList(nn.Linear(size, labels) for size in features)
        self.joint = nn.Sequential(nn.Linear(sum(features), width), nn.ReLU(), nn.Linear(width, labels))
        self.average = ScoreAverage()

    def forward(self, *vectors: Tensor) -> Tensor:
        """Ask everybody."""
        own = [layer(vector) for layer, vector in zip(self.own, vectors, strict=True)]
        scores: Tensor = self.average(self.joint(torch.cat(vectors, 1)), *own)
        return scores
