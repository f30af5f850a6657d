"""Early fusion: the sensors meet before anything is computed, so nothing is private to one of them.

Such a model can learn what only raw data shows together, and pays for it: it cannot be split by sensor, and every new
sound computes the pictures again. The export says so and keeps it whole.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ChannelConcatenation", "TokenConcatenation", "patches"]


class ChannelConcatenation(nn.Module):
    """Pictures [B, T, C, H, W] and sound [B, N, M] to pictures [B, T, C + 1, H, W]: the sound is one channel more.

    The spectrogram is stretched over the picture by repeating its nearest values, the same for every picture.

    Source: Ngiam et al., "Multimodal deep learning", ICML 2011 (concatenated raw inputs); Baltrušaitis et
    al., "Multimodal machine learning: a survey and taxonomy", IEEE TPAMI 41, 2019 (early fusion).
    """

    def forward(self, window: Tensor, sound: Tensor) -> Tensor:
        """Lay the sound over every picture as a channel of its own."""
        plane = functional.interpolate(sound.unsqueeze(1), window.shape[3:], mode="nearest")
        return torch.cat([window, plane.unsqueeze(1).expand(-1, window.shape[1], -1, -1, -1)], 2)


class TokenConcatenation(nn.Module):
    """Items [B, T_m, F_m] of M modalities to one sequence [B, T_1 + ... + T_M, F] of items that are alike.

    F is the largest F_m; shorter items are filled with zeros, and a learned vector for each modality is added, so that
    one encoder can read them all and still tell them apart.

    Source: Jaegle et al., "Perceiver: general perception with iterative attention", ICML 2021 (audio and
    video); of embedded tokens: Kim et al., "ViLT", ICML 2021.
    """

    def __init__(self, features: tuple[int, ...]) -> None:
        super().__init__()
        self.features = max(features)
        self.kind = nn.Parameter(torch.randn(len(features), self.features) * 0.02)

    def forward(self, *items: Tensor) -> Tensor:
        """Put the items one after the other."""
        filled = [functional.pad(each, (0, self.features - each.shape[2])) for each in items]
        return torch.cat([each + kind for each, kind in zip(filled, self.kind, strict=True)], 1)


def patches(window: Tensor, size: int) -> Tensor:
    """Pictures [B, T, C, H, W] to their patches, [B, T H/size W/size, C size size], picture by picture, row by row.

    Source: Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021.
    """
    batch, frames, channels, height, width = window.shape
    grid = window.reshape(batch, frames, channels, height // size, size, width // size, size)
    return grid.permute(0, 1, 3, 5, 2, 4, 6).reshape(batch, -1, channels * size * size)
