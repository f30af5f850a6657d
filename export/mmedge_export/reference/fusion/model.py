"""Small camera-and-microphone models of every block with every encoder, as a factory of the export."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mmedge_export.reference.fusion.attention import BottleneckFusion, CoAttention, CrossAttention
from mmedge_export.reference.fusion.early import ChannelConcatenation, TokenConcatenation, patches
from mmedge_export.reference.fusion.encoders import PerPicture, PictureCnn, sequence_encoder
from mmedge_export.reference.fusion.late import Hybrid, ProductOfExperts, ScoreAverage
from mmedge_export.reference.fusion.products import (
    Concatenation,
    DotProduct,
    LowRankBilinear,
    LowRankTensorFusion,
    TensorFusion,
)
from mmedge_export.reference.fusion.sums import GatedSum, WeightedSum

__all__ = ["BLOCKS", "Block", "build", "spec_text"]

FRAMES, CHANNELS, SIZE_PX, PATCH_PX = 4, 3, 64, 16
SOUND_FRAMES, MELS = 48, 20
WIDTH, LABELS, RANK = 16, 3, 8
Reads = Literal["raw data", "decisions", "vectors", "tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One way to fuse, as the matrix lists it.

    Attributes:
        family: What the literature calls such blocks.
        reads: What of each modality meets in it.
        kind: Its class, which says more.
        make: Makes one for the models of this module.
        importance: Whether it also gives the importance [B, M] of each modality.
    """

    family: str
    reads: Reads
    kind: type[nn.Module]
    make: Callable[[], nn.Module]
    importance: bool = False


PAIR = (WIDTH, WIDTH)
BLOCKS: Mapping[str, Block] = {
    "channel concatenation": Block(
        family="early", reads="raw data", kind=ChannelConcatenation, make=ChannelConcatenation
    ),
    "token concatenation": Block(
        family="early",
        reads="raw data",
        kind=TokenConcatenation,
        make=lambda: TokenConcatenation((CHANNELS * PATCH_PX**2, MELS)),
    ),
    "score average": Block(family="late", reads="decisions", kind=ScoreAverage, make=ScoreAverage),
    "product of experts": Block(family="late", reads="decisions", kind=ProductOfExperts, make=ProductOfExperts),
    "hybrid": Block(family="hybrid", reads="vectors", kind=Hybrid, make=lambda: Hybrid(PAIR, WIDTH, LABELS)),
    "concatenation": Block(
        family="joint", reads="vectors", kind=Concatenation, make=lambda: Concatenation(PAIR, WIDTH)
    ),
    "weighted sum": Block(family="joint", reads="vectors", kind=WeightedSum, make=lambda: WeightedSum(PAIR, WIDTH)),
    "gated sum": Block(
        family="joint", reads="vectors", kind=GatedSum, make=lambda: GatedSum(PAIR, WIDTH), importance=True
    ),
    "dot product": Block(
        family="products", reads="vectors", kind=DotProduct, make=lambda: DotProduct(PAIR, WIDTH, RANK)
    ),
    "low-rank bilinear": Block(
        family="products", reads="vectors", kind=LowRankBilinear, make=lambda: LowRankBilinear(PAIR, WIDTH, RANK)
    ),
    "tensor fusion": Block(
        family="products", reads="vectors", kind=TensorFusion, make=lambda: TensorFusion(PAIR, WIDTH)
    ),
    "low-rank tensor fusion": Block(
        family="products",
        reads="vectors",
        kind=LowRankTensorFusion,
        make=lambda: LowRankTensorFusion(PAIR, WIDTH, RANK),
    ),
    "cross-attention": Block(
        family="attention", reads="tokens", kind=CrossAttention, make=lambda: _Looking(CrossAttention(WIDTH))
    ),
    "co-attention": Block(family="attention", reads="tokens", kind=CoAttention, make=lambda: CoAttention(WIDTH)),
    "bottleneck tokens": Block(
        family="attention", reads="tokens", kind=BottleneckFusion, make=lambda: BottleneckFusion(2, WIDTH)
    ),
}


class FusionModel(nn.Module):
    """Four pictures [B, 4, 3, 64, 64] and half a second of log-mel [B, 48, 20] to logits [B, 3].

    Every picture has a CNN of its own, and an encoder reads the four; another one reads the sound. The gated
    sum gives the importance of the modalities as a second output, [B, 2].
    """

    def __init__(self, block: Block, encoder: str) -> None:
        super().__init__()
        self.reads, self.importance = block.reads, block.importance
        self.camera = nn.Sequential(
            PerPicture(PictureCnn(CHANNELS, WIDTH)), sequence_encoder(encoder, WIDTH, WIDTH, length=FRAMES)
        )
        self.microphone = sequence_encoder(encoder, MELS, WIDTH, length=SOUND_FRAMES, stride=2)
        self.fusion = block.make()
        if block.reads == "decisions":
            self.seen, self.heard = nn.Linear(WIDTH, LABELS), nn.Linear(WIDTH, LABELS)
        elif block.reads == "tokens":
            self.decide: nn.Module = nn.Linear(2 * WIDTH, LABELS)
        else:
            self.decide = nn.Identity() if isinstance(self.fusion, Hybrid) else nn.Linear(WIDTH, LABELS)

    def forward(self, image: Tensor, audio: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Encode each sensor, fuse, decide."""
        seen, heard = self.camera(image), self.microphone(audio)
        if self.reads == "tokens":
            return self._decided(torch.cat([tokens.mean(1) for tokens in self.fusion(seen, heard)], 1))
        if self.reads == "decisions":
            scores: Tensor = self.fusion(self.seen(seen.mean(1)), self.heard(heard.mean(1)))
            return scores
        if self.importance:
            fused, importance = self.fusion(seen.mean(1), heard.mean(1))
            return self._decided(fused), importance
        return self._decided(self.fusion(seen.mean(1), heard.mean(1)))

    def _decided(self, fused: Tensor) -> Tensor:
        logits: Tensor = self.decide(fused)
        return logits


class EarlyModel(nn.Module):
    """The same inputs and logits, the sensors joined before the one encoder that reads both."""

    def __init__(self, block: Block, encoder: str) -> None:
        super().__init__()
        self.fusion = block.make()
        if isinstance(self.fusion, TokenConcatenation):
            length = FRAMES * (SIZE_PX // PATCH_PX) ** 2 + SOUND_FRAMES
            self.encoder = sequence_encoder(encoder, self.fusion.features, WIDTH, length=length, stride=2)
        else:
            pictures = PerPicture(PictureCnn(CHANNELS + 1, WIDTH))
            self.encoder = nn.Sequential(pictures, sequence_encoder(encoder, WIDTH, WIDTH, length=FRAMES))
        self.decide = nn.Linear(WIDTH, LABELS)

    def forward(self, image: Tensor, audio: Tensor) -> Tensor:
        """Join, encode, decide."""
        items = patches(image, PATCH_PX) if isinstance(self.fusion, TokenConcatenation) else image
        logits: Tensor = self.decide(self.encoder(self.fusion(items, audio)).mean(1))
        return logits


class _Looking(nn.Module):
    """One way: the sound looks at the pictures, which stay as they are."""

    def __init__(self, attention: CrossAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, seen: Tensor, heard: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of both."""
        return seen, self.attention(heard, seen)


def build(fusion: str, encoder: str) -> nn.Module:
    """A model with random weights; the factory that the specs name.

    Args:
        fusion: A key of BLOCKS.
        encoder: A key of SEQUENCE_ENCODERS.

    Raises:
        ValueError: There is no such block or encoder.
    """
    if fusion not in BLOCKS:
        raise ValueError(f"fusion {fusion!r} is not known; expected {', '.join(BLOCKS)}")
    block = BLOCKS[fusion]
    return EarlyModel(block, encoder) if block.reads == "raw data" else FusionModel(block, encoder)


def spec_text(fusion: str, encoder: str) -> str:
    """The SPEC.toml of such a model."""
    importance = '\n[outputs.importance]\ntask = "raw"\n' if BLOCKS[fusion].importance else ""
    return f"""[model]
name = "{fusion}, {encoder}"
factory = "mmedge_export.reference.fusion.model:build"

[model.arguments]
fusion = "{fusion}"
encoder = "{encoder}"

[inputs.image]
modality = "camera"
size = [{SIZE_PX}, {SIZE_PX}]
frames = {FRAMES}
rate_hz = 15
layout = "TCHW"

[inputs.audio]
modality = "audio"
rate_hz = 16000
window_ms = 500
hop_ms = 20
features = "log-mel"
convention = "kaldi"
mels = {MELS}
layout = "TM"
mean = [-4.0]
std = [3.0]

[outputs.event]
task = "classification"
labels = ["nothing", "something", "both"]
activation = "softmax"
{importance}"""
