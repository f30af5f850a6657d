"""A folder of pictures as a recording of a camera."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmedge.errors import InputError, SourceError, needs
from mmedge.sources.recording import Recording
from mmedge.types import NS, VideoFrame

__all__ = ["ImageFolder", "open_images"]

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}

CLOSEST_NS = 100_000  # no camera takes pictures faster; names that are closer are numbers


def open_images(folder: Path | str, *, rate_hz: float | None = None) -> "ImageFolder":
    """Open the pictures of a folder, in the order of their names; 2 comes before 10.

    Args:
        folder: It; what is no picture by its suffix is left out.
        rate_hz: Picture n was taken at ``n / rate_hz``. None for pictures whose names are the times at which they were
            taken, in whole nanoseconds (``1700000000123456789.png``), counted from the first one.

    Raises:
        InputError: There is no rate, and the names are no times.
        MissingLibraryError: OpenCV is not installed.
        SourceError: There is no such folder, or no picture in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder; expected one with pictures in it")
    paths = sorted((path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES), key=_by_numbers)
    if not paths:
        raise SourceError(f"{folder} holds no pictures; expected {', '.join(sorted(SUFFIXES))}")
    if rate_hz is None:
        named = [path for path in paths if path.stem.isdecimal()]
        if len(named) < len(paths):
            other = next(path for path in paths if path not in named)
            raise InputError(
                f"{folder}: {other.name} does not say when it was taken; "
                f"give the rate, e.g. images:{folder}?rate_hz=10, or name the pictures by nanoseconds"
            )
        times = [int(path.stem) - int(paths[0].stem) for path in paths]
        if times[-1] < (len(times) - 1) * CLOSEST_NS:
            raise InputError(
                f"{folder}: {paths[0].name} to {paths[-1].name} are numbers, not nanoseconds; "
                f"give the rate, e.g. images:{folder}?rate_hz=10"
            )
    else:
        times = [round(n * NS / rate_hz) for n in range(len(paths))]
    return ImageFolder(folder, paths, times)


def _by_numbers(path: Path) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


class ImageFolder(Recording[VideoFrame]):
    """The pictures of one folder, made by `open_images`: an iterator and a context manager, for one thread.

    Every frame owns its pixels.

    Raises:
        ClosedError: Iterated after close().
        SourceError: A picture cannot be decoded.
    """

    def __init__(self, folder: Path, paths: list[Path], times: list[int]) -> None:
        super().__init__(folder.name, lambda: None)
        self._cv2 = needs("cv2", fix="pip install 'mmedge[cpu]'")
        self._packets = self._read(paths, times)

    def _read(self, paths: list[Path], times: list[int]) -> Iterator[VideoFrame]:
        for path, t_ns in zip(paths, times, strict=True):
            bgr = self._cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), self._cv2.IMREAD_COLOR)
            if bgr is None:
                raise SourceError(f"{path} cannot be decoded; it is no picture, or damaged")
            yield VideoFrame(pixels=self._cv2.cvtColor(bgr, self._cv2.COLOR_BGR2RGB), t_ns=t_ns)
