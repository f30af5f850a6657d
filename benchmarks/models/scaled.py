"""A family of models for curves of cost: a window of pictures, sound, and any number of further sensors.

The weights are random: nothing that is measured depends on them.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

SENSOR = 64


class Scaled(nn.Module):
    """A CNN for each picture and a GRU over them, a CNN over log-mel frames, an MLP for each further sensor, a head."""

    def __init__(self, sensors: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for out in (width, 2 * width, 4 * width):
            layers += [nn.Conv2d(channels, out, 3, 2, 1), nn.ReLU()]
            channels = out
        self.camera = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.gru = nn.GRU(channels, 32, batch_first=True)
        self.sound = nn.Sequential(nn.Conv1d(64, 64, 5, 2), nn.ReLU(), nn.Conv1d(64, 32, 5, 2), nn.ReLU())
        self.others = nn.ModuleList(
            nn.Sequential(nn.Linear(SENSOR, 512), nn.ReLU(), nn.Linear(512, 32)) for _ in range(sensors)
        )
        self.head = nn.Linear(64 + 32 * sensors, 4)

    def forward(self, image: Tensor, audio: Tensor, *others: Tensor) -> Tensor:
        """[B, T, 3, H, W], [B, frames, M] and [B, 64] each to [B, L]."""
        seen = self.camera(image.flatten(0, 1)).unflatten(0, (image.shape[0], -1))
        parts = [self.gru(seen)[0][:, -1], self.sound(audio.transpose(1, 2)).mean(2)]
        parts += [encoder(values) for encoder, values in zip(self.others, others, strict=True)]
        return self.head(torch.cat(parts, 1))


def build(sensors: int, width: int) -> nn.Module:
    """The factory that the spec names."""
    torch.manual_seed(0)
    return Scaled(sensors, width)


def write_checkpoint(folder: Path, *, frames: int, sensors: int, width: int) -> Path:
    """A checkpoint with its spec inside.

    Args:
        folder: Where.
        frames: Length of the window of pictures.
        sensors: How many besides camera and microphone.
        width: Channels of the first layer of the camera's CNN.
    """
    from mmedge_export.checkpoint import save_checkpoint

    window = f'frames = {frames}\nlayout = "TCHW"'
    others = "".join(
        f'[inputs.sensor_{i}]\nmodality = "tensor"\nshape = [{SENSOR}]\ndtype = "float32"\nrate_hz = 10\n'
        for i in range(sensors)
    )
    spec = f"""
[model]
name = "scaled"
factory = "scaled:build"

[model.arguments]
sensors = {sensors}
width = {width}

[model.call]
style = "positional"

[inputs.image]
modality = "camera"
size = [64, 64]
rate_hz = 15
{window}

[inputs.audio]
modality = "audio"
rate_hz = 16000
window_ms = 1000
hop_ms = 20
features = "log-mel"
convention = "kaldi"
mels = 64
layout = "TM"
{others}
[outputs.event]
task = "classification"
labels = ["a", "b", "c", "d"]
activation = "softmax"
"""
    path = folder / "scaled.safetensors"
    save_checkpoint(path, build(sensors, width), spec)
    return path
