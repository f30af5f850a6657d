"""Raw modalities in one array, three modalities, and lips with sound; tiny, with random weights."""

import torch
import transformers as hf
from architectures.reading import HEADS, WIDE
from architectures.watching import EVENTS, ast, vit
from torch import Tensor, nn
from transformers.models.perceiver import modeling_perceiver as parts


def perceiver() -> nn.Module:
    """Pixels and samples of sound in one array of tokens, which latents read."""
    sizes = {"num_latents": 8, "d_latents": WIDE, "num_self_attends_per_block": 2}
    heads = {"num_self_attention_heads": HEADS, "num_cross_attention_heads": HEADS}
    config = hf.PerceiverConfig(**sizes, **heads, num_blocks=1, num_labels=EVENTS)
    places = {"num_bands": 4, "sine_only": False, "concat_pos": True}
    pixels = {"prep_type": "conv1x1", "spatial_downsample": 1, "in_channels": 3, "out_channels": 16}
    image = parts.PerceiverImagePreprocessor(
        config,
        **pixels,
        position_encoding_type="fourier",
        fourier_position_encoding_kwargs={**places, "max_resolution": (16, 16)},
    )
    audio = parts.PerceiverAudioPreprocessor(
        config,
        samples_per_patch=16,
        position_encoding_type="fourier",
        fourier_position_encoding_kwargs={**places, "max_resolution": (100,)},
    )
    joined = parts.PerceiverMultimodalPreprocessor(modalities={"image": image, "audio": audio})
    config.d_model = joined.num_channels
    query = {"num_channels": WIDE, "index_dims": 1}
    decoder = parts.PerceiverClassificationDecoder(
        config, num_channels=WIDE, trainable_position_encoding_kwargs=query, use_query_residual=True
    )
    return hf.PerceiverModel(config, input_preprocessor=joined, decoder=decoder)


class Bound(nn.Module):
    """A picture, sound and an IMU in one space, as ImageBind's towers."""

    def __init__(self) -> None:
        super().__init__()
        self.seeing, self.hearing = vit(), ast()
        layer = nn.TransformerEncoderLayer(WIDE, HEADS, 64, batch_first=True, norm_first=True)
        self.steps, self.moving = nn.Conv1d(6, WIDE, 8, 8), nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.towers = nn.ModuleDict({name: nn.Linear(WIDE, 16) for name in ("image", "audio", "imu")})

    def forward(self, image: Tensor, audio: Tensor, imu: Tensor) -> dict[str, Tensor | dict[str, Tensor]]:
        tokens = {
            "image": self.seeing(image).pooler_output,
            "audio": self.hearing(audio).pooler_output,
            "imu": self.moving(self.steps(imu).transpose(1, 2))[:, 0],
        }
        bound = {name: nn.functional.normalize(tower(tokens[name]), dim=-1) for name, tower in self.towers.items()}
        heard = (bound["image"] * bound["audio"]).sum(-1, keepdim=True)
        moved = (bound["image"] * bound["imu"]).sum(-1, keepdim=True)
        return {"embedding": bound, "heard": heard, "moved": moved}


def image_bind() -> nn.Module:
    return Bound()


class LipReader(nn.Module):
    """AV-HuBERT's shape: 3-D convolution over lips, a network for each frame, sound at four times the rate.

    Args:
        kernel: Frames that the first convolution looks at.
    """

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.front = nn.Sequential(
            nn.Conv3d(1, 8, (kernel, 5, 5), (1, 2, 2), (kernel // 2, 2, 2), bias=False),
            nn.BatchNorm3d(8),
            nn.PReLU(8),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        )
        layers = nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.PReLU(16), nn.AdaptiveAvgPool2d(1)
        self.trunk = nn.Sequential(*layers)
        self.sound, self.join = nn.Linear(4 * 26, 16), nn.Linear(32, WIDE)
        layer = nn.TransformerEncoderLayer(WIDE, HEADS, 64, batch_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(WIDE, 10)

    def forward(self, image: Tensor, audio: Tensor) -> Tensor:
        batch, frames = image.shape[:2]
        seen = self.front(image.unsqueeze(1))
        seen = self.trunk(seen.transpose(1, 2).flatten(0, 1)).view(batch, frames, -1)
        heard = self.sound(audio.reshape(batch, frames, -1))
        return self.head(self.body(self.join(torch.cat([seen, heard], 2)))).log_softmax(-1)


def lip_reader(kernel: int) -> nn.Module:
    return LipReader(kernel)
