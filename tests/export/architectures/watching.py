"""Encoders of Hugging Face transformers for pictures, videos and sound, behind small fusion heads; random weights.

The heads are what a user writes around encoders of others.
"""

import torch
import transformers as hf
from architectures.reading import BODY, HEADS, PICTURE, WIDE, whisper_config
from torch import Tensor, nn

EVENTS = 3
WAVES = BODY | {
    "conv_dim": [16, 16, 16],
    "conv_kernel": [10, 3, 3],
    "conv_stride": [5, 4, 4],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}


class Concatenated(nn.Module):
    """Late fusion: the pooled tokens of two encoders side by side."""

    def __init__(self, seeing: nn.Module, hearing: nn.Module) -> None:
        super().__init__()
        self.seeing, self.hearing, self.head = seeing, hearing, nn.Linear(2 * WIDE, EVENTS)

    def forward(self, image: Tensor, audio: Tensor) -> Tensor:
        seen = self.seeing(image).last_hidden_state.mean(1)
        heard = self.hearing(audio).last_hidden_state.mean(1)
        return self.head(torch.cat([seen, heard], 1))


class CrossAttended(nn.Module):
    """Sound asks, the picture answers."""

    def __init__(self, seeing: nn.Module, hearing: nn.Module) -> None:
        super().__init__()
        self.seeing, self.hearing = seeing, hearing
        self.attention = nn.MultiheadAttention(WIDE, HEADS, batch_first=True)
        self.norm, self.head = nn.LayerNorm(WIDE), nn.Linear(WIDE, EVENTS)

    def forward(self, image: Tensor, audio: Tensor) -> Tensor:
        seen, heard = self.seeing(image).last_hidden_state, self.hearing(audio).last_hidden_state
        asked, _ = self.attention(heard, seen, seen)
        return self.head(self.norm(heard + asked).mean(1))


class Watched(nn.Module):
    """A picture encoder for each frame of a window, a recurrent layer over the frames, and sound."""

    def __init__(self, seeing: nn.Module, hearing: nn.Module) -> None:
        super().__init__()
        self.seeing, self.hearing = seeing, hearing
        self.memory, self.head = nn.GRU(WIDE, WIDE, batch_first=True), nn.Linear(2 * WIDE, EVENTS)

    def forward(self, image: Tensor, audio: Tensor) -> Tensor:
        seen = self.seeing(image.flatten(0, 1)).pooler_output.flatten(1)
        _, watched = self.memory(seen.unflatten(0, image.shape[:2]))
        heard = self.hearing(audio).last_hidden_state.mean(1)
        return self.head(torch.cat([watched[-1], heard], 1))


def vit() -> nn.Module:
    return hf.ViTModel(hf.ViTConfig(**PICTURE))


def dinov2() -> nn.Module:
    return hf.Dinov2Model(hf.Dinov2Config(**PICTURE, mlp_ratio=2))


def ast() -> nn.Module:
    strides = {"patch_size": 8, "frequency_stride": 8, "time_stride": 8}
    return hf.ASTModel(hf.ASTConfig(**BODY, **strides, num_mel_bins=32, max_length=64))


def timesformer_and_ast() -> nn.Module:
    return Concatenated(hf.TimesformerModel(hf.TimesformerConfig(**PICTURE, num_frames=4)), ast())


def videomae_and_hubert() -> nn.Module:
    video = hf.VideoMAEModel(hf.VideoMAEConfig(**PICTURE, num_frames=4, tubelet_size=2))
    return Concatenated(video, hf.HubertModel(hf.HubertConfig(**WAVES)))


def dinov2_and_wav2vec2() -> nn.Module:
    return CrossAttended(dinov2(), hf.Wav2Vec2Model(hf.Wav2Vec2Config(**WAVES)))


def swin_and_wavlm() -> nn.Module:
    swin = hf.SwinConfig(image_size=32, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4)
    return CrossAttended(hf.SwinModel(swin), hf.WavLMModel(hf.WavLMConfig(**WAVES)))


def vit_window_and_whisper() -> nn.Module:
    return Watched(vit(), hf.WhisperModel(whisper_config()).encoder)


def convnext_window_and_wav2vec2_bert() -> nn.Module:
    seeing = hf.ConvNextModel(hf.ConvNextConfig(patch_size=4, hidden_sizes=[16, WIDE], depths=[1, 1], num_stages=2))
    own = {
        "feature_projection_input_dim": 80,
        "position_embeddings_type": "relative_key",
        "conv_depthwise_kernel_size": 5,
    }
    return Watched(seeing, hf.Wav2Vec2BertModel(hf.Wav2Vec2BertConfig(**BODY, **own)))
