"""Batches for training: random flips, shifts, light and loudness, and sounds that change their pictures."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmedge_export.reference.dataset import Dataset, port_settings

__all__ = ["Batch", "epoch", "normalized_audio", "normalized_image"]

SHIFT_PX = 6
LN_GAIN = 2.0
"""Log-mel energies move by up to this: 9 dB."""
REPAIRED = 0.5
LARGEST_MASK = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Normalised inputs and targets.

    Attributes:
        image: [B, 8, 3, 120, 160] float32.
        audio: [B, 98, 64] float32.
        siren: [B] float32, 0 or 1.
        beacons: [B] float32, 0 or 1.
        distance_m: [B] float32.
        has_distance: [B] float32, 1 where the distance means something.
        place: [B] int64, the place of the 8 x 10 grid where the beacons are, 80 for none.
    """

    image: Tensor
    audio: Tensor
    siren: Tensor
    beacons: Tensor
    distance_m: Tensor
    has_distance: Tensor
    place: Tensor

    @property
    def event(self) -> Tensor:
        """[B] int64 labels."""
        return (self.siren + 2 * self.beacons).long()


def normalized_image(image: npt.NDArray[np.uint8], light: Tensor | float = 1.0, haze: Tensor | float = 0.0) -> Tensor:
    """[..., 3, H, W] uint8 to what the spec asks for, then brightened to ``light * x + haze``."""
    camera, _ = port_settings()
    gain = torch.tensor([camera.scale / (255 * std) for std in camera.std])[:, None, None]
    offset = torch.tensor([-mean / std for mean, std in zip(camera.mean, camera.std, strict=True)])[:, None, None]
    return torch.from_numpy(image).float().mul_(gain * light).add_(offset * light + haze)


def normalized_audio(audio: npt.NDArray[np.float32]) -> Tensor:
    """[..., M] log-mel to what the spec asks for."""
    _, settings = port_settings()
    return (torch.from_numpy(audio) - settings.mean[0]) / settings.std[0]


def epoch(data: Dataset, size: int, random: np.random.Generator) -> Iterator[Batch]:
    """Every window once, in random order, in whole batches."""
    order = random.permutation(len(data))
    for start in range(0, len(order) - size + 1, size):
        yield _batch(data, order[start : start + size], random)


def _batch(data: Dataset, seen: npt.NDArray[np.int64], random: np.random.Generator) -> Batch:
    """Windows ``seen``; about half of them get the sound of another one, and the label of what they then are."""
    heard = np.where(random.uniform(size=len(seen)) < REPAIRED, random.permutation(seen), seen)
    siren, beacons = data.siren[heard], data.beacons[seen]
    image, place = _augmented_image(data.image[seen], data.place[seen], random)
    means_something = (siren | beacons) & ~(siren & beacons & (heard != seen))
    return Batch(
        image=image,
        audio=_augmented_audio(data.audio[heard], random),
        siren=torch.from_numpy(siren).float(),
        beacons=torch.from_numpy(beacons).float(),
        distance_m=torch.from_numpy(np.where(beacons, data.distance_m[seen], data.distance_m[heard])),
        has_distance=torch.from_numpy(means_something).float(),
        place=_grid(place, beacons),
    )


def _augmented_image(
    image: npt.NDArray[np.uint8], place: npt.NDArray[np.float32], random: np.random.Generator
) -> tuple[Tensor, npt.NDArray[np.float32]]:
    height, width = image.shape[-2:]
    moved, places = np.empty_like(image), place.copy()
    for index in range(len(image)):
        down, right = random.integers(-SHIFT_PX, SHIFT_PX + 1, 2)
        picture = image[index]
        if random.uniform() < 0.5:
            picture, places[index, 0] = picture[..., ::-1], 1 - place[index, 0]
        moved[index] = np.roll(picture, (down, right), (-2, -1))
        places[index] += (right / width, down / height)
    light = torch.from_numpy(random.uniform(0.85, 1.15, (len(image), 1, 3, 1, 1)).astype(np.float32))
    haze = torch.from_numpy(random.uniform(-0.15, 0.15, (len(image), 1, 1, 1, 1)).astype(np.float32))
    return normalized_image(moved, light, haze), places


def _augmented_audio(audio: npt.NDArray[np.float32], random: np.random.Generator) -> Tensor:
    silence = port_settings()[1].mean[0]
    louder = audio + random.uniform(-LN_GAIN, LN_GAIN, (len(audio), 1, 1)).astype(np.float32)
    for window in louder:
        for axis, size in enumerate(window.shape):
            start, length = random.integers(size), random.integers(LARGEST_MASK)
            masked = np.s_[start : start + length] if axis == 0 else np.s_[:, start : start + length]
            window[masked] = silence
    return normalized_audio(louder)


def _grid(place: npt.NDArray[np.float32], beacons: npt.NDArray[np.bool_]) -> Tensor:
    """[B, 2] shares of the picture to [B] places of the 8 x 10 grid, row by row; 80 for none."""
    column, row = (place * (10, 8)).clip(0, (9, 7)).astype(np.int64).T
    return torch.from_numpy(np.where(beacons, 10 * row + column, 80))
