"""Placeholder while the scene is being built: noise of the right shapes."""

import numpy as np
import numpy.typing as npt

__all__ = ["samples"]


def samples(count: int, seed: int) -> list[dict[str, npt.NDArray[np.generic]]]:
    """Raw sensor arrays for each port: image [8, 240, 320, 3] uint8 RGB and audio [16000] float32."""
    random = np.random.default_rng(seed)
    return [
        {
            "image": random.integers(0, 256, (8, 240, 320, 3), dtype=np.uint8),
            "audio": random.standard_normal(16000).astype(np.float32) * 0.05,
        }
        for _ in range(count)
    ]
