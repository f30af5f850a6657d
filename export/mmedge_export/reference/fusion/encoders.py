"""Encoders: pictures and sequences of features become vectors that fusion can work with.

Letters in shapes: B batch, T items of a sequence (pictures of a window, frames of sound), C H W a picture, F values of
an item, D width of the embedding.
"""

from collections.abc import Mapping
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

__all__ = [
    "SEQUENCE_ENCODERS",
    "CnnEncoder",
    "GruEncoder",
    "LstmEncoder",
    "PerPicture",
    "PictureCnn",
    "TransformerEncoder",
    "sequence_encoder",
]

POSITION_SCALE = 0.02


class PictureCnn(nn.Module):
    """Pictures [N, C, H, W] to vectors [N, D]: three strided convolutions, then the mean over all places.

    Given the size of the pictures, a linear layer over all places follows instead of their mean, and remembers where
    things are. Batch normalisation disappears in the export; with it a network of this size trains in seconds.

    Source: LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 86, 1998; Ioffe and
    Szegedy, "Batch normalization", ICML 2015.
    """

    def __init__(self, channels: int, width: int, *, size_px: tuple[int, int] | None = None) -> None:
        super().__init__()
        sizes = [channels, max(width // 4, 1), max(width // 2, 1), width]
        self.layers = nn.Sequential()
        for inputs, outputs in pairwise(sizes):
            self.layers.append(_he(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)))
            self.layers.append(nn.BatchNorm2d(outputs))
            self.layers.append(nn.ReLU())
        if size_px is None:
            self.layers.append(nn.AdaptiveAvgPool2d(1))
            self.layers.append(nn.Flatten())
        else:
            places = prod(-(-size // 8) for size in size_px)  # each convolution halves, rounding up
            self.layers.append(nn.Flatten())
            self.layers.append(nn.Linear(places * width, width))

    def forward(self, pictures: Tensor) -> Tensor:
        """Encode every picture on its own."""
        vectors: Tensor = self.layers(pictures)
        return vectors


class PerPicture(nn.Module):
    """A window of pictures [B, T, C, H, W] to vectors [B, T, D], each from its own picture only.

    What follows may mix the items; the export finds the border by itself and encodes every new picture once.

    Source: Donahue et al., "Long-term recurrent convolutional networks for visual recognition and description", CVPR
    2015.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, window: Tensor) -> Tensor:
        """Encode the pictures as if they were a batch."""
        vectors: Tensor = self.encoder(window.flatten(0, 1))
        return vectors.reshape(window.shape[0], window.shape[1], -1)


class CnnEncoder(nn.Module):
    """A sequence [B, T, F] to tokens [B, T / stride², D]: convolutions along time, the features as channels.

    Source: Waibel et al., "Phoneme recognition using time-delay neural networks", IEEE TASSP 37, 1989.
    """

    def __init__(self, features: int, width: int, *, stride: int = 1, kernel: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        for inputs, step in ((features, stride), (width, stride), (width, 1)):
            self.layers.append(_he(nn.Conv1d(inputs, width, kernel, stride=step, padding=kernel // 2, bias=False)))
            self.layers.append(nn.BatchNorm1d(width))
            self.layers.append(nn.ReLU())

    def forward(self, sequence: Tensor) -> Tensor:
        """Encode each stretch of time."""
        tokens: Tensor = self.layers(sequence.transpose(1, 2))
        return tokens.transpose(1, 2)


class GruEncoder(nn.Module):
    """A sequence [B, T, F] to tokens [B, T, D]: what a gated recurrent unit knows after each item.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.layer = nn.GRU(features, width, batch_first=True)

    def forward(self, sequence: Tensor) -> Tensor:
        """Read the items in their order."""
        tokens: Tensor = self.layer(sequence)[0]
        return tokens


class LstmEncoder(nn.Module):
    """A sequence [B, T, F] to tokens [B, T, D]: what a long short-term memory gives after each item.

    Source: Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9, 1997.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.layer = nn.LSTM(features, width, batch_first=True)

    def forward(self, sequence: Tensor) -> Tensor:
        """Read the items in their order."""
        tokens: Tensor = self.layer(sequence)[0]
        return tokens


class TransformerEncoder(nn.Module):
    """A sequence [B, T, F] to tokens [B, T, D]: items with learned positions that attend to one another.

    T is at most the ``length`` that it was made for.

    Source: Vaswani et al., "Attention is all you need", NeurIPS 2017.
    """

    def __init__(self, features: int, width: int, *, length: int, heads: int = 2, layers: int = 1) -> None:
        super().__init__()
        self.project = nn.Linear(features, width)
        self.position = nn.Parameter(torch.randn(1, length, width) * POSITION_SCALE)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, sequence: Tensor) -> Tensor:
        """Let every item gather what it looks for in the others."""
        tokens: Tensor = self.layers(self.project(sequence) + self.position[:, : sequence.shape[1]])
        return tokens


SEQUENCE_ENCODERS: Mapping[str, str] = {
    "cnn": "convolutions along time",
    "gru": "gated recurrent unit",
    "lstm": "long short-term memory",
    "transformer": "self-attention with learned positions",
}


def sequence_encoder(kind: str, features: int, width: int, *, length: int, stride: int = 1) -> nn.Module:
    """One of the SEQUENCE_ENCODERS, from [B, T, features] to tokens [B, T', width].

    Args:
        kind: A key of SEQUENCE_ENCODERS.
        features: Values of an item.
        width: Values of a token.
        length: The largest T.
        stride: How many items become one at each of the first two layers of the convolutions.

    Raises:
        ValueError: There is no such kind.
    """
    if kind == "cnn":
        return CnnEncoder(features, width, stride=stride)
    if kind == "gru":
        return GruEncoder(features, width)
    if kind == "lstm":
        return LstmEncoder(features, width)
    if kind == "transformer":
        return TransformerEncoder(features, width, length=length)
    raise ValueError(f"encoder {kind!r} is not known; expected {', '.join(SEQUENCE_ENCODERS)}")


def _he(layer: nn.Conv1d | nn.Conv2d) -> nn.Module:
    """The layer with weights that keep the strength of a signal through a ReLU.

    Source: He et al., "Delving deep into rectifiers", ICCV 2015.
    """
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer
