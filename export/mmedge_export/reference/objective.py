"""What training minimises, and the hints that only training needs."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmedge_export.reference.batches import Batch
from mmedge_export.reference.network import WIDTH, EmergencyNetwork

__all__ = ["Hints", "loss"]

DROPPED = 0.10
SMOOTHING = 0.03
DISTANCE_WEIGHT, SIREN_WEIGHT, PLACE_WEIGHT = 0.4, 0.4, 0.4


class Hints(nn.Module):
    """Questions to the encoders alone: is a siren heard, and in which place of the picture are beacons, if anywhere?

    They are asked in training only; the checkpoint is without them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.siren = nn.Linear(WIDTH, 1)
        self.place = nn.Linear(WIDTH, 1)
        self.nowhere = nn.Parameter(torch.zeros(1))

    def forward(self, camera: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B] of a siren, and [B, 81] of each place with "nowhere" last."""
        places = self.place(camera).squeeze(2)
        return self.siren(audio.mean(1)).squeeze(1), torch.cat([places, self.nowhere.expand(len(places), 1)], 1)


def loss(
    network: EmergencyNetwork, hints: Hints, batch: Batch, generator: torch.Generator, *, precise: bool = True
) -> Tensor:
    """Weighted sum of event, distance and hints for one batch, with a sensor missing in some windows.

    A missing sensor is what its encoder makes of the baseline, an input of zeros: average picture, average sound.
    ``precise`` encodes in float32 instead of bfloat16.
    """
    with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
        camera = network.camera(torch.cat([batch.image, torch.zeros_like(batch.image[:1])])).float()
        audio = network.audio(torch.cat([batch.audio, torch.zeros_like(batch.audio[:1])])).float()
    siren, place = hints(camera[:-1], audio[:-1])
    chance = torch.rand(len(batch.image), 1, 1, generator=generator)
    seen = torch.where(chance < DROPPED, camera[-1:], camera[:-1])
    heard = torch.where(chance > 1 - DROPPED, audio[-1:], audio[:-1])
    event, distance_m = network.head(seen, heard)
    return (
        functional.cross_entropy(event, batch.event, label_smoothing=SMOOTHING)
        + DISTANCE_WEIGHT * _distance_loss(distance_m.squeeze(1), batch)
        + SIREN_WEIGHT * functional.binary_cross_entropy_with_logits(siren, batch.siren)
        + PLACE_WEIGHT * functional.cross_entropy(place, batch.place)
    )


def _distance_loss(distance_m: Tensor, batch: Batch) -> Tensor:
    """Relative error: a metre matters more at 10 m than at 100 m."""
    error = functional.smooth_l1_loss(distance_m.log(), batch.distance_m.log(), reduction="none", beta=0.2)
    return (error * batch.has_distance).sum() / batch.has_distance.sum().clamp(min=1)
