"""How good the digits network is: with both sensors, with each alone, and in the dark."""

from collections.abc import Sequence

from torch import Tensor

from mmedge_export.reference.digits.network import DigitsNetwork
from mmedge_export.reference.digits.scenes import Scene, noisy
from mmedge_export.reference.digits.train import tensors
from mmedge_export.reference.fusion.ablation import ablations
from mmedge_export.reference.metrics import Scores

__all__ = ["DARK", "evaluate", "report"]

DARK = 120.0
"""Noise of the report's dark pictures, in grey levels."""


def evaluate(network: DigitsNetwork, scenes: Sequence[Scene]) -> dict[str, Scores]:
    """Scores with both sensors, and with each alone while the other gives the average input."""

    def logits(image: Tensor, audio: Tensor) -> Tensor:
        digit: Tensor = network(image, audio)[0]
        return digit

    image, audio, labels = tensors(scenes)
    return ablations(logits, {"image": image, "audio": audio}, labels.numpy())


def report(network: DigitsNetwork, scenes: Sequence[Scene]) -> list[str]:
    """Lines to print, of the scenes as they are and of the same ones in the dark."""
    clean, dark = evaluate(network, scenes), evaluate(network, noisy(scenes, sigma=DARK))
    lines = [f"{len(scenes)} held-out scenes     clean    dark"]
    return lines + [f"{name:20}{clean[name].accuracy:9.1%}{dark[name].accuracy:8.1%}" for name in clean]
