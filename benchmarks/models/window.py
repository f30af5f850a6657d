"""A window of 16 pictures and sound, in the size that people put into robots.

``python window.py FOLDER`` writes ``window.safetensors``. From this folder, what ``python -m mmedge_bench.windows``
takes is then made by::

    mmedge export FOLDER/window.safetensors --random-samples --keep-whole FOLDER/whole.onnx -o FOLDER/window.mmedge

The weights are random: nothing that is measured depends on them.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

BLOCKS = [(16, 1, 1), (24, 6, 2), (24, 6, 1), (32, 6, 2), (32, 6, 1), (64, 6, 2), (64, 6, 1), (96, 6, 1), (160, 6, 2)]
SPEC = """
[model]
name = "window"
factory = "window:build"

[inputs.image]
modality = "camera"
size = [112, 112]
frames = 16
rate_hz = 15
layout = "TCHW"

[inputs.audio]
modality = "audio"
rate_hz = 16000
window_ms = 1000
hop_ms = 20
features = "log-mel"
convention = "kaldi"
mels = 64
layout = "TM"

[outputs.event]
task = "classification"
labels = ["a", "b", "c", "d"]
activation = "softmax"
"""


class Inverted(nn.Module):
    """An inverted residual block.

    Source: M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018.
    """

    def __init__(self, channels: int, out: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.adds = stride == 1 and channels == out
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(),
            nn.Conv2d(hidden, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, out, H / stride, W / stride]."""
        return x + self.layers(x) if self.adds else self.layers(x)


class Window(nn.Module):
    """A CNN for each picture and a GRU over them; a CNN over log-mel frames; a small head."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = [nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU6()]
        channels = 16
        for out, expansion, stride in BLOCKS:
            blocks.append(Inverted(channels, out, expansion, stride))
            channels = out
        self.camera = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.gru = nn.GRU(channels, 64, batch_first=True)
        self.sound = nn.Sequential(nn.Conv1d(64, 64, 5, 2), nn.ReLU(), nn.Conv1d(64, 64, 5, 2), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 4))

    def forward(self, image: Tensor, audio: Tensor) -> Tensor:
        """[B, T, 3, H, W] and [B, frames, M] to [B, L]."""
        seen = self.camera(image.flatten(0, 1)).unflatten(0, (image.shape[0], -1))
        heard = self.sound(audio.transpose(1, 2)).mean(2)
        return self.head(torch.cat([self.gru(seen)[0][:, -1], heard], 1))


def build() -> nn.Module:
    """The factory that the spec names."""
    torch.manual_seed(0)
    model = Window()
    for layer in model.camera.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return model


if __name__ == "__main__":
    from mmedge_export.checkpoint import save_checkpoint

    save_checkpoint(Path(sys.argv[1]) / "window.safetensors", build(), SPEC)
