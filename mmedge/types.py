"""What flows through mmedge: timestamped sensor packets in, predictions out.

Times are integer nanoseconds on one time base per stream: media time for files, the monotonic clock for live sensors.
Ranges are half-open, ``[t_ns, end_ns)``.
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mmedge.errors import InputError

__all__ = [
    "FLOAT32",
    "NS",
    "Array",
    "AudioChunk",
    "Packet",
    "Prediction",
    "TensorReading",
    "TextMessage",
    "VideoFrame",
    "whole_number",
]

NS = 1_000_000_000
FURTHEST_NS = 1 << 63  # 292 years; a time that a recording can hold
FLOAT32 = np.dtype(np.float32)
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class VideoFrame:
    """One camera picture.

    Attributes:
        pixels: [H, W, 3] uint8, RGB. May be a view of a buffer that its source owns.
        t_ns: When the picture was taken.

    Raises:
        InputError: The pixels have another rank or dtype.
    """

    pixels: npt.NDArray[np.uint8]
    t_ns: int

    def __post_init__(self) -> None:
        if not isinstance(self.pixels, np.ndarray):
            raise InputError(f"a video frame is [H, W, 3] uint8 RGB in a numpy array, not {type(self.pixels).__name__}")
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype != np.uint8:
            raise InputError(f"a video frame is [H, W, 3] uint8 RGB, not {list(self.pixels.shape)} {self.pixels.dtype}")
        object.__setattr__(self, "t_ns", _whole_ns(self.t_ns))

    @property
    def available_ns(self) -> int:
        """When a decision can first use it."""
        return self.t_ns

    def __repr__(self) -> str:
        height, width, _ = self.pixels.shape
        return f"VideoFrame({width}x{height}, t_ns={self.t_ns})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class AudioChunk:
    """A run of consecutive samples of one channel.

    Attributes:
        samples: [N] float32 in -1..1. May be a view of a buffer that its source owns.
        t_ns: When the first sample was taken; sample n was taken at ``t_ns + n * 1e9 / rate_hz``.
        rate_hz: Samples per second.

    Raises:
        InputError: The samples have another rank or dtype.
    """

    samples: npt.NDArray[np.float32]
    t_ns: int
    rate_hz: int

    def __post_init__(self) -> None:
        if not isinstance(self.samples, np.ndarray):
            raise InputError(f"an audio chunk is [N] float32 in a numpy array, not {type(self.samples).__name__}")
        if self.samples.ndim != 1 or self.samples.dtype != FLOAT32:
            raise InputError(f"an audio chunk is [N] float32, not {list(self.samples.shape)} {self.samples.dtype}")
        if type(self.rate_hz) is not int or self.rate_hz < 1:
            object.__setattr__(self, "rate_hz", whole_number(self.rate_hz, "rate_hz of an audio chunk", 1))
        if type(self.t_ns) is not int or not -FURTHEST_NS <= self.t_ns < FURTHEST_NS:
            object.__setattr__(self, "t_ns", _whole_ns(self.t_ns))

    @property
    def end_ns(self) -> int:
        """When the sample after the last one is taken."""
        return self.t_ns + len(self.samples) * NS // self.rate_hz

    available_ns = end_ns  # when a decision can first use all of it

    def __repr__(self) -> str:
        return f"AudioChunk({len(self.samples)} samples, {self.rate_hz} Hz, t_ns={self.t_ns})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class TensorReading:
    """What a sensor other than camera and microphone gave at one time: a lidar scan, a row of touch values.

    Attributes:
        values: Of the port's shape and dtype. May be a view of a buffer that its source owns.
        t_ns: When it was taken.
    """

    values: Array
    t_ns: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "t_ns", _whole_ns(self.t_ns))

    @property
    def available_ns(self) -> int:
        """When a decision can first use it."""
        return self.t_ns

    def __repr__(self) -> str:
        return f"TensorReading({list(self.values.shape)} {self.values.dtype}, t_ns={self.t_ns})"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMessage:
    """A text that holds until the next one.

    Attributes:
        text: What was said.
        t_ns: When.
    """

    text: str
    t_ns: int

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise InputError(f"a text is a string, not {type(self.text).__name__}")
        object.__setattr__(self, "t_ns", _whole_ns(self.t_ns))

    @property
    def available_ns(self) -> int:
        """When a decision can first use it."""
        return self.t_ns


def whole_number(value: object, what: str, least: int) -> int:
    """A whole number as a Python integer, which numpy's overflow rules do not reach.

    Args:
        value: What was given for it; a bool is none.
        what: It is, for the message.
        least: It may be.

    Raises:
        InputError: It is no whole number, or less.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise InputError(f"{what} is {value!r}; expected a whole number from {least} on")
    return number


def _whole_ns(t_ns: object) -> int:
    """A time as a Python integer."""
    try:
        number = operator.index(t_ns)  # type: ignore[arg-type]
    except TypeError as error:
        raise InputError(f"t_ns is {t_ns!r}; expected whole nanoseconds") from error
    if isinstance(t_ns, bool) or not -FURTHEST_NS <= number < FURTHEST_NS:
        raise InputError(f"t_ns is {t_ns!r}; expected whole nanoseconds, less than 2**63")
    return number


Packet = VideoFrame | AudioChunk | TensorReading | TextMessage


class Prediction(NamedTuple):
    """One decision of the model; a tuple, as that is made in half the time of a frozen dataclass.

    Attributes:
        t_ns: The tick it was made for.
        outputs: The model's outputs by name, without a batch axis and after their activation; the caller owns them.
        labels: The winning label of every classification output, the labels above 0.5 of every multi-label output.
        age_ms: For each port but states, how far its newest data lay behind the tick; negative where it is newer,
            infinite where the decision is not made of its data.
        fresh: For each port but states, whether its data is newer than at the previous prediction.
        latency_ns: Wall time from the push of the packet that completed the tick to this prediction; where a timer
            makes the ticks, from the time of the tick.
        degraded: What is wrong with what it was made of, one reason each, beginning with the port; empty if nothing is.
        attribution: How much each port contributed, by output and port, see :class:`mmedge.attribution.Attribution`;
            None where it was not asked for.
        model: Which model made it, all of it: ``model.id``; "" where that has none.
        gates: How much of each port a head with gates let through, after the weights; None where it has none.
        weights: The weights in force, by port; None where every one is 1, or there is no answer.
    """

    t_ns: int
    outputs: Mapping[str, npt.NDArray[np.float32]]
    labels: Mapping[str, str | tuple[str, ...]]
    age_ms: Mapping[str, float]
    fresh: Mapping[str, bool]
    latency_ns: int
    degraded: tuple[str, ...] = ()
    attribution: Mapping[str, Mapping[str, float]] | None = None
    model: str = ""
    gates: Mapping[str, float] | None = None
    weights: Mapping[str, float] | None = None

    @property
    def abstained(self) -> bool:
        """Whether a policy chose to give no answer: there are no outputs then, and ``degraded`` says why."""
        return not self.outputs
