"""The sound track of a video file, through PyAV, on the file's own media time.

Pictures of the same file come from `open_video`: both read FFmpeg's timestamps, but OpenCV counts from the first one of
its stream, which travels in `MediaAudio.video_start_ns`. Two readers, each at its own place in the file, need no queue
between the streams, however the file interleaves them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from mmedge.errors import ShortSourceError, SourceError, needs
from mmedge.sources.chunks import Samples, chunk_length, to_chunks, to_mono
from mmedge.sources.files import checked_file, missing_bytes, why_unreadable
from mmedge.sources.recording import Recording
from mmedge.sources.resample import needs_resampler, resample
from mmedge.types import NS, AudioChunk

__all__ = ["MediaAudio", "open_media_audio"]

# Timestamps that live recorders write jitter by some milliseconds; a lost packet is longer. 40 ms is where GStreamer's
# audio encoders and sinks draw the line (property "alignment-threshold" / "tolerance").
_JITTER_NS = 40_000_000


def open_media_audio(path: Path | str, rate_hz: int | None = None, chunk_ms: int = 20) -> "MediaAudio":
    """Open the first sound track of a media file for one pass.

    Args:
        path: Anything that FFmpeg demuxes: mp4, mkv, m4a, mp3, flac ...
        rate_hz: The rate wanted; another one in the file is resampled. None keeps the file's.
        chunk_ms: Length of a chunk.

    Raises:
        InputError: ``chunk_ms`` is not positive.
        MissingLibraryError: PyAV is not installed.
        SourceError: The file is missing, empty, no media file or without sound, or has another rate and soxr is not
            installed.
    """
    path = checked_file(path)
    av = needs("av", fix="pip install 'mmedge[media]'")
    try:
        container = av.open(str(path))
    except av.error.FFmpegError as error:
        raise SourceError(f"{path} cannot be opened: {why_unreadable(path, 'not a media file, or damaged')}") from error
    try:
        return MediaAudio(path, av, container, rate_hz, chunk_ms)
    except BaseException:
        container.close()
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """Mono samples of one decoded frame; blocks of the same run follow one another without a gap."""

    run: int
    t_ns: int
    samples: Samples


class MediaAudio(Recording[AudioChunk]):
    """The first sound track of a media file, made by `open_media_audio`: an iterator of chunks and a context manager.

    The times are the file's own: a track that starts late starts late here, encoder priming is where FFmpeg puts it,
    and a hole in the track is a hole between two chunks. Between holes the time comes from counting samples. For one
    thread. A chunk stays valid after the next one and after close().

    Attributes:
        name: The file's name, for messages.
        rate_hz: Samples per second of the chunks.
        duration_ns: What the file declares, None where it does not.
        video_start_ns: When the file's first video stream starts on the same clock, for `open_video`; None without one.
        notes: Facts worth reporting, one line each; grows until the end is reached.

    Raises:
        ClosedError: Iterated after close().
        ShortSourceError: After the last chunk of a file that was cut off.
        SourceError: The track changes its rate, or cannot be read on.
    """

    def __init__(self, path: Path, av: ModuleType, container: Any, rate_hz: int | None, chunk_ms: int) -> None:
        if not container.streams.audio:
            raise SourceError(f"{path} has no sound track; give the sound as a WAV file")
        super().__init__(path.name, container.close)
        track, pictures = container.streams.audio[0], container.streams.video
        self._av, self._missing_bytes = av, missing_bytes(path)
        self.duration_ns = None if container.duration is None else container.duration * NS // av.time_base
        span = None if track.duration is None else (track.start_time or 0) + track.duration
        self._track_end_ns = None if span is None else _to_ns(span, track.time_base)
        self.video_start_ns = _to_ns(pictures[0].start_time or 0, pictures[0].time_base) if pictures else None
        self._damaged = self._gaps = self._gap_ns = self._overlap_ns = 0
        frames = self._decode(container, track)
        first = next(frames, None)
        if first is None:
            raise SourceError(f"{path} holds no sound that can be decoded: {why_unreadable(path, 'empty or damaged')}")
        # Asked of a decoded frame: an HE-AAC track declares half its rate, and no channels, before it is decoded.
        source_hz, channels = first.sample_rate, len(first.layout.channels)
        self.rate_hz = rate_hz or source_hz
        if self.rate_hz != source_hz:
            needs_resampler(self.name, source_hz, self.rate_hz)
            self.notes.append(f"{self.name}: resampled from {source_hz} to {self.rate_hz} Hz")
        if channels > 1:
            self.notes.append(f"{self.name}: {channels} channels averaged to one")
        if len(container.streams.audio) > 1:
            self.notes.append(f"{self.name}: the first of {len(container.streams.audio)} sound tracks is used")
        blocks = self._to_blocks(chain([first], frames), source_hz)
        self._packets = self._to_end(blocks, source_hz, chunk_length(self.rate_hz, chunk_ms))

    def _decode(self, container: Any, track: Any) -> Iterator[Any]:
        try:
            for packet in container.demux(track):
                yield from self._decode_packet(packet)
        except self._av.error.FFmpegError as error:
            raise SourceError(
                f"{self.name} cannot be read on ({error}); check it with: ffprobe '{self.name}'"
            ) from error

    def _decode_packet(self, packet: Any) -> list[Any]:
        try:
            frames: list[Any] = packet.decode()
        except self._av.error.InvalidDataError:
            self._damaged += 1
            return []
        return frames

    def _to_blocks(self, frames: Iterator[Any], source_hz: int) -> Iterator[_Block]:
        start_ns: int | None = None
        run = count = 0
        for frame in frames:
            if frame.sample_rate != source_hz:
                raise SourceError(
                    f"{self.name} changes from {source_hz} to {frame.sample_rate} Hz on the way; "
                    f"convert it: ffmpeg -i '{self.name}' -ar {source_hz} OUT.wav"
                )
            samples = to_mono(_to_array(frame))
            expected_ns = None if start_ns is None else start_ns + count * NS // source_hz
            t_ns = expected_ns if frame.pts is None else _to_ns(frame.pts, frame.time_base)
            t_ns = 0 if t_ns is None else t_ns
            late_ns = 0 if expected_ns is None else t_ns - expected_ns
            if start_ns is None:
                samples = samples[max(0, -t_ns) * source_hz // NS :]  # before 0 there is only what the encoder needed
                if not len(samples):
                    continue
                start_ns = max(0, t_ns)
            elif late_ns > _JITTER_NS:
                run, start_ns, count = run + 1, t_ns, 0
                self._gaps, self._gap_ns = self._gaps + 1, self._gap_ns + late_ns
            elif late_ns < -_JITTER_NS:
                samples = samples[-late_ns * source_hz // NS :]
                self._overlap_ns -= late_ns
            yield _Block(run=run, t_ns=start_ns, samples=samples)
            count += len(samples)

    def _to_end(self, blocks: Iterator[_Block], source_hz: int, length: int) -> Iterator[AudioChunk]:
        end_ns = 0
        for _, run in groupby(blocks, key=lambda block: block.run):
            head = next(run)
            samples: Iterator[Samples] = (block.samples for block in chain([head], run))
            if source_hz != self.rate_hz:
                samples = resample(samples, source_hz, self.rate_hz)
            for chunk in to_chunks(samples, self.rate_hz, head.t_ns, length):
                end_ns = chunk.end_ns
                yield chunk
        self._report_end(end_ns)

    def _report_end(self, end_ns: int) -> None:
        if self._damaged:
            self.notes.append(f"{self.name}: {self._damaged} packets of sound are damaged and were left out")
        if self._gaps:
            self.notes.append(f"{self.name}: holes in the sound: {self._gaps}, {self._gap_ns / NS:.3f} s together")
        if self._overlap_ns:
            self.notes.append(f"{self.name}: {self._overlap_ns / NS:.3f} s of sound overlap and were left out")
        complete = self._track_end_ns is not None and end_ns >= self._track_end_ns - _JITTER_NS
        if self._missing_bytes and not complete:
            raise ShortSourceError(
                f"{self.name} is cut off: {self._missing_bytes} bytes are missing and it ends at {end_ns / NS:.2f} s; "
                "copy it again; pass --allow-short to stop there"
            )


def _to_ns(pts: int, time_base: Any) -> int:
    return int(pts * time_base * NS)


def _to_array(frame: Any) -> npt.NDArray[np.generic]:
    """The frame's samples as [N, C], in the decoder's own numbers."""
    array: npt.NDArray[np.generic] = frame.to_ndarray()
    return array.T if frame.format.is_planar else array.reshape(-1, len(frame.layout.channels))
