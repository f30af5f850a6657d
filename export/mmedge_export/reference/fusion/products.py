"""Vectors joined by concatenation and by products: what a unit of the one modality means, the other one may change."""

from math import sqrt

import torch
from torch import Tensor, nn

__all__ = ["Concatenation", "DotProduct", "LowRankBilinear", "LowRankTensorFusion", "TensorFusion"]


class Concatenation(nn.Module):
    """Vectors [B, F_m] of M modalities to [B, D]: a layer over all of them side by side.

    Source: Ngiam et al., "Multimodal deep learning", ICML 2011.
    """

    def __init__(self, features: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(sum(features), width), nn.ReLU())

    def forward(self, *vectors: Tensor) -> Tensor:
        """Join the vectors."""
        joined: Tensor = self.layer(torch.cat(vectors, 1))
        return joined


class DotProduct(nn.Module):
    """Two vectors [B, F_1] and [B, F_2] to H scaled dot products [B, H]: how well they agree, in H respects.

    Each respect has R values of each modality. Nothing but agreement gets through, so this block is for questions like
    "does this sound belong to this picture".

    Source: Karpathy and Fei-Fei, "Deep visual-semantic alignments for generating image descriptions", CVPR 2015;
    Arandjelović and Zisserman, "Objects that sound", ECCV 2018; the scale as in Vaswani et al., NeurIPS 2017.
    """

    def __init__(self, features: tuple[int, int], heads: int, rank: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, 1 / sqrt(rank)
        self.first = nn.Linear(features[0], heads * rank, bias=False)
        self.second = nn.Linear(features[1], heads * rank, bias=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Compare the vectors."""
        products: Tensor = self.first(first) * self.second(second)
        return products.reshape(products.shape[0], self.heads, -1).sum(2) * self.scale


class LowRankBilinear(nn.Module):
    """Two vectors [B, F_1] and [B, F_2] to [B, D]: a bilinear form for each unit, of rank R together.

    A full bilinear layer has D F_1 F_2 weights; here every unit mixes the same R products of projected values.

    Source: Kim et al., "Hadamard product for low-rank bilinear pooling", ICLR 2017, without its
    nonlinearities; full bilinear models: Tenenbaum and Freeman, Neural Computation 12, 2000.
    """

    def __init__(self, features: tuple[int, int], width: int, rank: int) -> None:
        super().__init__()
        self.first = nn.Linear(features[0], rank, bias=False)
        self.second = nn.Linear(features[1], rank, bias=False)
        self.mix = nn.Linear(rank, width)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Multiply what both vectors are projected to."""
        mixed: Tensor = self.mix(self.first(first) * self.second(second))
        return mixed


class TensorFusion(nn.Module):
    """Vectors [B, F_m] of M modalities to [B, D]: a layer over all products of their values.

    A one is put before each vector, so that products of fewer modalities, and each value alone, are among the
    (F_1 + 1) ... (F_M + 1) products. Keep the vectors short.

    Source: Zadeh et al., "Tensor fusion network for multimodal sentiment analysis", EMNLP 2017.
    """

    def __init__(self, features: tuple[int, ...], width: int) -> None:
        super().__init__()
        products = 1
        for size in features:
            products *= size + 1
        self.layer = nn.Linear(products, width)

    def forward(self, *vectors: Tensor) -> Tensor:
        """Multiply every value with every value."""
        product = _with_one(vectors[0])
        for vector in vectors[1:]:
            product = (product.unsqueeze(2) * _with_one(vector).unsqueeze(1)).flatten(1)
        joined: Tensor = self.layer(product)
        return joined


class LowRankTensorFusion(nn.Module):
    """Vectors [B, F_m] of M modalities to [B, D]: tensor fusion whose weights are a sum of R products.

    The products of values are never made, so the cost grows with the sum of the lengths, not with their product.

    Source: Liu et al., "Efficient low-rank multimodal fusion with modality-specific factors", ACL 2018.
    """

    def __init__(self, features: tuple[int, ...], width: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.factors = nn.ModuleList(nn.Linear(size, rank * width) for size in features)  # the bias is the one's factor
        self.share = nn.Parameter(torch.full((rank,), 1.0 / rank))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, *vectors: Tensor) -> Tensor:
        """Multiply what the vectors are projected to, rank by rank."""
        product: Tensor = self.factors[0](vectors[0])
        for factor, vector in zip(list(self.factors)[1:], vectors[1:], strict=True):
            product = product * factor(vector)
        ranks = product.reshape(product.shape[0], self.rank, -1)
        return (ranks * self.share[:, None]).sum(1) + self.bias


def _with_one(vector: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(vector[:, :1]), vector], 1)
