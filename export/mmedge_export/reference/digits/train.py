"""Training the digits network: half a minute on one core."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from mmedge.feeds import front_end
from mmedge_export.reference.digits.network import DigitsNetwork, build
from mmedge_export.reference.digits.scenes import Scene
from mmedge_export.spec import Spec, read_spec

__all__ = ["Recipe", "digits_spec", "spec_text", "tensors", "train"]

LARGEST_SHIFT = 20
"""Frames of sound, 200 ms."""
LN_GAIN = 1.4
"""Log-mel energies move by up to this: 6 dB."""
WARM_UP = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides which weights come out.

    Attributes:
        epochs: How often each recording is heard.
        batch: Scenes to a step.
        rate: Highest learning rate.
        decay: Weight decay.
        noise: Largest standard deviation of the noise on a picture, as a share of its range.
        seed: Of weights, pairs and augmentation.
        threads: CPU threads; other numbers add in another order and give slightly other weights.
    """

    epochs: int = 20
    batch: int = 64
    rate: float = 3e-3
    decay: float = 0.1
    noise: float = 0.4
    seed: int = 0
    threads: int = 1


def spec_text() -> str:
    """The SPEC.toml of the digits network."""
    return files("mmedge_export.reference.digits").joinpath("spec.toml").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def digits_spec() -> Spec:
    """The network's spec, read."""
    return read_spec(spec_text(), "mmedge_export/reference/digits/spec.toml")


def tensors(scenes: Sequence[Scene]) -> tuple[Tensor, Tensor, Tensor]:
    """What the runtime's own front ends make of scenes: image [S, 1, 32, 32], audio [S, 98, 40], labels [S] int64."""
    ports = digits_spec().ports
    fronts = {name: front_end(port) for name, port in ports.items()}
    image = np.stack([fronts["image"].window(scene.image) for scene in scenes])
    audio = np.stack([fronts["audio"].window(scene.audio) for scene in scenes])
    return torch.from_numpy(image), torch.from_numpy(audio), torch.tensor([scene.label for scene in scenes])


def train(
    scenes: Sequence[Scene], recipe: Recipe | None = None, progress: Callable[[str], None] | None = None
) -> DigitsNetwork:
    """A network in eval mode; the same scenes and recipe give the same weights on the same machine.

    The caller's random numbers and threads are left as they are.

    Args:
        scenes: To train on.
        recipe: See :class:`Recipe`.
        progress: Told a line after each epoch.
    """
    recipe = recipe or Recipe()
    image, audio, labels = tensors(scenes)
    random = np.random.default_rng(recipe.seed)
    with torch.random.fork_rng(devices=[]), _threads(recipe.threads):
        torch.manual_seed(recipe.seed)
        network = build().train()
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=recipe.decay)
        steps = recipe.epochs * (len(scenes) // recipe.batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps, pct_start=WARM_UP)
        for epoch in range(recipe.epochs):
            losses = []
            for seen, heard in _pairs(labels.numpy(), recipe.batch, random):
                digit, _ = network(_augmented_image(image[seen], recipe.noise), _augmented_audio(audio[heard], random))
                loss = functional.cross_entropy(digit, labels[heard])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
            if progress:
                progress(f"epoch {epoch + 1}/{recipe.epochs} loss {np.mean(losses):.3f}")
    return network.eval()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


Indices = npt.NDArray[np.int64]


def _pairs(labels: Indices, size: int, random: np.random.Generator) -> Iterator[tuple[Indices, Indices]]:
    """Every sound once, in random order and whole batches, each with the picture of any scene of its label."""
    members = {label: np.flatnonzero(labels == label) for label in np.unique(labels)}
    order = random.permutation(len(labels))
    for start in range(0, len(order) - size + 1, size):
        heard = order[start : start + size]
        yield np.array([random.choice(members[labels[i]]) for i in heard]), heard


def _augmented_image(image: Tensor, noise: float) -> Tensor:
    """Pictures with noise of a random strength, some of them clean; enlarged as the pixels are that it falls on."""
    camera = digits_spec().ports["image"].camera
    assert camera is not None
    strength = torch.rand(len(image), 1, 1, 1).sub(0.3).clamp(min=0) * (noise / 0.7 / camera.std[0])
    grain = torch.randn(len(image), 1, 8, 8) * strength
    return image + functional.interpolate(grain, image.shape[2:], mode="bilinear")


def _augmented_audio(audio: Tensor, random: np.random.Generator) -> Tensor:
    """Sounds earlier or later by whole frames, louder or softer, with a few mel bins and frames missing."""
    settings = digits_spec().ports["audio"].audio
    assert settings is not None
    moved = audio.clone()
    for window in moved:
        window[:] = torch.roll(window, int(random.integers(-LARGEST_SHIFT, LARGEST_SHIFT + 1)), 0)
        for axis, longest in ((0, 16), (1, 8)):
            start, length = int(random.integers(window.shape[axis])), int(random.integers(longest))
            window.narrow(axis, start, min(length, window.shape[axis] - start)).zero_()
    return moved + torch.empty(len(audio), 1, 1).uniform_(-LN_GAIN, LN_GAIN) / settings.std[0]
