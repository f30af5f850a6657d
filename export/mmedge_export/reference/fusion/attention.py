"""Tokens that attend to the tokens of another modality."""

import torch
from torch import Tensor, nn

__all__ = ["BottleneckFusion", "CoAttention", "CrossAttention"]

TOKEN_SCALE = 0.02


class CrossAttention(nn.Module):
    """Tokens [B, T, D] that gather what they look for in another modality's tokens [B, S, D]; one way.

    Multi-head attention and a feed-forward part, each with its normalisation before and a shortcut around it.

    Source: Tsai et al., "Multimodal transformer for unaligned multimodal language sequences", ACL 2019.
    """

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.before, self.context = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """Let ``tokens`` look at ``context``."""
        looked_at = self.context(context)
        found: Tensor = self.attention(self.before(tokens), looked_at, looked_at, need_weights=False)[0]
        known = tokens + found
        result: Tensor = known + self.feed(known)
        return result


class CoAttention(nn.Module):
    """Two modalities' tokens [B, T, D] and [B, S, D] that look at one another; both ways at the same time.

    Source: Lu et al., "ViLBERT: pretraining task-agnostic visiolinguistic representations", NeurIPS 2019.
    """

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.first, self.second = CrossAttention(width, heads), CrossAttention(width, heads)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Let each look at the other as it was before."""
        return self.first(first, second), self.second(second, first)


class BottleneckFusion(nn.Module):
    """Tokens [B, T_m, D] of M modalities that meet in a few tokens only; gives the tokens of each, [B, T_m, D].

    In each layer every modality attends to its own tokens and to the bottleneck, whose tokens then become the mean of
    what the modalities made of them. In the first layer nothing has been exchanged yet: the export finds that it is
    private to its sensor, and runs it with the encoder.

    Source: Nagrani et al., "Attention bottlenecks for multimodal fusion", NeurIPS 2021.
    """

    def __init__(self, modalities: int, width: int, *, heads: int = 2, bottlenecks: int = 2, layers: int = 2) -> None:
        super().__init__()
        self.bottleneck = nn.Parameter(torch.randn(1, bottlenecks, width) * TOKEN_SCALE)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
                for _ in range(modalities)
            )
            for _ in range(layers)
        )

    def forward(self, *tokens: Tensor) -> tuple[Tensor, ...]:
        """Exchange what fits through the bottleneck."""
        shared = self.bottleneck.expand(tokens[0].shape[0], -1, -1)
        for row in self.layers:
            made = [
                layer(torch.cat([own, shared], 1))
                for layer, own in zip(row, tokens, strict=True)  # type: ignore[call-overload]
            ]
            tokens = tuple(both[:, : own.shape[1]] for both, own in zip(made, tokens, strict=True))
            shared = torch.stack([both[:, own.shape[1] :] for both, own in zip(made, tokens, strict=True)]).mean(0)
        return tokens
