"""Every constant that turns raw sensor data into a model's input; plain data, stored in the manifest."""

from dataclasses import dataclass
from math import inf, isfinite, prod
from typing import Literal, get_args

from mmedge.errors import SpecError
from mmedge.features.checks import one_of, positive
from mmedge.features.conventions import mel_settings
from mmedge.features.mel import MelSettings

__all__ = [
    "AudioSettings",
    "CameraSettings",
    "MelSettings",
    "StateSettings",
    "TensorSettings",
    "TextSettings",
    "mel_settings",
]

Color = Literal["rgb", "bgr", "gray"]
Fit = Literal["stretch", "letterbox", "crop"]
Interpolation = Literal["linear", "area", "nearest", "cubic"]
Features = Literal["waveform", "log-mel", "mfcc"]
Place = Literal["host", "graph"]
Dtype = Literal["float32", "int64", "int32", "uint8", "int8", "bool"]  # floats are exported as float32

MAX_VALUES = 1 << 28  # in one tensor: what a damaged manifest can ask for, 1 GiB


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSettings:
    """How pictures become a tensor.

    A picture is converted to ``color``, brought to ``width_px`` x ``height_px``, mapped from 0..255 to 0..``scale``,
    and then ``(x - mean) / std`` per channel.

    Attributes:
        width_px: Width of the tensor.
        height_px: Height of the tensor.
        frames: Pictures in a window; 1 and a layout without T is a single picture.
        rate_hz: Pictures per second that the model was trained on; 0 takes every picture.
        color: Order of the channels.
        layout: Axes after the batch axis, out of T, C, H and W; gray may leave C out.
        fit: stretch ignores the aspect ratio, letterbox pads, crop cuts the centre.
        interpolation: OpenCV's resize kernel.
        pad_value: Grey level 0..255 around a letterboxed picture.
        scale: Upper end of the value range before mean and std.
        mean: One value, or one per channel.
        std: One value, or one per channel.

    Raises:
        SpecError: A value does not fit.
    """

    width_px: int
    height_px: int
    frames: int = 1
    rate_hz: float = 0.0
    color: Color = "rgb"
    layout: str = "CHW"
    fit: Fit = "stretch"
    interpolation: Interpolation = "linear"
    pad_value: int = 114
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        one_of("color", self.color, get_args(Color))
        one_of("fit", self.fit, get_args(Fit))
        one_of("interpolation", self.interpolation, get_args(Interpolation))
        needed = set("HW") | (set("T") if self.frames > 1 else set()) | (set("C") if self.channels > 1 else set())
        allowed = set("TCHW")
        axes = set(self.layout)
        if len(axes) != len(self.layout) or not needed <= axes <= allowed:
            raise SpecError(
                f"layout = {self.layout!r} does not fit {self.frames} frame(s) in {self.color}: "
                f"it needs each of {''.join(sorted(needed))} once, e.g. {'TCHW' if self.frames > 1 else 'CHW'!r}"
            )
        positive("size", self.width_px, self.height_px)
        positive("frames", self.frames)
        positive("scale", self.scale)
        if not 0 <= self.rate_hz < inf:
            raise SpecError(f"rate_hz = {self.rate_hz} is negative or not finite")
        if not 0 <= self.pad_value <= 255:
            raise SpecError(f"pad_value = {self.pad_value} is not a grey level in 0..255")
        _check_normalisation(self.mean, self.std, self.channels, "channel")
        _check_size(self.shape)

    @property
    def channels(self) -> int:
        """Channels of the tensor."""
        return 1 if self.color == "gray" else 3

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor without its batch axis."""
        sizes = {"T": self.frames, "C": self.channels, "H": self.height_px, "W": self.width_px}
        return tuple(sizes[axis] for axis in self.layout)


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioSettings:
    """How sound becomes a tensor.

    Attributes:
        rate_hz: Samples per second that the model was trained on.
        window_samples: Samples the tensor is made of.
        hop_samples: Samples from one window to the next; decisions on the audio clock come at this step.
        features: "waveform", "log-mel" or "mfcc".
        layout: Axes after the batch axis: N for a waveform; T (time) and M (mel bins or coefficients) for features; C
            adds an axis of length one.
        mel: Constants of the features; None for a waveform.
        mean: Subtracted from every value; one value, or one per mel bin.
        std: Then divides every value; one value, or one per mel bin.
        front_end: Who computes the features: the "host", or the "graph", whose tensor is then the samples themselves.

    Raises:
        SpecError: A value does not fit.
    """

    rate_hz: int
    window_samples: int
    hop_samples: int
    features: Features = "waveform"
    layout: str = "N"
    mel: MelSettings | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    front_end: Place = "host"

    def __post_init__(self) -> None:
        one_of("features", self.features, get_args(Features))
        one_of("front_end", self.front_end, get_args(Place))
        positive("rate_hz, window and hop", self.rate_hz, self.window_samples, self.hop_samples)
        needed = set("N") if self.features == "waveform" else set("TM")
        axes = set(self.layout)
        if len(axes) != len(self.layout) or not needed <= axes <= needed | {"C"}:
            raise SpecError(
                f"layout = {self.layout!r} does not fit {self.features}: it needs each of "
                f"{''.join(sorted(needed))} once, and may have C"
            )
        _check_normalisation(self.mean, self.std, self.mel.values if self.mel else 1, "value of a frame")
        self._check_mel()
        _check_size(self.shape)

    def _check_mel(self) -> None:
        mel = self.mel
        if (self.features == "waveform") != (mel is None):
            raise SpecError(f"features = {self.features!r} {'need' if mel is None else 'take no'} mel constants")
        if mel is None:
            if self.front_end == "graph":
                raise SpecError('front_end = "graph" is for log-mel and mfcc; a waveform goes to the graph as it is')
            return
        if (self.features == "mfcc") != (mel.coefficients > 0):
            raise SpecError(f"features = {self.features!r} does not fit coefficients = {mel.coefficients}")
        if mel.rate_hz != self.rate_hz:
            raise SpecError(f"mel constants for {mel.rate_hz} Hz do not fit sound of {self.rate_hz} Hz")
        if mel.frames_in(self.window_samples) < 1:
            raise SpecError(f"a window of {self.window_samples} samples is shorter than one frame of {mel.span}")
        if mel.center and mel.pad_mode == "reflect" and self.window_samples <= mel.padding:
            raise SpecError(f"a window of {self.window_samples} samples is too short to reflect {mel.padding} of them")

    @property
    def tensor_layout(self) -> str:
        """Axes of the tensor that the host makes: ``layout``, or N where the graph computes the features."""
        return "N" if self.front_end == "graph" else self.layout

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor that the host makes, without its batch axis."""
        sizes = {"N": self.window_samples, "C": 1}
        if self.mel is not None:
            sizes |= {"T": self.mel.frames_in(self.window_samples), "M": self.mel.values}
        return tuple(sizes[axis] for axis in self.tensor_layout)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSettings:
    """How a text becomes token ids, [length] int64.

    Attributes:
        tokenizer: A ``tokenizer.json`` of the tokenizers library, by its path in the bundle.
        length: Ids in the tensor. A longer text is cut at its end, the tokenizer's own special ids are kept.
        pad_id: What follows a shorter text.

    Raises:
        SpecError: A value does not fit.
    """

    tokenizer: str
    length: int
    pad_id: int = 0

    def __post_init__(self) -> None:
        positive("length", self.length)
        if self.pad_id < 0:
            raise SpecError(f"pad_id = {self.pad_id} is negative")
        _check_size(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor without its batch axis."""
        return (self.length,)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSettings:
    """A sensor whose values are the model's input as they come: lidar, IMU, touch.

    Attributes:
        shape: Without the batch axis.
        dtype: numpy's name.
        rate_hz: Tensors per second that the model was trained on; 0 takes every one.

    Raises:
        SpecError: A value does not fit.
    """

    shape: tuple[int, ...]
    dtype: Dtype = "float32"
    rate_hz: float = 0.0

    def __post_init__(self) -> None:
        one_of("dtype", self.dtype, get_args(Dtype))
        positive("shape", *self.shape)
        _check_size(self.shape)
        if not 0 <= self.rate_hz < inf:
            raise SpecError(f"rate_hz = {self.rate_hz} is negative or not finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSettings:
    """What a model hands to itself: zeros at first, then what it made at the tick before.

    Attributes:
        shape: Without the batch axis.
        source: The model's output that is fed back.
        dtype: numpy's name.

    Raises:
        SpecError: A value does not fit.
    """

    shape: tuple[int, ...]
    source: str
    dtype: Dtype = "float32"

    def __post_init__(self) -> None:
        one_of("dtype", self.dtype, get_args(Dtype))
        positive("shape", *self.shape)
        _check_size(self.shape)


def _check_normalisation(mean: tuple[float, ...], std: tuple[float, ...], values: int, each: str) -> None:
    for name, given in (("mean", mean), ("std", std)):
        if len(given) not in {1, values}:
            raise SpecError(f"{name} has {len(given)} values, expected 1 or {values}, one per {each}")
        if not all(map(isfinite, given)):
            raise SpecError(f"{name} = {given} is not finite")
    if 0 in std:
        raise SpecError("std = 0 would divide by zero")


def _check_size(shape: tuple[int, ...]) -> None:
    if prod(shape) > MAX_VALUES:
        raise SpecError(f"a tensor of {list(shape)} is larger than {MAX_VALUES} values")
