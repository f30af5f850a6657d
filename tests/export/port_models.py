"""Small models with inputs beyond camera and audio, and their specs."""

import torch
from fusion_models import AUDIO, Cnn, Sound, camera
from torch import Tensor, nn


class Robot(nn.Module):
    """A picture, sound and a lidar scan."""

    def __init__(self) -> None:
        super().__init__()
        self.camera, self.sound = Cnn(), Sound()
        self.lidar = nn.Sequential(nn.Conv1d(4, 8, 5, 2), nn.ReLU(), nn.Conv1d(8, 12, 5, 2))
        self.head = nn.Linear(36, 3)

    def forward(self, image: Tensor, audio: Tensor, lidar: Tensor) -> Tensor:
        return self.head(torch.cat([self.camera(image), self.sound(audio), self.lidar(lidar).mean(2)], 1))


class Listener(nn.Module):
    """Sound, and what was heard before."""

    def __init__(self) -> None:
        super().__init__()
        self.sound, self.cell, self.head = Sound(), nn.GRUCell(12, 16), nn.Linear(16, 3)

    def forward(self, audio: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        heard = self.cell(self.sound(audio), h)
        return self.head(heard), heard


class Watcher(nn.Module):
    """A picture, and sound with a memory; outputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.camera, self.sound, self.cell, self.head = Cnn(), Sound(), nn.GRUCell(12, 16), nn.Linear(28, 3)

    def forward(self, image: Tensor, audio: Tensor, h: Tensor) -> dict[str, Tensor]:
        heard = self.cell(self.sound(audio), h)
        return {"h_next": heard, "event": self.head(torch.cat([self.camera(image), heard], 1))}


class Pilot(nn.Module):
    """A picture and a command."""

    def __init__(self) -> None:
        super().__init__()
        self.camera, self.words, self.read = Cnn(), nn.Embedding(9, 12), nn.Conv1d(12, 12, 3)
        self.head = nn.Linear(24, 3)

    def forward(self, image: Tensor, command: Tensor) -> Tensor:
        said = self.read(self.words(command).transpose(1, 2)).amax(2)
        return self.head(torch.cat([self.camera(image), said], 1))


LIDAR = '[inputs.lidar]\nmodality = "tensor"\nshape = [4, 40]\nrate_hz = 10\n'
STATE = '[inputs.h]\nmodality = "state"\nshape = [16]\nfrom = "h_next"\n'
COMMAND = '[inputs.command]\nmodality = "text"\ntokenizer = "words.json"\nlength = 6\npad_id = 8\n'
EVENT = '[outputs.event]\ntask = "classification"\nlabels = ["a", "b", "c"]\n'

INPUTS = {
    "Robot": camera("image", 1) + AUDIO + LIDAR,
    "Listener": AUDIO + STATE,
    "Watcher": camera("image", 1) + AUDIO + STATE,
    "Pilot": camera("image", 1) + COMMAND,
}


def spec_text(name: str) -> str:
    return f'[model]\nname = "{name}"\nfactory = "port_models:{name}"\n{INPUTS[name]}{EVENT}'
