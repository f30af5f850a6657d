"""A microphone on a PortAudio that is made up: every sample is there once, at its time, whatever the callbacks do."""

import sys
from collections import Counter
from threading import Event, Thread
from time import monotonic_ns, sleep
from types import SimpleNamespace

import numpy as np
import pytest
from duo import until

from mmedge.errors import MissingLibraryError
from mmedge.sources import Arrivals, open_microphone
from mmedge.sources.chunk_clock import ChunkClock
from mmedge.sources.resample import LiveResampler
from mmedge.types import AudioChunk

RATE_HZ, BLOCK = 16000, 160
NS = 1_000_000_000
T0 = 50 * NS


def blocks(count, *, late_ns=lambda _: 0, start=0, t0=T0):
    """Numbered samples, the end of each block, and when it arrives."""
    for n in range(start, start + count):
        samples = np.arange(n * BLOCK, (n + 1) * BLOCK, dtype=np.float32)
        yield samples, t0 + (n + 1) * BLOCK * NS // RATE_HZ + late_ns(n)


def errors_ns(chunks, t0=T0):
    """How far each chunk's time is from when its first sample was taken."""
    return np.array([chunk.t_ns - t0 - int(chunk.samples[0]) * NS // RATE_HZ for chunk in chunks])


def push_all(clock, pairs):
    return [chunk for samples, arrival_ns in pairs for chunk in clock.push(samples, arrival_ns)]


class TestChunkClock:
    """From blocks as they arrive to chunks with times."""

    def test_every_sample_is_given_once_in_order(self):
        rng = np.random.default_rng(1)
        chunks = push_all(ChunkClock(RATE_HZ, Counter()), blocks(300, late_ns=lambda _: int(rng.exponential(3e6))))
        assert np.array_equal(np.concatenate([c.samples for c in chunks]), np.arange(300 * BLOCK))

    def test_times_come_from_counting_and_not_from_callbacks(self):
        rng = np.random.default_rng(2)
        chunks = push_all(ChunkClock(RATE_HZ, Counter()), blocks(1000, late_ns=lambda _: int(rng.exponential(2e6))))
        assert np.abs(errors_ns(chunks)).max() < 1_500_000
        assert np.abs(np.diff(errors_ns(chunks))).max() < 500_000

    def test_callbacks_that_were_held_up_lose_nothing(self):
        counts = Counter()

        def late(n):  # from 2.00 s on nothing comes for 0.4 s, then all of it at once
            return max(0, 40 - (n - 200)) * 10_000_000 if n >= 200 else 0

        chunks = push_all(ChunkClock(RATE_HZ, counts), blocks(400, late_ns=late))
        assert np.array_equal(np.concatenate([c.samples for c in chunks]), np.arange(400 * BLOCK))
        assert np.abs(errors_ns(chunks)).max() < 200_000
        assert counts["gaps"] == 0

    def test_a_microphone_that_was_away_goes_on_at_the_new_time(self):
        counts = Counter()
        clock = ChunkClock(RATE_HZ, counts)
        before = push_all(clock, blocks(200))
        after = push_all(clock, blocks(200, start=200, late_ns=lambda _: 2 * NS))
        assert len(before) + len(after) == 400
        assert np.abs(errors_ns(before)).max() == 0
        assert np.abs(errors_ns(after) - 2 * NS).max() < 100_000
        assert (counts["gaps"], counts["lost_ms"]) == (1, 2000)

    def test_a_fit_that_began_too_late_is_begun_anew(self):
        chunks = push_all(ChunkClock(RATE_HZ, Counter()), blocks(100, late_ns=lambda n: 300_000_000 if n < 20 else 0))
        assert np.abs(errors_ns(chunks[20:])).max() < 100_000


class FakePortAudio:
    """A module like sounddevice whose only microphone is at one rate, and can hang or be unplugged."""

    class PortAudioError(Exception):
        pass

    def __init__(self, *, rate_hz=RATE_HZ, channels=1):
        self.rate_hz, self.channels = rate_hz, channels
        self.plugged, self.initialized, self.streams = True, 0, []

    def InputStream(self, **options):  # noqa: N802
        if not self.plugged:
            raise ValueError("No input device matching 'x'")
        if options["samplerate"] != self.rate_hz:
            raise self.PortAudioError("Invalid sample rate", -9997)
        if options["channels"] != self.channels:
            raise self.PortAudioError("Invalid number of channels", -9998)
        self.streams.append(FakeStream(**options))
        return self.streams[-1]

    def query_devices(self, *_):
        return {"max_input_channels": self.channels, "default_samplerate": float(self.rate_hz)}

    def _terminate(self):
        self.initialized -= 1

    def _initialize(self):
        self.initialized += 1


class FakeStream:
    def __init__(self, *, samplerate, channels, blocksize, callback, **_):
        self.rate_hz, self.channels, self.size, self.callback = samplerate, channels, blocksize, callback
        self.active, self.overflow, self.ended = True, False, Event()
        self.thread = Thread(target=self.run)

    def start(self):
        self.thread.start()

    def close(self):
        self.ended.set()
        self.thread.join()

    def run(self):
        start_ns, n = monotonic_ns(), 0
        while not self.ended.is_set():
            n += 1
            sleep(max(0, start_ns + n * self.size * NS // self.rate_hz - monotonic_ns()) / NS)
            if self.active:
                overflow, self.overflow = self.overflow, False
                buffer = np.full((self.size, self.channels), n / 1000, np.float32)
                self.callback(buffer, self.size, None, SimpleNamespace(input_overflow=overflow))
                buffer[:] = np.nan  # PortAudio's memory, of which nothing may be kept


def take(source, count):
    chunks = []
    with Arrivals({"audio": source}) as arrivals:
        for _, chunk in arrivals:
            chunks.append(chunk)
            if len(chunks) == count:
                arrivals.stop()
    return chunks, arrivals


def test_sound_comes_in_chunks_of_ten_milliseconds_and_buffers_are_not_kept():
    chunks, arrivals = take(open_microphone("x", library=FakePortAudio()), 20)
    assert {len(chunk.samples) for chunk in chunks} == {BLOCK}
    assert [round(float(chunk.samples[0]) * 1000) for chunk in chunks] == list(range(1, 21))
    # of their middle, as a busy machine holds callbacks up, and their times begin anew
    assert abs(np.median(np.diff([chunk.t_ns for chunk in chunks])) - 10_000_000) < 2_000_000
    assert arrivals.notes == []


def test_another_rate_and_more_channels_are_converted_and_noted():
    pytest.importorskip("soxr")
    source = open_microphone("x", library=FakePortAudio(rate_hz=48000, channels=2))
    chunks, arrivals = take(source, 20)
    assert {chunk.rate_hz for chunk in chunks} == {16000}
    assert arrivals.notes == [
        "microphone x: resampled from 48000 to 16000 Hz",
        "microphone x: 2 channels averaged to one",
    ]


def test_overruns_are_counted():
    library = FakePortAudio()
    with Arrivals({"audio": open_microphone("x", library=library)}) as arrivals:
        next(arrivals)
        library.streams[0].overflow = True
        while not arrivals.counters["audio"].get("xruns"):
            next(arrivals)
    assert arrivals.counters["audio"]["xruns"] == 1


def test_a_microphone_that_is_unplugged_is_found_again():
    library = FakePortAudio()
    source = open_microphone("x", library=library)
    with Arrivals({"audio": source}) as arrivals:
        next(arrivals)
        library.plugged = library.streams[0].active = False
        until(lambda: source.status.counts.get("losses", 0) >= 2)
        assert source.status.state == "lost"
        assert "python -m sounddevice" in source.status.detail
        library.plugged = True
        until(lambda: source.status.state == "ok")
    assert source.status.counts["connections"] == 2
    assert library.initialized == 0  # PortAudio was ended and begun anew, to see what was plugged in
    assert all(stream.ended.is_set() for stream in library.streams)


def test_a_missing_portaudio_says_what_to_type(monkeypatch):
    class Broken:
        def find_spec(self, name, *_):
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(MissingLibraryError, match="apt install libportaudio2"):
        open_microphone()


def test_a_live_chunk_keeps_its_time_at_another_rate():
    """A pulse stays where it was, although soxr gives it late."""
    pytest.importorskip("soxr")
    sound = np.zeros(48000, np.float32)
    sound[24000] = 1.0
    chunks = []
    live = LiveResampler(16000)
    for n in range(0, 48000, 480):
        chunks += live.push(AudioChunk(samples=sound[n : n + 480], t_ns=T0 + n * NS // 48000, rate_hz=48000))
    loudest = max(chunks, key=lambda chunk: np.abs(chunk.samples).max())
    at_ns = loudest.t_ns + int(np.abs(loudest.samples).argmax()) * NS // 16000
    assert abs(at_ns - T0 - NS // 2) < NS // 16000
    starts, ends = [c.t_ns for c in chunks[1:]], [c.end_ns for c in chunks[:-1]]
    assert np.abs(np.subtract(starts, ends)).max() < 2
