"""Small fusion models of the families that people bring, their factories and their specs."""

import torch
from torch import Tensor, nn

SIZE = 16
MELS = 20


class Cnn(nn.Module):
    """[N, 3, 16, 16] to [N, 12]."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean((2, 3))


class Sound(nn.Module):
    """[B, frames, 20] to [B, 12]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(MELS, 16, 3), nn.ReLU(), nn.Conv1d(16, 12, 3), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.transpose(1, 2)).mean(2)


class Late(nn.Module):
    """One picture and sound, concatenated late; a second output that only the picture decides."""

    def __init__(self) -> None:
        super().__init__()
        self.camera, self.sound = Cnn(), Sound()
        self.head, self.brightness = nn.Linear(24, 3), nn.Linear(12, 1)

    def forward(self, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.camera(image)
        return self.head(torch.cat([seen, self.sound(audio)], 1)), self.brightness(seen)


class Early(nn.Module):
    """The sound joins the picture as a fourth channel before anything is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn, self.head = Cnn(4), nn.Linear(12, 3)

    def forward(self, image: Tensor, audio: Tensor) -> Tensor:
        plane = audio[:, :SIZE, :SIZE].unsqueeze(1)
        return self.head(self.cnn(torch.cat([image, plane], 1)))


class Window(nn.Module):
    """T pictures and sound; ``temporal`` is what comes after the CNN of each picture."""

    def __init__(self, temporal: str) -> None:
        super().__init__()
        self.camera, self.sound, self.kind = Cnn(), Sound(), temporal
        self.gru = nn.GRU(12, 12, batch_first=True)
        layer = nn.TransformerEncoderLayer(12, 2, 24, batch_first=True, dropout=0.1)
        self.transformer = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.mix = nn.Conv3d(3, 3, (3, 1, 1), padding=(1, 0, 0))
        self.head = nn.Linear(24, 3)

    def forward(self, image: Tensor, audio: Tensor) -> Tensor:
        if self.kind == "conv3d first":
            image = self.mix(image.transpose(1, 2)).transpose(1, 2)
        if self.kind == "loop":
            seen = torch.stack([self.camera(image[:, t]) for t in range(image.shape[1])], 1)
        else:
            seen = self.camera(image.flatten(0, 1)).unflatten(0, (image.shape[0], -1))
        if self.kind == "gru":
            seen = self.gru(seen)[0]
        if self.kind == "transformer":
            seen = self.transformer(seen)
        return self.head(torch.cat([seen.mean(1), self.sound(audio)], 1))


class Three(nn.Module):
    """Two cameras with the same weights, and sound; the cameras meet before the sound does."""

    def __init__(self) -> None:
        super().__init__()
        self.camera, self.sound = Cnn(), Sound()
        self.pair, self.head = nn.Linear(24, 12), nn.Linear(24, 3)

    def forward(self, left: Tensor, right: Tensor, audio: Tensor) -> Tensor:
        both = torch.relu(self.pair(torch.cat([self.camera(left), self.camera(right)], 1)))
        return self.head(torch.cat([both, self.sound(audio)], 1))


class Unfaithful(Late):
    """Computes something else while it is exported, as a custom operator with a wrong export rule would."""

    def forward(self, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(image, audio * 1.001 if torch.compiler.is_exporting() else audio)


class Drowned(Late):
    """The picture is so loud in the output that what the sound does there is less than rounding."""

    def forward(self, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.camera(image)
        return self.head(torch.cat([1e6 * seen, self.sound(audio)], 1)), self.brightness(seen)


class Picky(Late):
    """Looks up a table, and beyond its end where the picture has less contrast than any real one."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.eye(2))

    def forward(self, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        event, level = super().forward(image, audio)
        index = 3 * (((image - 0.5) ** 2).mean((1, 2, 3)) < 0.04).long()
        return event + 0 * self.table[index][:, :1], level


class Named(Late):
    """Gives its outputs by name, and more of them than anybody asked for."""

    def forward(self, image: Tensor, audio: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        event, level = super().forward(image, audio)
        return {"extra": event * 2, "level": level, "event": event}


class Branching(Late):
    """Decides in Python what to compute."""

    def forward(self, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        if image.sum() > 0:
            image = image * 2
        return super().forward(image, audio)


class OnGpu(Late):
    """Moves its input to a device that may not be there."""

    def forward(self, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(image.cuda(), audio)


class Noisy(Late):
    """Draws random numbers in eval mode."""

    def forward(self, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(image, audio + torch.randn_like(audio))


class Headed(nn.Module):
    """Its camera sits on the robot's head, and is called so."""

    def __init__(self) -> None:
        super().__init__()
        self.camera, self.sound, self.decide = Cnn(), Sound(), nn.Linear(24, 3)

    def forward(self, head: Tensor, audio: Tensor) -> Tensor:
        return self.decide(torch.cat([self.camera(head), self.sound(audio)], 1))


class Fixed(Late):
    """Has a dtype written into its forward(), so that float64 is not to be had."""

    def forward(self, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(image.float(), audio.float())


def late() -> nn.Module:
    return Late()


def early() -> nn.Module:
    return Early()


def window(temporal: str) -> nn.Module:
    return Window(temporal)


def three() -> nn.Module:
    return Three()


def unfaithful() -> nn.Module:
    return Unfaithful()


def drowned() -> nn.Module:
    return Drowned()


def picky() -> nn.Module:
    return Picky()


def named() -> nn.Module:
    return Named()


def fixed() -> nn.Module:
    return Fixed()


def branching() -> nn.Module:
    return Branching()


def on_gpu() -> nn.Module:
    return OnGpu()


def noisy() -> nn.Module:
    return Noisy()


def headed() -> nn.Module:
    return Headed()


def not_a_module() -> str:
    return "surprise"


AUDIO = """
[inputs.audio]
modality = "audio"
rate_hz = 16000
window_ms = 500
hop_ms = 20
features = "log-mel"
convention = "kaldi"
mels = 20
layout = "TM"
"""


def camera(name: str, frames: int) -> str:
    window = f'frames = {frames}\nlayout = "TCHW"' if frames > 1 else 'layout = "CHW"'
    return f'[inputs.{name}]\nmodality = "camera"\nsize = [16, 16]\nrate_hz = 15\n{window}\n'


def spec_text(
    factory: str, *, frames: int = 1, cameras: tuple[str, ...] = ("image",), outputs: str = "event level"
) -> str:
    name, _, argument = factory.partition(" ")
    arguments = f'[model.arguments]\ntemporal = "{argument}"\n' if argument else ""
    meanings = {
        "event": '[outputs.event]\ntask = "classification"\nlabels = ["a", "b", "c"]\nactivation = "softmax"\n',
        "level": '[outputs.level]\ntask = "regression"\n',
    }
    return (
        f'[model]\nname = "{name}"\nfactory = "fusion_models:{name}"\n{arguments}\n'
        + "".join(camera(each, frames) for each in cameras)
        + AUDIO
        + "".join(meanings[each] for each in outputs.split())
    )
