"""What goes wrong when people export: one small model for each trap, and for each way to take and give tensors."""

import copy
import random
from collections import OrderedDict
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from fusion_models import Cnn, Late, Sound
from torch import Tensor, nn


@dataclass
class Batch:
    image: Tensor
    audio: Tensor


class Pair(NamedTuple):
    level: Tensor
    event: Tensor


@dataclass
class Result:
    level: Tensor
    event: Tensor
    loss: Tensor | None = None


class ModelOutput(OrderedDict):  # type: ignore[type-arg]
    """As Hugging Face's: a dataclass that is a mapping of its fields that are not None."""

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]
            if getattr(self, each.name) is not None:
                self[each.name] = getattr(self, each.name)

    def to_tuple(self) -> tuple[Any, ...]:
        return tuple(self.values())


@dataclass
class EventOutput(ModelOutput):
    loss: Tensor | None = None
    level: Tensor | None = None
    event: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class Takes(Late):
    """Wants its inputs in something, and a flag that changes what it computes."""

    def __init__(self, style: str) -> None:
        super().__init__()
        self.style = style

    def forward(self, batch: Any, training: bool = True) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        if self.style == "list":
            image, audio = batch
        elif self.style == "dict":
            image, audio = batch["image"], batch["audio"]
        else:
            image, audio = batch.image, batch.audio
        event, level = super().forward(image, audio)
        return (event * 100, level) if training else (event, level)


class Positional(Late):
    """Its arguments have other names than the ports."""

    def forward(self, x: Tensor, y: Tensor, /, scale: float = 0.0) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        event, level = super().forward(x, y)
        return event * scale, level


class Gives(Late):
    """Gives its outputs in something."""

    def __init__(self, style: str) -> None:
        super().__init__()
        self.style = style

    def forward(self, image: Tensor, audio: Tensor) -> Any:  # type: ignore[override]
        event, level = super().forward(image, audio)
        return {
            "tuple": (event, level),
            "list": [event, level],
            "dict": {"level": level, "event": event, "unasked": image},
            "dataclass": Result(level=level, event=event),
            "named tuple": Pair(level=level, event=event),
            "ModelOutput": EventOutput(level=level, event=event, hidden_states=(image, audio)),
            "tuple in tuple": ((event, level),),
            "dict in tuple": ({"level": level}, {"event": event}),
            "dict in dict": {"heads": {"level": level, "event": event}},
            "too many": (event, level, image),
            "other names": {"a": event, "b": level},
            "nothing": None,
        }[self.style]


class Recurrent(nn.Module):
    """A GRU over the sound."""

    def __init__(self) -> None:
        super().__init__()
        self.camera, self.gru, self.head = Cnn(), nn.GRU(20, 12, batch_first=True), nn.Linear(24, 3)

    def forward(self, image: Tensor, audio: Tensor) -> Tensor:
        return self.head(torch.cat([self.camera(image), self.gru(audio)[0][:, -1]], 1))


class Pool3d(Late):
    """Pools over a tensor without a channel axis, which torch takes as one without a batch axis."""

    def forward(self, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(nn.functional.max_pool3d(image, (1, 2, 2), (1, 1, 1), (0, 1, 1))[..., :16, :16], audio)


class Squeezed(Late):
    """Right for every batch but one of one."""

    def forward(self, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        event, level = super().forward(image, audio)
        return event, level.squeeze()


class SqueezedInside(Late):
    """At batch 1 the softmax goes along another axis, and nothing fails."""

    def forward(self, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        event, level = super().forward(image, audio)
        weights = torch.stack([event, event * 2], 1).squeeze().softmax(1)  # [B, 2, 3], or [2, 3] for one
        return event * weights.reshape(-1, 2, 3).sum(1), level


class Looped(Late):
    """A Python loop over the batch."""

    def forward(self, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        rows = [super(Looped, self).forward(image[i : i + 1], audio[i : i + 1]) for i in range(len(image))]
        return torch.cat([event for event, _ in rows]), torch.cat([level for _, level in rows])


class HeadOutside(nn.Module):
    """What makes the score lives in the loss; several methods, no forward()."""

    def __init__(self) -> None:
        super().__init__()
        self.camera, self.sound = Cnn(), Sound()
        self.loss = nn.ModuleDict({"fc": nn.Linear(24, 3)})

    def encode_image(self, x: Tensor) -> Tensor:
        return self.camera(x)

    def encode_sound(self, x: Tensor) -> Tensor:
        return self.sound(x)


class Score(nn.Module):
    """The wrapper that its user writes."""

    def __init__(self) -> None:
        super().__init__()
        self.network = HeadOutside()

    def forward(self, image: Tensor, audio: Tensor) -> Tensor:
        both = [self.network.encode_image(image), self.network.encode_sound(audio)]
        return self.network.loss["fc"](torch.cat(both, 1))


class WeightNorm(Late):
    """Keeps a tensor with a history, which cannot be deep-copied."""

    def __init__(self) -> None:
        super().__init__()
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # old checkpoints have it
            self.head = nn.utils.weight_norm(self.head)


class Counting(Late):
    """Counts its calls, draws random numbers of every kind, and has dropout and running statistics."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros(1))
        self.head.weight.requires_grad_(requires_grad=False)

    def forward(self, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        if not torch.compiler.is_exporting():
            self.calls += 1
            _ = torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002 - as augmentation left in does
        return super().forward(image, self.drop(audio))


class Aged(Late):
    """As a module that was pickled by an older version of its code: an attribute is missing."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = 2.0
        del self.gain

    def forward(self, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(image, audio * self.gain)  # type: ignore[operator]


def takes(style: str) -> nn.Module:
    return Takes(style)


def gives(style: str) -> nn.Module:
    return Gives(style)


def half(kind: str) -> nn.Module:
    return Late().to(getattr(torch, kind))


def copied(model: nn.Module) -> dict[str, Any]:
    """All that a user could notice."""
    return {
        "training": [module.training for module in model.modules()],
        "state": copy.deepcopy({name: (tensor.dtype, tensor.clone()) for name, tensor in model.state_dict().items()}),
        "grad": [parameter.requires_grad for parameter in model.parameters()],
        "identity": [id(parameter) for parameter in model.parameters()],
    }
