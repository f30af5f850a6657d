"""Sound from a WAV file: read from disk as it is needed, one channel, times counted in samples.

The reader is our own because `wave` refuses floats, and before Python 3.12 what every 24-bit recorder writes
(WAVE_FORMAT_EXTENSIBLE).

Source: Microsoft, "Multiple channel audio data and WAVE files"; EBU Tech 3306 (RF64).
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from mmedge.errors import ShortSourceError, SourceError
from mmedge.sources.chunks import Samples, chunk_length, to_chunks, to_mono
from mmedge.sources.files import checked_file
from mmedge.sources.recording import Recording
from mmedge.sources.resample import needs_resampler, resample
from mmedge.types import NS, AudioChunk

__all__ = ["WavFile", "open_wav"]

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_CODECS = {2: "ADPCM", 6: "A-law", 7: "mu-law", 0x11: "ADPCM", 0x50: "MPEG", 0x55: "MP3", 0xFF: "AAC"}
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
_DTYPES = {
    (_PCM, 8): "u1",
    (_PCM, 16): "<i2",
    (_PCM, 24): "u1",
    (_PCM, 32): "<i4",
    (_FLOAT, 32): "<f4",
    (_FLOAT, 64): "<f8",
}
_UNKNOWN_BYTES = 0x7FFF0000  # recorders that cannot seek back, or were killed, leave 0, 2 GiB or 4 GiB behind
_MAX_CHUNKS, _MAX_CHANNELS, _MAX_RATE_HZ = 1000, 64, 1_000_000


def open_wav(path: Path | str, rate_hz: int | None = None, chunk_ms: int = 20) -> "WavFile":
    """Open a WAV file for one pass over its sound.

    Args:
        path: PCM of 8, 16, 24 or 32 bits or float of 32 or 64, any number of channels.
        rate_hz: The rate wanted; another one in the file is resampled. None keeps the file's.
        chunk_ms: Length of a chunk.

    Raises:
        InputError: ``chunk_ms`` is not positive.
        SourceError: The file is missing, empty, not such a WAV file, or has another rate and soxr is not installed.
    """
    path = checked_file(path)
    file = path.open("rb")
    try:
        layout = _read_header(file, path)
        return WavFile(path, file, layout, rate_hz or layout.rate_hz, chunk_ms)
    except BaseException:
        file.close()
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where the samples lie and what they are; ``samples`` counts those that the file really holds, per channel."""

    dtype: str
    bits: int
    channels: int
    rate_hz: int
    offset: int
    samples: int
    declared: int | None

    @property
    def frame_bytes(self) -> int:
        return self.channels * self.bits // 8


class WavFile(Recording[AudioChunk]):
    """The sound of one WAV file, made by `open_wav`: an iterator of chunks and a context manager, for one thread.

    A chunk stays valid after the next one and after close(); its samples may be read-only.

    Attributes:
        name: The file's name, for messages.
        rate_hz: Samples per second of the chunks.
        duration_ns: How much sound the file holds.
        notes: Facts worth reporting, one line each.

    Raises:
        ClosedError: Iterated after close().
        ShortSourceError: After the last chunk of a file that holds less than its header declares.
    """

    def __init__(self, path: Path, file: BinaryIO, layout: _Layout, rate_hz: int, chunk_ms: int) -> None:
        super().__init__(path.name, file.close)
        self.rate_hz = rate_hz
        self.duration_ns = layout.samples * NS // layout.rate_hz
        blocks = _read_blocks(file, layout, chunk_length(layout.rate_hz, chunk_ms))
        if layout.channels > 1:
            self.notes.append(f"{self.name}: {layout.channels} channels averaged to one")
        if rate_hz != layout.rate_hz:
            needs_resampler(self.name, layout.rate_hz, rate_hz)
            blocks = resample(blocks, layout.rate_hz, rate_hz)
            self.notes.append(f"{self.name}: resampled from {layout.rate_hz} to {rate_hz} Hz")
        if layout.declared is None:
            self.notes.append(f"{self.name}: the header does not say how long it is; read to the end of the file")
        self._packets = self._to_end(to_chunks(blocks, rate_hz, 0, chunk_length(rate_hz, chunk_ms)), layout)

    def _to_end(self, chunks: Iterator[AudioChunk], layout: _Layout) -> Iterator[AudioChunk]:
        yield from chunks
        if layout.declared is not None and layout.declared > layout.samples:
            raise ShortSourceError(
                f"{self.name} is cut off: it ends at {self.duration_ns / NS:.2f} s of "
                f"{layout.declared / layout.rate_hz:.2f} s; copy it again; pass --allow-short to stop there"
            )


def _read_blocks(file: BinaryIO, layout: _Layout, length: int) -> Iterator[Samples]:
    file.seek(layout.offset)
    for start in range(0, layout.samples, length):
        data = file.read(min(length, layout.samples - start) * layout.frame_bytes)
        yield to_mono(_to_array(data, layout))


def _to_array(data: bytes, layout: _Layout) -> npt.NDArray[np.generic]:
    """[N, C] in the file's own numbers; 24 bits become 32."""
    samples = np.frombuffer(data, layout.dtype)
    if layout.bits == 24:
        wide = np.zeros((len(samples) // 3, 4), np.uint8)
        wide[:, 1:] = samples.reshape(-1, 3)
        return wide.view("<i4").reshape(-1, layout.channels)
    return samples.reshape(-1, layout.channels)


def _read_header(file: BinaryIO, path: Path) -> _Layout:
    size = path.stat().st_size
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        raise SourceError(
            f"{path} is not a WAV file (it starts with {head[:4]!r}); convert it: ffmpeg -i '{path}' OUT.wav"
        )
    form, long_size = b"", 0
    for _ in range(_MAX_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            break
        kind, length = header[:4], int.from_bytes(header[4:], "little")
        if kind == b"data":
            declared = long_size if length == 0xFFFFFFFF else length
            return _to_layout(form, path, offset=file.tell(), declared=declared, size=size)
        body = file.read(min(length, 40)) if kind in (b"fmt ", b"ds64") else b""
        if kind == b"fmt ":
            form = body
        elif kind == b"ds64" and len(body) >= 16:
            long_size = int.from_bytes(body[8:16], "little")
        file.seek(length - len(body) + length % 2, os.SEEK_CUR)
    raise SourceError(f"{path} has no sound in it (no data chunk); record or copy it again")


def _to_layout(form: bytes, path: Path, *, offset: int, declared: int, size: int) -> _Layout:
    if len(form) < 16:
        raise SourceError(f"{path} does not say how its samples are stored (no fmt chunk); record or copy it again")
    tag, channels, rate_hz, _, frame_bytes, bits = struct.unpack("<HHIIHH", form[:16])
    if tag == _EXTENSIBLE and form[26:40] == _GUID_TAIL:
        tag = int.from_bytes(form[24:26], "little")
    dtype = _DTYPES.get((tag, bits))
    if dtype is None:
        raise SourceError(
            f"{path} holds {bits}-bit {_CODECS.get(tag, f'format {tag:#x}')}; expected PCM of 8 to 32 bits or float; "
            f"convert it: ffmpeg -i '{path}' -c:a pcm_s16le OUT.wav"
        )
    sane = 0 < channels <= _MAX_CHANNELS and 0 < rate_hz <= _MAX_RATE_HZ and frame_bytes == channels * bits // 8
    if not sane:
        raise SourceError(
            f"{path} has a damaged header: {channels} channels of {bits} bits in {frame_bytes} bytes, {rate_hz} Hz; "
            "record or copy it again"
        )
    held = (size - offset) // frame_bytes
    if held == 0:
        raise SourceError(f"{path} has no sound in it (0 samples); record or copy it again")
    unknown = declared == 0 or declared > max(_UNKNOWN_BYTES, size)
    return _Layout(
        dtype=dtype,
        bits=bits,
        channels=channels,
        rate_hz=rate_hz,
        offset=offset,
        samples=held if unknown else min(declared // frame_bytes, held),
        declared=None if unknown else declared // frame_bytes,
    )
