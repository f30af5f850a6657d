"""The reference network: a CNN per frame, a temporal part, an audio CNN and a cross-attention head."""

import torch
from torch import Tensor, nn

__all__ = ["AudioEncoder", "CameraEncoder", "EmergencyNetwork", "FusionHead", "build"]

FRAMES = 8
FRAME_CHANNELS = 32
WIDTH = 64
CAMERA_TOKENS = (8, 10)
AUDIO_TOKENS = 13
EVENTS = 4
FARTHEST_M = 200.0


def convolution(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, padding: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut; [B, C, H, W] to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions find to what came in."""
        return torch.relu(x + self.second(self.first(x)))


class FrameEncoder(nn.Module):
    """What is in one picture, and where: [B, 3, 120, 160] to [B, 32, 15, 20].

    A picture never meets another one in here, so that a stream encodes each of them once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolution(3, 24, kernel=6, stride=4),
            convolution(24, 24),
            convolution(24, 48, stride=2),
            Residual(48),
            convolution(48, FRAME_CHANNELS, kernel=1, padding=0),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Encode pictures, each on its own."""
        result: Tensor = self.layers(x)
        return result


class TemporalEncoder(nn.Module):
    """How each place changes over the window: [B, T, 32, 15, 20] to tokens [B, 80, 64].

    Steady lamps and flashing ones differ in the mean, the maximum and the mean absolute step of a place over time,
    which do not depend on the phase of the flash; a learned mixture of the T pictures adds the rhythm.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rhythm = convolution(FRAMES * FRAME_CHANNELS, FRAME_CHANNELS, kernel=1, padding=0)
        self.merge = convolution(4 * FRAME_CHANNELS, WIDTH, stride=2)
        self.mix = Residual(WIDTH)
        self.position = nn.Parameter(torch.randn(1, CAMERA_TOKENS[0] * CAMERA_TOKENS[1], WIDTH) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Compare the pictures of a window."""
        step = (x[:, 1:] - x[:, :-1]).abs().mean(1)
        places = torch.cat([x.mean(1), x.amax(1), step, self.rhythm(x.flatten(1, 2))], 1)
        tokens: Tensor = self.mix(self.merge(places)).flatten(2).transpose(1, 2)
        return tokens + self.position


class CameraEncoder(nn.Module):
    """A window of pictures [B, 8, 3, 120, 160] to tokens [B, 80, 64], one for each place of an 8 x 10 grid."""

    def __init__(self) -> None:
        super().__init__()
        self.frame = FrameEncoder()
        self.temporal = TemporalEncoder()

    def forward(self, image: Tensor) -> Tensor:
        """Encode the pictures one by one, then the window."""
        places = self.frame(image.flatten(0, 1))
        tokens: Tensor = self.temporal(places.unflatten(0, (-1, FRAMES)))
        return tokens


class Attention(nn.Module):
    """Multi-head attention of queries [B, Q, 64] over tokens [B, K, 64], with a residual and a feed-forward part."""

    def __init__(self, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.before, self.after = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.feed = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Let every query gather what it looks for."""
        q, k, v = (self._split(t) for t in (self.query(queries), self.key(tokens), self.value(tokens)))
        weight = torch.softmax(q @ k.transpose(2, 3) * (WIDTH // self.heads) ** -0.5, -1)
        found = (weight @ v).transpose(1, 2).flatten(2)
        x = self.before(queries + self.out(found))
        result: Tensor = self.after(x + self.feed(x))
        return result

    def _split(self, x: Tensor) -> Tensor:
        parts: Tensor = x.unflatten(2, (self.heads, WIDTH // self.heads)).transpose(1, 2)  # type: ignore[no-untyped-call]
        return parts


class AudioEncoder(nn.Module):
    """A second of log-mel [B, 98, 64] to tokens [B, 13, 64], one for each 80 ms."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolution(1, 24, kernel=5, stride=2, padding=2),
            convolution(24, 48, stride=2),
            convolution(48, WIDTH, stride=2),
            Residual(WIDTH),
        )
        self.project = nn.Linear(8 * WIDTH, WIDTH)
        self.position = nn.Parameter(torch.randn(1, AUDIO_TOKENS, WIDTH) * 0.02)
        self.mix = Attention()

    def forward(self, audio: Tensor) -> Tensor:
        """Encode the spectrogram, then compare its moments."""
        places = self.layers(audio.unsqueeze(1))
        tokens = self.project(places.transpose(1, 2).flatten(2)) + self.position
        mixed: Tensor = self.mix(tokens, tokens)
        return mixed


class FusionHead(nn.Module):
    """Tokens of camera [B, 80, 64] and audio [B, 13, 64] to event logits [B, 4] and distance in metres [B, 1].

    Every moment of the sound, and four learned questions besides, look over the places of the picture.
    """

    def __init__(self) -> None:
        super().__init__()
        self.questions = nn.Parameter(torch.randn(1, 4, WIDTH) * 0.1)
        self.look = Attention()
        self.join = nn.Sequential(nn.Linear(3 * WIDTH, 2 * WIDTH), nn.ReLU())
        self.event = nn.Linear(2 * WIDTH, EVENTS)
        self.distance = nn.Linear(2 * WIDTH, 1)

    def forward(self, camera: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Decide."""
        questions = self.questions.expand(camera.shape[0], -1, -1)
        seen = self.look(torch.cat([audio, questions], 1), camera)
        joined = self.join(
            torch.cat([audio.mean(1), seen[:, :AUDIO_TOKENS].mean(1), seen[:, AUDIO_TOKENS:].mean(1)], 1)
        )
        return self.event(joined), FARTHEST_M * torch.sigmoid(self.distance(joined))


class EmergencyNetwork(nn.Module):
    """Event and distance from 8 pictures (0.5 s) and 1 s of sound.

    The distance is trained where a siren is heard or beacons are seen. Elsewhere it is the network's guess at where
    such a vehicle would be, and means nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.camera = CameraEncoder()
        self.audio = AudioEncoder()
        self.head = FusionHead()

    def forward(self, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Decide on one window.

        Args:
            image: [B, 8, 3, 120, 160] float32, normalised as the spec says.
            audio: [B, 98, 64] float32, normalised as the spec says.

        Returns:
            Event logits [B, 4] and the distance in metres [B, 1], 0 to 200.
        """
        result: tuple[Tensor, Tensor] = self.head(self.camera(image), self.audio(audio))
        return result


def build() -> EmergencyNetwork:
    """The network with random weights; the factory that the spec names."""
    return EmergencyNetwork()
