"""Real sensor data to prove an export with, calibrate it and compare its variants."""

import numpy as np
import numpy.typing as npt

from mmedge_export.reference.dataset import EVENTS, SAMPLES_SEED
from mmedge_export.reference.scene.window import draw_window

__all__ = ["samples"]


def samples(count: int, seed: int) -> list[dict[str, npt.NDArray[np.generic]]]:
    """Raw sensor arrays of scenes that the model was neither trained nor scored on, all four labels in turn.

    Args:
        count: How many.
        seed: Number of the first scene.

    Returns:
        One dictionary a scene: image [8, 240, 320, 3] uint8 RGB and audio [16000] float32.
    """
    numbers = range(SAMPLES_SEED + seed, SAMPLES_SEED + seed + count)
    windows = [draw_window(number, number % len(EVENTS)) for number in numbers]
    return [{"image": window.image, "audio": window.audio} for window in windows]
