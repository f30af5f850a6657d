"""Pictures from a video file, through OpenCV, at the times that the file gives them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from mmedge.errors import ShortSourceError, SourceError, needs
from mmedge.sources.files import checked_file, is_mp4, missing_bytes, why_unreadable
from mmedge.sources.recording import Recording
from mmedge.types import NS, VideoFrame

__all__ = ["VideoFile", "open_video", "quiet"]

_SHORT_NS = NS // 4  # an end this much before the declared one is worth a word
_STILL_RATE_HZ = 240  # no camera is faster; FFmpeg gives a single picture the rate of its time base, 90 kHz
_MANY_SKIPPED = 10
_FFMPEG_LOG = "OPENCV_FFMPEG_LOGLEVEL"
_MAX_FRAMES = 10**9  # FRAME_COUNT is an enormous negative number where the duration is unknown


def open_video(path: Path | str, *, start_ns: int = 0) -> "VideoFile":
    """Open a video file for one pass over its frames.

    The first video stream is read. Its first frame is stamped ``start_ns``, every other frame keeps its distance to the
    first one, so a variable frame rate stays what it was. A rotation stored by the camera is applied.

    Args:
        path: The file; anything that FFmpeg demuxes.
        start_ns: When the stream starts on the time base that it shares with the sound.

    Raises:
        MissingLibraryError: OpenCV is not installed.
        SourceError: The file is missing, empty, not a video, or holds no frame.
    """
    path = checked_file(path)
    cv2 = needs("cv2", fix="pip install 'mmedge[cpu]'")
    if cv2.CAP_FFMPEG not in cv2.videoio_registry.getBackends():
        raise SourceError(f"{path} cannot be read: this OpenCV has no FFmpeg; pip install opencv-python-headless")
    with quiet(cv2):
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            why = why_unreadable(path, "not a video, without pictures, or damaged")
            raise SourceError(f"{path} cannot be opened as a video: {why}")
        try:
            return VideoFile(path, cv2, capture, start_ns)
        except SourceError:
            capture.release()
            raise


class VideoFile(Recording[VideoFrame]):
    """The frames of one video file, made by `open_video`: an iterator and a context manager, for one thread.

    Every frame owns its pixels; they stay valid after the next frame and after close().

    Attributes:
        name: The file's name, for messages.
        width_px: Width of the pictures as they are handed out, after rotation.
        height_px: Height of the pictures as they are handed out.
        rate_hz: Nominal frames per second, 0 where unknown; the frames' own times are what counts.
        duration_ns: What the file declares, None where it does not.
        notes: Facts worth reporting, one line each; grows while frames are read.

    Raises:
        ClosedError: Iterated after close().
        ShortSourceError: After the last frame of a file that was cut off.
        SourceError: The frames' times do not advance.
    """

    def __init__(self, path: Path, cv2: ModuleType, capture: Any, start_ns: int) -> None:
        super().__init__(path.name, capture.release)
        rate_hz, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.rate_hz = max(0.0, float(rate_hz))
        self._declared = round(count) if 0 < count < _MAX_FRAMES else None
        self.duration_ns = round(count * NS / rate_hz) if self._declared and rate_hz > 0 else None
        self._cv2, self._capture, self._start_ns = cv2, capture, start_ns
        self._missing_bytes, self._counts_frames = missing_bytes(path), is_mp4(path)
        self._decoded = self._skipped = self._step_ns = 0
        self._last_ns: int | None = None
        frames = self._decode()
        first = self._first_frames(frames, path)
        self._packets = self._to_end(first, frames)
        self.height_px, self.width_px = first[0].pixels.shape[:2]
        if degrees := int(capture.get(cv2.CAP_PROP_ORIENTATION_META)):
            self.notes.append(f"{self.name}: turned by {degrees} degrees, as the file asks")

    def _first_frames(self, frames: Iterator[VideoFrame], path: Path) -> list[VideoFrame]:
        still = self.rate_hz > _STILL_RATE_HZ
        first = list(islice(frames, 2 if still else 1))
        if not first:
            raise SourceError(f"{path} holds no frame that can be decoded: {why_unreadable(path, 'empty or damaged')}")
        if still and len(first) == 1:
            raise SourceError(f"{path} holds a single picture (cover art?), not a video; give a recording of a camera")
        return first

    def _decode(self) -> Iterator[VideoFrame]:
        while True:
            found, bgr = self._capture.read()
            if not found:
                return
            self._decoded += 1
            # Only after read() does POS_MSEC belong to this frame. OpenCV counts it from the stream's first timestamp.
            t_ns = self._start_ns + round(self._capture.get(self._cv2.CAP_PROP_POS_MSEC) * 1e6)
            if self._last_ns is not None and t_ns <= self._last_ns:
                self._skip(t_ns)
                continue
            self._step_ns = 0 if self._last_ns is None else t_ns - self._last_ns
            self._last_ns = t_ns
            yield VideoFrame(pixels=self._cv2.cvtColor(bgr, self._cv2.COLOR_BGR2RGB), t_ns=t_ns)

    def _skip(self, t_ns: int) -> None:
        self._skipped += 1
        if self._skipped > max(_MANY_SKIPPED, self._decoded // 2):
            raise SourceError(
                f"{self.name}: the frames' times do not advance (frame {self._decoded} is stamped {t_ns / NS:.3f} s); "
                f"give it timestamps: ffmpeg -framerate 25 -i '{self.name}' -c copy OUT.mp4"
            )

    def _to_end(self, first: list[VideoFrame], frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
        while first:
            yield first.pop(0)
        yield from frames
        self._report_end()

    def _report_end(self) -> None:
        if self._skipped:
            self.notes.append(f"{self.name}: skipped {self._skipped} frames whose times do not advance")
        end_ns = (self._last_ns or 0) + self._step_ns
        declared = "" if self.duration_ns is None else f" of {self.duration_ns / NS:.2f} s"
        fewer = self._declared is None or self._decoded < self._declared
        if self._missing_bytes and fewer:
            raise ShortSourceError(
                f"{self.name} is cut off: {self._missing_bytes} bytes are missing and it ends at {end_ns / NS:.2f} s"
                f"{declared}; copy it again; pass --allow-short to stop there"
            )
        if self._counts_frames and fewer:
            self.notes.append(
                f"{self.name}: {self._decoded} of {self._declared} declared frames could be read; "
                "an edit list hides the others, or they are damaged"
            )
        elif self.duration_ns is not None and self.duration_ns - end_ns > _SHORT_NS:
            self.notes.append(
                f"{self.name}: the pictures end at {end_ns / NS:.2f} s{declared}; "
                "the sound track is longer, or the file is damaged"
            )


@contextmanager
def quiet(cv2: ModuleType) -> Iterator[None]:
    """Keep the libraries' chatter off the terminal: what matters of it becomes an error or a note.

    FFmpeg's level is read once per process, when OpenCV opens its first file; one that the user has set is left alone.
    """
    logging = cv2.utils.logging
    level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    ours = _FFMPEG_LOG not in os.environ
    if ours:
        os.environ[_FFMPEG_LOG] = "-8"
    try:
        yield
    finally:
        logging.setLogLevel(level)
        if ours:
            del os.environ[_FFMPEG_LOG]
