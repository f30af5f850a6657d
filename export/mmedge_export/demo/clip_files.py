"""Writes the demo's scene as a user would have it: a video, and a WAV beside it."""

import wave
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.errors import SourceError, needs
from mmedge_export.reference.clip import Clip
from mmedge_export.reference.scene.sounds import RATE_HZ
from mmedge_export.reference.scene.window import FRAME_RATE_HZ

__all__ = ["write_clip"]


def write_clip(clip: Clip, video: Path, sound: Path) -> None:
    """Write an mp4 of 320x240 pictures and a 16-bit mono WAV.

    Raises:
        SourceError: OpenCV cannot write the video.
    """
    cv2: Any = needs("cv2", fix="pip install 'mmedge[cpu]'")
    height, width, _ = clip.frame(0).shape
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"mp4v"), FRAME_RATE_HZ, (width, height))
    if not writer.isOpened():
        raise SourceError(f"{video} cannot be written; check the folder, or the codecs of this OpenCV")
    for pixels in clip.frames():
        writer.write(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    writer.release()
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((np.clip(clip.audio, -1, 1) * 32767).astype("<i2").tobytes())
