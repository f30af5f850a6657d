"""From decoded sound to the chunks that flow: one channel, floats, equal lengths, times from counting samples."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from mmedge.errors import InputError
from mmedge.types import NS, AudioChunk

__all__ = ["chunk_length", "to_chunks", "to_mono"]

Samples = npt.NDArray[np.float32]


def chunk_length(rate_hz: int, chunk_ms: int) -> int:
    """How many samples a chunk has, at least one.

    Raises:
        InputError: The chunk would have no positive length.
    """
    if chunk_ms <= 0:
        raise InputError(f"chunk_ms is {chunk_ms}; expected a positive number, e.g. 20")
    return max(1, rate_hz * chunk_ms // 1000)


def to_mono(samples: npt.NDArray[np.generic]) -> Samples:
    """The mean over the channels of [N, C] integer or float samples, as [N] float32 in -1..1.

    Unsigned bytes are centred on 128, integers divided by their full scale, floats left as they are. May be a view.
    """
    kind = samples.dtype
    channels: Samples = samples.astype(np.float32, copy=False)
    if kind == np.uint8:
        channels = (channels - np.float32(128)) / np.float32(128)
    elif kind.kind == "i":
        channels = channels * np.float32(2.0 ** (1 - 8 * kind.itemsize))
    if channels.shape[1] == 1:
        return channels[:, 0]
    mono: Samples = channels.mean(axis=1, dtype=np.float32)
    return mono


def to_chunks(blocks: Iterable[Samples], rate_hz: int, start_ns: int, length: int) -> Iterator[AudioChunk]:
    """Cut consecutive blocks of any size into chunks of ``length`` samples; the last one may be shorter.

    The chunks may be views of the blocks.
    """
    count, rest = 0, np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block]) if len(rest) else block
        while len(rest) >= length:
            yield AudioChunk(samples=rest[:length], t_ns=start_ns + count * NS // rate_hz, rate_hz=rate_hz)
            count, rest = count + length, rest[length:]
    if len(rest):
        yield AudioChunk(samples=rest, t_ns=start_ns + count * NS // rate_hz, rate_hz=rate_hz)
