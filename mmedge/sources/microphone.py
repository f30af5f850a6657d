"""A microphone, through PortAudio, at times from counting its samples.

PortAudio's own times are not used: version 19.6 stamps with the wall clock, and the stamps of PulseAudio scatter by
tens of milliseconds. Nor is its latency, which for ALSA is the length of its buffer: the least delayed callbacks come
within a millisecond of their last sample. What a device adds before, `mmedge sync` measures.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from threading import Lock
from time import monotonic_ns
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mmedge.errors import MissingLibraryError, SourceError, needs
from mmedge.sources.chunk_clock import ChunkClock
from mmedge.sources.chunks import Samples, to_mono
from mmedge.sources.live import LiveSource
from mmedge.sources.resample import LiveResampler, needs_resampler
from mmedge.types import AudioChunk

__all__ = ["SoundStream", "open_microphone"]

BLOCK_MS = 10
WAIT_S = 0.1
INVALID_CHANNELS, INVALID_RATE = -9998, -9997  # PaErrorCode
_open_streams = 0
_opening = Lock()  # PortAudio is started and opened by one thread at a time


class SoundStream(Protocol):
    """What is used of ``sounddevice.InputStream``."""

    @property
    def active(self) -> bool:
        """Whether it still gives sound."""

    def start(self) -> None:
        """Begin."""

    def close(self) -> None:
        """Let go of the device."""


def open_microphone(
    device: int | str | None = None,
    rate_hz: int = 16000,
    *,
    latency: str | float = "low",
    library: Any = None,
) -> LiveSource:
    """A microphone of this machine.

    The device is asked for one channel at the rate wanted. One that cannot give it is averaged over its channels and
    resampled, which is noted. Overruns are counted as ``xruns``, sound that went missing as ``gaps``.

    Args:
        device: Its number, a part of its name, or None for the default one.
        rate_hz: Samples per second.
        latency: "low", "high", or seconds, as PortAudio takes it.
        library: Something like the module sounddevice, for tests.

    Raises:
        MissingLibraryError: sounddevice or PortAudio is not installed.
    """
    sound = library or _library()
    name = f"microphone {'default' if device is None else device}"
    notes: list[str] = []

    def connect(origin_ns: int, counts: Counter[str]) -> _Connection:
        del origin_ns
        return _Connection(_Opener(sound, name, device, latency, notes), rate_hz, counts)

    return LiveSource(name, "audio", connect, notes=notes)


class _Opener:
    """Opens one device of PortAudio."""

    def __init__(self, sound: Any, name: str, device: int | str | None, latency: str | float, notes: list[str]) -> None:
        self.name, self.notes = name, notes
        self._sound, self._device, self._latency = sound, device, latency

    def open(self, rate_hz: int, callback: Callable[..., None], *, anew: bool) -> tuple[SoundStream, int]:
        """A stream that runs, and its rate; ``anew`` looks for devices that were plugged in since."""
        global _open_streams  # PortAudio has one list of devices for the process
        with _opening:
            if anew and not _open_streams:  # PortAudio lists devices once; ending it would end other streams
                self._sound._terminate()
                self._sound._initialize()
            stream, got_hz = self._try(rate_hz, 1, callback)
            try:
                stream.start()
            except self._sound.PortAudioError as error:
                stream.close()
                raise SourceError(f"{self.name} cannot be started ({error})") from error
            _open_streams += 1
        return stream, got_hz

    def close(self, stream: SoundStream) -> None:
        """Close a stream that was opened here."""
        global _open_streams
        with _opening:
            _open_streams -= 1
            stream.close()

    def _try(self, rate_hz: int, channels: int, callback: Callable[..., None]) -> tuple[SoundStream, int]:
        try:
            return self._stream(rate_hz, channels, callback), rate_hz
        except (self._sound.PortAudioError, ValueError) as error:
            code = error.args[1] if len(error.args) > 1 else 0
            if code not in {INVALID_CHANNELS, INVALID_RATE}:
                raise SourceError(f"{self.name} cannot be opened ({error}); look: python -m sounddevice") from error
            facts = self._sound.query_devices(self._device, "input")
            most, own_hz = int(facts["max_input_channels"]), int(facts["default_samplerate"])
            if (code == INVALID_CHANNELS and channels == most) or (code == INVALID_RATE and rate_hz == own_hz):
                raise SourceError(f"{self.name} cannot be opened ({error}); look: python -m sounddevice") from error
        if code == INVALID_CHANNELS:
            self._note(f"{self.name}: {most} channels averaged to one")
            return self._try(rate_hz, most, callback)
        needs_resampler(self.name, own_hz, rate_hz)
        self._note(f"{self.name}: resampled from {own_hz} to {rate_hz} Hz")
        return self._try(own_hz, channels, callback)

    def _stream(self, rate_hz: int, channels: int, callback: Callable[..., None]) -> SoundStream:
        stream: SoundStream = self._sound.InputStream(
            device=self._device,
            samplerate=rate_hz,
            channels=channels,
            dtype="float32",
            blocksize=rate_hz * BLOCK_MS // 1000,
            latency=self._latency,
            callback=callback,
        )
        return stream

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


class _Connection:
    """A running stream; its callback, in PortAudio's thread, only copies."""

    def __init__(self, opener: _Opener, rate_hz: int, counts: Counter[str]) -> None:
        self._opener, self._rate_hz, self._counts = opener, rate_hz, counts
        self._blocks: SimpleQueue[tuple[Samples, int]] = SimpleQueue()
        self._stream, self._own_hz = opener.open(rate_hz, self._callback, anew=counts["losses"] > 0)

    def __iter__(self) -> Iterator[AudioChunk | None]:
        clock = ChunkClock(self._own_hz, self._counts)
        resampler = None if self._own_hz == self._rate_hz else LiveResampler(self._rate_hz)
        while True:
            try:
                samples, arrival_ns = self._blocks.get(timeout=WAIT_S)
            except Empty:
                if not self._stream.active:
                    raise SourceError(f"{self._opener.name} has stopped") from None
                yield None
                continue
            for chunk in clock.push(samples, arrival_ns):
                if resampler is None:
                    yield chunk
                else:
                    yield from resampler.push(chunk)
            self._counts["drift_ppm"] = round(clock.ppm)

    def close(self) -> None:
        self._opener.close(self._stream)

    def _callback(self, samples: npt.NDArray[np.float32], frames: int, times: object, status: Any) -> None:
        del frames, times
        arrival_ns = monotonic_ns()
        if status.input_overflow:
            self._counts["xruns"] += 1
        self._blocks.put((to_mono(samples.copy()), arrival_ns))


def _library() -> ModuleType:
    try:
        return needs("sounddevice", fix="pip install 'mmedge[mic]'")
    except OSError as error:  # the package is there, the library that it binds is not
        raise MissingLibraryError(f"sounddevice cannot be used ({error}); try: apt install libportaudio2") from error
