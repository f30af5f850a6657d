"""The digits network: a picture's CNN, a sound's CNN, and a gated sum that decides whom to believe."""

from torch import Tensor, nn

from mmedge_export.reference.digits.scenes import LABELS
from mmedge_export.reference.fusion.dropout import ModalityDropout
from mmedge_export.reference.fusion.encoders import CnnEncoder, PictureCnn
from mmedge_export.reference.fusion.sums import GatedSum

__all__ = ["DigitsNetwork", "build"]

SIZE_PX = (32, 32)
MELS = 40
WIDTH = 64
MISSING = 0.2


class DigitsNetwork(nn.Module):
    """A digit from a picture and a second of sound; either may be missing, which zeros say."""

    def __init__(self) -> None:
        super().__init__()
        self.missing = ModalityDropout(MISSING)
        self.camera = PictureCnn(1, WIDTH, size_px=SIZE_PX)
        self.microphone = CnnEncoder(MELS, WIDTH, stride=2, kernel=5)
        self.fusion = GatedSum((WIDTH, WIDTH), WIDTH)
        self.digit = nn.Linear(WIDTH, LABELS)

    def forward(self, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Decide on one scene.

        Args:
            image: [B, 1, 32, 32] float32, normalised as the spec says.
            audio: [B, 98, 40] float32, normalised as the spec says.

        Returns:
            Logits [B, 10], and how much camera and microphone counted, [B, 2].
        """
        seen, heard = self.missing([image, audio])
        fused, importance = self.fusion(self.camera(seen), self.microphone(heard).amax(1))
        return self.digit(fused), importance


def build() -> DigitsNetwork:
    """The network with random weights; the factory that the spec names."""
    return DigitsNetwork()
