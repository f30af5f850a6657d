"""Sound at another rate, through soxr, block by block."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from mmedge.errors import MissingLibraryError, SourceError, needs
from mmedge.types import NS, AudioChunk

__all__ = ["LiveResampler", "needs_resampler", "resample"]

HOLE_NS = 20_000_000

Samples = npt.NDArray[np.float32]


def needs_resampler(name: str, rate_hz: int, wanted_hz: int) -> None:
    """Make sure that `resample` will work, before anything is read.

    Raises:
        SourceError: soxr is not installed; the text gives both ways out.
    """
    try:
        needs("soxr", fix="pip install 'mmedge[resample]'")
    except MissingLibraryError as error:
        raise SourceError(
            f"{name} is {rate_hz} Hz, the model expects {wanted_hz} Hz; pip install 'mmedge[resample]' "
            f"or convert it: ffmpeg -i '{name}' -ar {wanted_hz} -ac 1 OUT.wav"
        ) from error


def resample(blocks: Iterable[Samples], rate_hz: int, wanted_hz: int) -> Iterator[Samples]:
    """Blocks of [N] float32 at another rate: the same numbers as resampling all of it at once.

    soxr's filter is linear-phase and its delay is already taken out: sample k of the output belongs to the time
    k / wanted_hz after the first sample of the input. Only its arrival is late, by the filter's look-ahead. The blocks
    given out are new.
    """
    soxr = needs("soxr", fix="pip install 'mmedge[resample]'")
    stream = soxr.ResampleStream(rate_hz, wanted_hz, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block))
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


class LiveResampler:
    """Chunks of a live sensor at another rate, each with the time at which its first sample was taken.

    What soxr's filter looks ahead comes later, not at another time. A hole between two chunks begins anew.

    Args:
        wanted_hz: The rate to give.
    """

    def __init__(self, wanted_hz: int) -> None:
        self._wanted_hz = wanted_hz
        self._taken = self._given = self._end_ns = 0
        self._stream: Any = None

    def push(self, chunk: AudioChunk) -> Iterator[AudioChunk]:
        """Take in a chunk; the one that can be given now, if any."""
        if self._stream is None or abs(chunk.t_ns - self._end_ns) > HOLE_NS:
            soxr = needs("soxr", fix="pip install 'mmedge[resample]'")
            self._stream = soxr.ResampleStream(chunk.rate_hz, self._wanted_hz, 1, dtype="float32", quality="HQ")
            self._taken = self._given = 0
        samples = self._stream.resample_chunk(np.ascontiguousarray(chunk.samples))
        ahead = self._given * chunk.rate_hz - self._taken * self._wanted_hz  # of the chunk, in both rates' samples
        t_ns = chunk.t_ns + ahead * NS // (chunk.rate_hz * self._wanted_hz)
        self._taken, self._given, self._end_ns = (
            self._taken + len(chunk.samples),
            self._given + len(samples),
            chunk.end_ns,
        )
        if len(samples):
            yield AudioChunk(samples=samples, t_ns=t_ns, rate_hz=self._wanted_hz)
