r"""A picture and a sound transformer with cross-attention, as large as asked.

``python large.py FOLDER [MILLIONS]`` writes ``large.safetensors`` with about so many million parameters (100). What an
export of it takes is then measured, from this folder, by::

    python -m mmedge_bench.memory -- \
        python -m mmedge export FOLDER/large.safetensors --random-samples -o FOLDER/large.mmedge

The weights are random: nothing that is measured depends on them.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

HEAD_WIDTH = 64
SPEC = """
[model]
name = "large"
factory = "large:build"
[model.arguments]
layers = {layers}
heads = {heads}

[inputs.image]
modality = "camera"
size = [64, 64]
rate_hz = 10

[inputs.audio]
modality = "audio"
rate_hz = 16000
window_ms = 500
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


class Large(nn.Module):
    """Two encoders of the same size and a head in which pictures are asked about sound."""

    def __init__(self, layers: int, heads: int) -> None:
        super().__init__()
        width = heads * HEAD_WIDTH
        self.patches, self.frames = nn.Conv2d(3, width, 16, 16), nn.Linear(64, width)

        def encoder() -> nn.Module:
            layer = nn.TransformerEncoderLayer(width, heads, 4 * width, batch_first=True, norm_first=True)
            return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

        self.seeing, self.hearing = encoder(), encoder()
        self.asking, self.head = nn.MultiheadAttention(width, heads, batch_first=True), nn.Linear(width, 4)

    def forward(self, image: Tensor, audio: Tensor) -> Tensor:
        """[B, 3, H, W] and [B, frames, M] to [B, L]."""
        seen = self.seeing(self.patches(image).flatten(2).transpose(1, 2))
        heard = self.hearing(self.frames(audio[:, ::4]))
        return self.head(self.asking(seen, heard, heard, need_weights=False)[0].mean(1))


def build(layers: int, heads: int) -> nn.Module:
    """The factory that the spec names."""
    torch.manual_seed(0)
    return Large(layers, heads)


def sizes(millions: float) -> tuple[int, int]:
    """Layers and heads of about so many million parameters: a layer of width w has 12 w^2."""
    heads = 10 if millions <= 300 else 20
    return max(1, round(millions * 1e6 / (2 * 12 * (heads * HEAD_WIDTH) ** 2))), heads


if __name__ == "__main__":
    from mmedge_export.checkpoint import save_checkpoint

    layers, heads = sizes(float(sys.argv[2]) if len(sys.argv) > 2 else 100)
    save_checkpoint(
        Path(sys.argv[1]) / "large.safetensors", build(layers, heads), SPEC.format(layers=layers, heads=heads)
    )
