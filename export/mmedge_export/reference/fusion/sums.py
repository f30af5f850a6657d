"""Sums of embeddings whose weights say how much each modality counted."""

import torch
from torch import Tensor, nn

__all__ = ["GatedSum", "WeightedSum"]


class WeightedSum(nn.Module):
    """Vectors [B, F_m] of M modalities to their weighted sum [B, D].

    The weights are learned, positive, add up to one, and are the same for every sample.

    Source: Atrey et al., "Multimodal fusion for multimedia analysis: a survey", Multimedia Systems 16, 2010 (linear
    weighted fusion).
    """

    def __init__(self, features: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Linear(size, width) for size in features)
        self.weight = nn.Parameter(torch.zeros(len(features)))

    @property
    def importance(self) -> Tensor:
        """The weights, [M]."""
        return torch.softmax(self.weight, 0)

    def forward(self, *vectors: Tensor) -> Tensor:
        """Add up what the modalities say."""
        values = torch.stack([layer(vector) for layer, vector in zip(self.project, vectors, strict=True)], 1)
        return (values * self.importance[:, None]).sum(1)


class GatedSum(nn.Module):
    """Vectors [B, F_m] of M modalities to a gated sum [B, D] and the importance [B, M] of each: a multimodal unit.

    Each of the D units has gates of its own, which look at all modalities and decide for this sample whom to believe;
    the importance is their mean over the units. The gates of a unit are a softmax, so they add up to one. For two
    modalities that is the paper's unit, z and 1 - z; for more, the paper leaves its gates independent of one another.

    Source: Arevalo et al., "Gated multimodal units for information fusion", ICLR 2017 workshop, arXiv 1702.01992.
    """

    def __init__(self, features: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.value = nn.ModuleList(nn.Linear(size, width) for size in features)
        self.gate = nn.Linear(sum(features), len(features) * width)

    def forward(self, *vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Add up what the modalities say, each unit believing whom its gates chose."""
        values = torch.stack([torch.tanh(layer(vector)) for layer, vector in zip(self.value, vectors, strict=True)], 1)
        gates = torch.softmax(self.gate(torch.cat(vectors, 1)).unflatten(1, (len(vectors), -1)), 1)
        return (gates * values).sum(1), gates.mean(2)
