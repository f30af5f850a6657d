"""What calibration found out: the range of every tensor, and what embeddings look like when all is well."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from mmedge.errors import BundleError
from mmedge.golden import UNREADABLE
from mmedge.records import from_plain, to_plain
from mmedge.types import Array

__all__ = [
    "CALIBRATION",
    "MOMENTS",
    "Calibration",
    "EmbeddingStatistics",
    "Method",
    "Moments",
    "TensorRange",
    "read_calibration",
    "read_moments",
]

CALIBRATION = "calibration.json"
MOMENTS = "calibration.npz"
SCHEMA = 1
MAX_BYTES = 64 << 20
Method = Literal["minmax", "entropy", "percentile", "mse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRange:
    """Values of one activation over all calibration windows.

    Attributes:
        low: Smallest value.
        high: Largest value.
        entropy: Magnitude at which to clip, so that the histogram loses least information.
        percentile: Magnitude that all but a few values stay below.
        mse: Magnitude at which the mean squared error of 8-bit values is smallest.
    """

    low: float
    high: float
    entropy: float
    percentile: float
    mse: float

    def clipped(self, method: Method) -> tuple[float, float]:
        """The range that a method chooses; it holds zero."""
        limit = {"entropy": self.entropy, "percentile": self.percentile, "mse": self.mse}.get(method, float("inf"))
        return min(0.0, max(self.low, -limit)), max(0.0, min(self.high, limit))


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingStatistics:
    """What one tensor between stages looks like on calibration data; its mean and spread by element are in the .npz.

    The distance of a value x is the root mean square of (x - mean) / std over its elements: about 1 for what was seen.

    Attributes:
        ports: The sensors that it depends on.
        distances: Quantiles of the distance over the calibration windows, by their order ("0.5", "0.99", "1").
        magnitude: Root mean square of its elements.
    """

    ports: tuple[str, ...]
    distances: dict[str, float]
    magnitude: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Everything that a quantized variant is made from, besides the fp32 graphs.

    Attributes:
        schema: Version of this structure.
        model_sha256: Of the fp32 graphs.
        data_sha256: Of the windows that the stages were given.
        real: Whether it was real sensor data.
        windows: How many windows.
        sources: How many windows came from each file.
        ranges: By stage and tensor.
        embeddings: By tensor.
        moments_sha256: Of the .npz with mean and spread of each embedding.
    """

    schema: int
    model_sha256: str
    data_sha256: str
    real: bool
    windows: int
    sources: dict[str, int]
    ranges: dict[str, dict[str, TensorRange]]
    embeddings: dict[str, EmbeddingStatistics]
    moments_sha256: str

    def to_json(self) -> str:
        """The text of ``calibration.json``."""
        return json.dumps(to_plain(self), indent=1, sort_keys=True) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moments:
    """Mean and spread of one embedding.

    Attributes:
        mean: Of each element, in the embedding's shape with a batch axis of 1; float32.
        std: Likewise; never zero.
    """

    mean: Array
    std: Array

    def distance(self, value: Array) -> float:
        """How far an embedding is from what was seen: the root mean square of its standardised elements."""
        return float(np.sqrt(np.mean(np.square((value - self.mean) / self.std), dtype=np.float64)))


def read_calibration(content: bytes, where: str) -> Calibration:
    """Read the bytes of a ``calibration.json``.

    Args:
        content: The document; hostile until it was checked.
        where: The file's name, for messages.

    Raises:
        BundleError: It is no calibration, or of a newer mmedge.
    """
    try:
        document = json.loads(content)
        calibration = from_plain(Calibration, document)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: {' '.join(str(error).split())[:200]}; calibrate again") from error
    if calibration.schema > SCHEMA:
        raise BundleError(
            f"{where} has schema {calibration.schema}, this mmedge reads up to {SCHEMA}; "
            "try: pip install --upgrade mmedge"
        )
    _check_ranges(calibration.ranges, where)
    return calibration


def read_moments(content: bytes, shapes: Mapping[str, tuple[int, ...]], where: str) -> dict[str, Moments]:
    """Read the bytes of the .npz beside it.

    Args:
        content: ``mean/TENSOR`` and ``std/TENSOR`` for each embedding.
        shapes: Shape of each embedding that is wanted, batch axis included.
        where: The file's name, for messages.

    Raises:
        BundleError: It cannot be read, or does not fit.
    """
    if len(content) > MAX_BYTES:
        raise BundleError(f"{where} has {len(content) >> 20} MiB, more than {MAX_BYTES >> 20}; calibrate again")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: _moments(arrays, name, shape) for name, shape in shapes.items()}
    except (*UNREADABLE, KeyError) as error:
        raise BundleError(f"{where}: {' '.join(str(error).split())[:200]}; calibrate again") from error


def _moments(arrays: Mapping[str, Array], name: str, shape: tuple[int, ...]) -> Moments:
    mean, std = arrays[f"mean/{name}"], arrays[f"std/{name}"]
    if mean.shape != shape or std.shape != shape:
        raise ValueError(f"{name} is {list(mean.shape)} and {list(std.shape)}, expected {list(shape)}")
    floats = mean.dtype == np.float32 and std.dtype == np.float32
    if not floats or not np.isfinite(mean).all() or not np.isfinite(std).all() or not bool(np.all(std > 0)):
        raise ValueError(f"{name} has no float32 mean and spread")
    return Moments(mean=mean, std=std)


def _check_ranges(ranges: Mapping[str, Mapping[str, TensorRange]], where: str) -> None:
    for stage, tensors in ranges.items():
        for name, given in tensors.items():
            values = np.array([given.low, given.high, *(getattr(given, m) for m in get_args(Method) if m != "minmax")])
            if not np.isfinite(values).all() or given.low > given.high or (values[2:] < 0).any():
                raise BundleError(f"{where}: the range of {name} in stage {stage} is no range; calibrate again")
