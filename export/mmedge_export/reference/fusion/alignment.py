"""Losses that bring the embeddings of one moment together and push those of different moments apart."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["info_nce", "symmetric_info_nce"]


def info_nce(queries: Tensor, keys: Tensor, temperature: float = 0.07) -> Tensor:
    """How badly each query finds its own key among all keys of the batch: a scalar, log(B) when it guesses.

    Args:
        queries: Embeddings [B, D]; their lengths do not matter.
        keys: Embeddings [B, D] of another modality; row i belongs to row i.
        temperature: Similarities, cosines in -1..1, are divided by it.

    Source: van den Oord et al., "Representation learning with contrastive predictive coding", 2018, arXiv 1807.03748;
    cosine similarity and the temperature as in Radford et al., "Learning transferable visual models from
    natural language supervision", ICML 2021.
    """
    similarity = functional.normalize(queries, dim=1) @ functional.normalize(keys, dim=1).T
    return functional.cross_entropy(similarity / temperature, torch.arange(len(queries), device=queries.device))


def symmetric_info_nce(first: Tensor, second: Tensor, temperature: float = 0.07) -> Tensor:
    """The mean of :func:`info_nce` in both directions.

    Args:
        first: Embeddings [B, D].
        second: Embeddings [B, D] of another modality; row i belongs to row i.
        temperature: See :func:`info_nce`.

    Source: Zhang et al., "Contrastive learning of medical visual representations from paired images and text", 2020,
    arXiv 2010.00747; Radford et al., ICML 2021.
    """
    return (info_nce(first, second, temperature) + info_nce(second, first, temperature)) / 2
