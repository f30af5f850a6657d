"""Modality dropout: a network that has met missing sensors in training bears them later."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["ModalityDropout"]


class ModalityDropout(nn.Module):
    """In training, takes whole modalities away from some samples; in eval mode, hands everything on.

    Each modality of each sample is replaced by zeros, the mean of a normalised input, with the same chance; a sample
    that would lose all of them keeps all. Nothing is rescaled: a sensor that is there looks as it always does.

    Source: Neverova et al., "ModDrop: adaptive multi-modal gesture recognition", IEEE TPAMI 38, 2016.
    """

    def __init__(self, chance: float) -> None:
        super().__init__()
        if not 0 <= chance < 1:
            raise ValueError(f"chance = {chance}; expected 0 up to, but not including, 1")
        self.chance = chance

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Take away some of the inputs [B, ...], one tensor for each modality; they are not changed themselves."""
        if not self.training or not self.chance:
            return list(inputs)
        kept = torch.rand(len(inputs), len(inputs[0]), device=inputs[0].device) >= self.chance
        kept |= ~kept.any(0)
        return [
            torch.where(keep.view(-1, *[1] * (each.ndim - 1)), each, 0.0)
            for each, keep in zip(inputs, kept, strict=True)
        ]
