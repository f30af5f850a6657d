"""Train the reference model: ``python -m mmedge_export.reference.train -o checkpoint.safetensors``."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn

from mmedge_export.checkpoint import save_checkpoint
from mmedge_export.reference.batches import epoch
from mmedge_export.reference.dataset import Dataset, draw_dataset, spec_text
from mmedge_export.reference.network import EmergencyNetwork, build
from mmedge_export.reference.objective import Hints, loss

__all__ = ["Recipe", "train"]

WARM_UP = 0.15
LARGEST_GRADIENT = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides which weights come out.

    Attributes:
        windows: Scenes to train on.
        epochs: How often each is seen.
        batch: Windows to a step.
        rate: Highest learning rate.
        decay: Weight decay.
        seed: Of scenes, weights and augmentation.
        precise: Encode in float32 throughout; bfloat16 is faster where the CPU computes in it.
        threads: CPU threads; other numbers add in another order and give slightly other weights.
    """

    windows: int = 8000
    epochs: int = 6
    batch: int = 32
    rate: float = 3e-3
    decay: float = 0.02
    seed: int = 0
    precise: bool = False
    threads: int = 2


DEFAULT = Recipe()


def train(data: Dataset, recipe: Recipe) -> EmergencyNetwork:
    """Train on windows; the same windows and recipe give the same weights on the same machine.

    Prints a line for every tenth of an epoch.
    """
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    random, generator = np.random.default_rng(recipe.seed), torch.Generator().manual_seed(recipe.seed)
    network, hints = build().train(), Hints()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = len(data) // recipe.batch
    step = _stepper(network, hints, recipe, steps * recipe.epochs)
    for number in range(recipe.epochs):
        for index, batch in enumerate(epoch(data, recipe.batch, random)):
            value = step(loss(network, hints, batch, generator, precise=recipe.precise))
            if index % max(1, steps // 10) == 0:
                click.echo(f"epoch {number + 1}/{recipe.epochs} step {index}/{steps} loss {value:.3f}")
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return network.eval()


def _stepper(network: nn.Module, hints: nn.Module, recipe: Recipe, steps: int) -> Callable[[Tensor], float]:
    """A function that takes one step down a loss and gives its value."""
    optimizer = torch.optim.AdamW([*network.parameters(), *hints.parameters()], weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps, pct_start=WARM_UP)

    def step(value: Tensor) -> float:
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        return value.item()

    return step


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The checkpoint to write.")
@click.option("--windows", default=DEFAULT.windows, show_default=True, help="Scenes to train on.")
@click.option("--epochs", default=DEFAULT.epochs, show_default=True, help="How often each scene is seen.")
@click.option("--seed", default=DEFAULT.seed, show_default=True, help="Of scenes, weights and augmentation.")
@click.option("--precise", is_flag=True, help="Encode in float32, also where the CPU computes in bfloat16.")
def main(output: Path, windows: int, epochs: int, seed: int, *, precise: bool) -> None:
    """Draw the scenes, train the reference model, write its checkpoint with the spec inside."""
    recipe = Recipe(windows=windows, epochs=epochs, seed=seed, precise=precise)
    start = time.perf_counter()
    data = draw_dataset(recipe.windows, seed=recipe.seed, workers=recipe.threads)
    click.echo(f"{len(data)} windows drawn in {time.perf_counter() - start:.0f} s")
    network = train(data, recipe)
    save_checkpoint(output, network, spec_text())
    click.echo(f"{output} written after {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
