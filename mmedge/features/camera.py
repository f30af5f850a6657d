"""Pictures become a model's input: one at a time, a whole window, or a stream."""

from typing import Any

import numpy as np
import numpy.typing as npt

from mmedge.errors import InputError, needs
from mmedge.features.geometry import placement
from mmedge.features.settings import CameraSettings

__all__ = ["CameraFrontEnd"]

Pixels = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float32]


class CameraFrontEnd:
    """The front end of one port.

    A picture is made gray if the model wants that, resized, padded or cut, and normalised: every picture once, also
    where windows overlap. OpenCV is needed as soon as a picture has another size or is made gray. Not thread-safe.
    """

    def __init__(self, settings: CameraSettings) -> None:
        self.settings = settings
        std = np.broadcast_to(np.array(settings.std), settings.channels)
        mean = np.broadcast_to(np.array(settings.mean), settings.channels)
        self._gain = (settings.scale / (255 * std)).astype(np.float32)
        self._offset = (-mean / std).astype(np.float32)
        self._frame_layout = settings.layout.replace("T", "")
        sizes = dict(zip(settings.layout, settings.shape, strict=True))
        self._frame_shape = tuple(sizes[axis] for axis in self._frame_layout)
        self._scratch: _Scratch | None = None
        self.reset()

    def reset(self) -> None:
        """Forget all pictures of the stream."""
        self._ring: Array | None = None
        self._seen = 0

    @property
    def ready(self) -> bool:
        """A whole window has been pushed."""
        return self._seen >= self.settings.frames

    def write(self, pixels: Pixels, out: Array) -> None:
        """Write one picture as the model wants it.

        Args:
            pixels: [H, W, 3] uint8 RGB of any size, strided or not; not changed.
            out: float32 in the port's layout without T, strided or not; stays the caller's.

        Raises:
            InputError: An array does not fit.
            MissingLibraryError: OpenCV is needed and not installed.
        """
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
            raise InputError(f"a picture is [H, W, 3] uint8 RGB, not {list(pixels.shape)} {pixels.dtype}")
        if out.shape != self._frame_shape or out.dtype != np.float32:
            raise InputError(f"the tensor is {list(self._frame_shape)} float32, not {list(out.shape)} {out.dtype}")
        settings = self.settings
        if self._scratch is None or self._scratch.source != pixels.shape:
            self._scratch = _Scratch(pixels.shape, settings)
        pixels = self._scratch.fit(pixels)
        planes = out.transpose([self._frame_layout.index(axis) for axis in "CHW" if axis in self._frame_layout])
        if settings.color == "bgr":
            pixels = pixels[:, :, ::-1]
        for channel in range(settings.channels):
            plane = planes[channel] if "C" in self._frame_layout else planes
            np.multiply(pixels[:, :, channel], self._gain[channel], out=plane, dtype=np.float32)
            if self._offset[channel]:
                plane += self._offset[channel]

    def window(self, pixels: Pixels) -> Array:
        """The tensor of one whole window.

        Args:
            pixels: [T, H, W, 3] uint8 RGB; a single picture may leave T out.

        Returns:
            float32 of ``settings.shape``, owned by the caller.

        Raises:
            InputError: The pixels do not fit.
        """
        pictures = pixels if pixels.ndim == 4 else pixels[None]
        if len(pictures) != self.settings.frames:
            raise InputError(f"a window has {self.settings.frames} picture(s), not {len(pictures)}")
        out = np.empty(self.settings.shape, np.float32)
        for picture, slot in zip(pictures, self._slots(out), strict=True):
            self.write(picture, slot)
        return out

    def push(self, pixels: Pixels) -> None:
        """Take in the next picture of a stream; it is preprocessed here and not kept.

        Args:
            pixels: As in :meth:`write`.

        Raises:
            InputError: The pixels do not fit.
        """
        if self._ring is None:
            self._ring = np.empty((self.settings.frames, *self._frame_shape), np.float32)
        self.write(pixels, self._ring[self._seen % self.settings.frames])
        self._seen += 1

    def write_window(self, out: Array) -> None:
        """Write the tensor of the newest pictures, the oldest one first.

        Args:
            out: float32 of ``settings.shape``, strided or not; stays the caller's.

        Raises:
            InputError: No window is complete yet, or the array does not fit.
        """
        if self._ring is None or not self.ready:
            raise InputError(f"{self._seen} pictures are less than a window of {self.settings.frames}")
        if out.shape != self.settings.shape or out.dtype != np.float32:
            raise InputError(f"the tensor is {list(self.settings.shape)} float32, not {list(out.shape)} {out.dtype}")
        slots, oldest = self._slots(out), self._seen % self.settings.frames
        slots[: len(slots) - oldest] = self._ring[oldest:]
        slots[len(slots) - oldest :] = self._ring[:oldest]

    def _slots(self, out: Array) -> Array:
        axis = self.settings.layout.find("T")
        return out[None] if axis < 0 else np.moveaxis(out, axis, 0)


class _Scratch:
    """Buffers for pictures of one size, kept from picture to picture: large arrays are slow to get from the system.

    Attributes:
        source: Shape of the pictures.
    """

    def __init__(self, source: tuple[int, ...], settings: CameraSettings) -> None:
        self.source = source
        self._settings = settings
        height, width, _ = source
        place = placement(settings.fit, (width, height), (settings.width_px, settings.height_px))
        channels = settings.channels
        self._gray = np.empty((height, width, 1), np.uint8) if settings.color == "gray" else None
        self._resizes = (width, height) != (place.width, place.height)
        self._top, self._left = max(0, -place.top), max(0, -place.left)  # cut off
        self._canvas: Pixels | None = None
        self._inner: Pixels = np.empty((0, 0, channels), np.uint8)
        if settings.fit == "crop":
            self._inner = np.empty((place.height, place.width, channels), np.uint8)
        elif self._resizes or (place.width, place.height) != (settings.width_px, settings.height_px):
            shape = (settings.height_px, settings.width_px, channels)
            self._canvas = np.full(shape, settings.pad_value, np.uint8)
            self._inner = self._canvas[place.top :, place.left :][: place.height, : place.width]

    def fit(self, pixels: Pixels) -> Pixels:
        """[H, W, 3] to [H, W, C] of the tensor's size: the pixels themselves, or a view that the next call changes."""
        settings = self._settings
        if self._gray is not None:
            _opencv().cvtColor(pixels, _opencv().COLOR_RGB2GRAY, dst=self._gray)
            pixels = self._gray
        if self._resizes:
            kernel = getattr(_opencv(), f"INTER_{settings.interpolation.upper()}")
            height, width, _ = self._inner.shape
            made = _opencv().resize(pixels, (width, height), dst=self._inner, interpolation=kernel)
            if not np.may_share_memory(made, self._inner):  # OpenCV does not take every view
                self._inner[...] = made.reshape(self._inner.shape)  # and drops the axis of a single channel
            pixels = self._inner
        elif self._canvas is not None:
            self._inner[...] = pixels
        if self._canvas is not None:
            return self._canvas
        return pixels[self._top :, self._left :][: settings.height_px, : settings.width_px]


def _opencv() -> Any:
    return needs("cv2", fix="pip install 'mmedge[cpu]'")
