"""Cameras, through OpenCV: V4L2 devices by number or path, and network streams."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from time import monotonic_ns
from types import ModuleType
from typing import Any, Protocol
from urllib.parse import urlsplit

from mmedge.errors import InputError, SourceError, needs
from mmedge.sources.live import LiveSource
from mmedge.sources.stamps import StampClock
from mmedge.sources.video import quiet
from mmedge.types import VideoFrame

__all__ = ["Capture", "open_camera", "open_network_camera"]

READ_TIMEOUT_MS = 3000
PROPERTIES = ("FOURCC", "FRAME_WIDTH", "FRAME_HEIGHT", "FPS")
SELECT_TIMEOUT = "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"  # seconds; OpenCV waits for ten, in which nothing can be closed


class Capture(Protocol):
    """What is used of ``cv2.VideoCapture``."""

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Whether it gives pictures."""

    def read(self) -> tuple[bool, Any]:
        """Whether there is one, and the next [H, W, 3] uint8 BGR picture."""

    def get(self, prop: int, /) -> float:
        """A property."""

    def set(self, prop: int, value: float, /) -> bool:
        """Ask for a property; whether the driver took it."""

    def release(self) -> None:
        """Let go of the device."""


def open_camera(
    device: int | str,
    *,
    width_px: int | None = None,
    height_px: int | None = None,
    rate_hz: float | None = None,
    fourcc: str | None = None,
    capture: Callable[[int], Capture] | None = None,
) -> LiveSource:
    """A camera of this machine, by V4L2.

    Every frame is stamped with the kernel's time of its buffer, on the monotonic clock, and owns its pixels.

    Args:
        device: Its number, or a path such as /dev/v4l/by-id/..., which keeps its name when it is plugged in again.
        width_px: Width to ask for; the driver may take another one, which is noted.
        height_px: Height to ask for.
        rate_hz: Pictures per second to ask for.
        fourcc: Pixel format to ask for, e.g. MJPG or YUYV.
        capture: Opens a device by its number, for tests.

    Raises:
        InputError: The format is not four letters.
        MissingLibraryError: OpenCV is not installed.
    """
    cv2 = needs("cv2", fix="pip install 'mmedge[cpu]'")
    if fourcc is not None and len(fourcc) != 4:
        raise InputError(f"camera: fourcc = {fourcc!r}; expected four letters, e.g. MJPG")
    asked = {
        cv2.CAP_PROP_FOURCC: None if fourcc is None else cv2.VideoWriter.fourcc(*fourcc),
        cv2.CAP_PROP_FRAME_WIDTH: width_px,
        cv2.CAP_PROP_FRAME_HEIGHT: height_px,
        cv2.CAP_PROP_FPS: rate_hz,
    }
    wanted = {prop: float(value) for prop, value in asked.items() if value is not None}
    notes: list[str] = []
    name = f"camera {device}"
    opened = capture or partial(_open_v4l2, cv2)

    def connect(origin_ns: int, counts: Counter[str]) -> _Connection:
        del origin_ns
        connection = _Connection(name, cv2, opened(_number(device)), counts)
        connection.ask(wanted, notes)
        return connection

    return LiveSource(name, "camera", connect, notes=notes)


def open_network_camera(url: str, *, capture: Callable[[str], Capture] | None = None) -> LiveSource:
    """A stream from the network, such as RTSP, by the FFmpeg in OpenCV.

    Its times are the sender's, fitted to the arrivals, so a constant delay of network and decoder stays in them.

    Args:
        url: Its address; a password in it is kept out of messages.
        capture: Opens an address, for tests.

    Raises:
        MissingLibraryError: OpenCV is not installed.
    """
    cv2 = needs("cv2", fix="pip install 'mmedge[cpu]'")
    parts = urlsplit(url)
    name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    opened = capture or partial(_open_url, cv2)

    def connect(origin_ns: int, counts: Counter[str]) -> _Connection:
        del origin_ns
        return _Connection(name, cv2, opened(url), counts)

    return LiveSource(name, "camera", connect)


class _Connection:
    """An open capture."""

    def __init__(self, name: str, cv2: ModuleType, capture: Capture, counts: Counter[str]) -> None:
        self._name, self._cv2, self._capture, self._counts = name, cv2, capture, counts
        if not capture.isOpened():
            capture.release()
            raise SourceError(f"{name} cannot be opened: it is not there, or somebody else reads it")

    def ask(self, wanted: Mapping[int, float], notes: list[str]) -> None:
        for prop, value in wanted.items():
            self._capture.set(prop, value)
        others = {prop: got for prop, value in wanted.items() if (got := self._capture.get(prop)) != value}
        named = {getattr(self._cv2, f"CAP_PROP_{what}"): what.lower().replace("_", " ") for what in PROPERTIES}
        for prop, got in others.items():
            note = f"{self._name}: {named[prop]} is {got:g}, {wanted[prop]:g} was asked for"
            if note not in notes:
                notes.append(note)

    def __iter__(self) -> Iterator[VideoFrame | None]:
        stamps = StampClock(self._counts)
        while True:
            found, bgr = self._capture.read()
            arrival_ns = monotonic_ns()
            if not found:
                raise SourceError(f"{self._name} gives no pictures any more")
            stamp_ns = round(self._capture.get(self._cv2.CAP_PROP_POS_MSEC) * 1e6)  # of this frame only after read()
            pixels = self._cv2.cvtColor(bgr, self._cv2.COLOR_BGR2RGB)
            yield VideoFrame(pixels=pixels, t_ns=stamps.to_monotonic(stamp_ns, arrival_ns))

    def close(self) -> None:
        self._capture.release()


def _number(device: int | str) -> int:
    """The number of a V4L2 device; links such as those in /dev/v4l/by-id are followed anew at every attempt."""
    text = str(device)
    if text.isdecimal():
        return int(text)
    name = Path(text).resolve().name
    if not Path(text).exists() or not name.removeprefix("video").isdecimal():
        raise SourceError(f"{text} is no camera; plug it in, or look: ls /dev/video* /dev/v4l/by-id")
    return int(name.removeprefix("video"))


def _open_v4l2(cv2: ModuleType, number: int) -> Capture:
    if not Path(f"/dev/video{number}").exists():
        raise SourceError(f"/dev/video{number} does not exist; plug the camera in, or look: ls /dev/video*")
    os.environ.setdefault(SELECT_TIMEOUT, "1")
    with quiet(cv2):
        opened: Capture = cv2.VideoCapture(number, cv2.CAP_V4L2)
    return opened


def _open_url(cv2: ModuleType, url: str) -> Capture:
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, READ_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS]
    with quiet(cv2):
        opened: Capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, timeouts)
    return opened
