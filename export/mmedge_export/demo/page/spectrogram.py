"""The spectrogram as a small PNG inside the page."""

from base64 import b64encode
from typing import Any

import numpy as np

from mmedge.errors import needs
from mmedge_export.demo.result import Floats

__all__ = ["RANGE_DB", "data_uri", "spectrogram_png"]

RANGE_DB = 70.0
MAX_STEPS = 2000  # more columns than a screen has pixels make the page heavy and nothing clearer


def data_uri(kind: str, content: bytes) -> str:
    """Bytes of a picture as an address that holds them."""
    return f"data:{kind};base64,{b64encode(content).decode('ascii')}"


def spectrogram_png(level_db: Floats) -> bytes:
    """Draw levels in the magma colours, from the loudest down to 70 dB below it.

    Args:
        level_db: [bands, steps], low frequencies first; they come out at the bottom.
    """
    cv2: Any = needs("cv2", fix="pip install 'mmedge[cpu]'")
    every = -(-level_db.shape[1] // MAX_STEPS)
    level = np.nan_to_num(level_db[::-1, ::every], nan=-np.inf)
    loudest = level.max() if np.isfinite(level.max()) else 0.0
    share = np.clip((level - loudest) / RANGE_DB + 1, 0, 1)
    picture = cv2.applyColorMap(np.round(255 * share).astype(np.uint8), cv2.COLORMAP_MAGMA)
    _, png = cv2.imencode(".png", picture)
    return bytes(png)
