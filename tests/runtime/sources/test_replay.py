import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedge.errors import ClosedError, InputError, ShortSourceError
from mmedge.sources import Replay
from mmedge.types import AudioChunk, VideoFrame

MS = 1_000_000
PIXELS = np.zeros((2, 2, 3), np.uint8)


class Packets:
    """A source out of a list; counts what was taken from it."""

    def __init__(self, name, packets, complaint=None):
        self.name, self.notes, self.packets, self.complaint = name, [], packets, complaint
        self.taken, self.closed = 0, False

    def __iter__(self):
        for packet in self.packets:
            self.taken += 1
            yield packet
        if self.complaint:
            raise ShortSourceError(self.complaint)

    def close(self):
        self.closed = True


def camera(end_ms, start_ms=0, step_ms=40, name="clip.mp4", **options):
    times = range(start_ms, end_ms, step_ms)
    return Packets(name, [VideoFrame(pixels=PIXELS, t_ns=ms * MS) for ms in times], **options)


def microphone(end_ms, start_ms=0, step_ms=20, name="siren.wav", **options):
    samples = np.zeros(16 * step_ms, np.float32)
    times = range(start_ms, end_ms, step_ms)
    return Packets(name, [AudioChunk(samples=samples, t_ns=ms * MS, rate_hz=16000) for ms in times], **options)


def read_to_complaint(replay):
    pairs = []
    with pytest.raises(ShortSourceError) as caught:
        pairs.extend(replay)
    return pairs, str(caught.value)


def test_packets_come_when_they_are_complete_and_frames_first():
    with Replay({"image": camera(100), "sound": microphone(100)}) as replay:
        order = [(port, packet.available_ns // MS) for port, packet in replay]
    assert order == [
        ("image", 0),
        ("sound", 20),
        ("image", 40),
        ("sound", 40),
        ("sound", 60),
        ("image", 80),
        ("sound", 80),
        ("sound", 100),
    ]


@given(
    frames=st.lists(st.integers(0, 500), unique=True).map(sorted),
    chunks=st.integers(0, 40),
    sound_first=st.booleans(),
)
def test_order_does_not_depend_on_the_order_of_the_ports(frames, chunks, sound_first):
    image = Packets("clip.mp4", [VideoFrame(pixels=PIXELS, t_ns=ms * MS) for ms in frames])
    ports = {"image": image, "sound": microphone(20 * chunks)}
    if sound_first:
        ports = dict(reversed(ports.items()))
    packets = [packet for _, packet in Replay(ports, tolerance_ms=10_000)]
    keys = [(packet.available_ns, isinstance(packet, AudioChunk)) for packet in packets]
    assert keys == sorted(keys)
    assert len(packets) == len(frames) + chunks


def test_one_packet_per_source_is_held():
    sources = {"image": camera(10_000), "sound": microphone(10_000)}
    replay = Replay(sources)
    assert sources["image"].taken == 0
    for count, _ in enumerate(replay, start=1):
        assert sum(source.taken for source in sources.values()) <= count + 2
        if count == 100:
            break


@pytest.mark.parametrize(("sound_ms", "frames_ms"), [(1000, 1000), (1240, 1000), (1000, 1240)])
def test_ends_within_the_tolerance_are_fine(sound_ms, frames_ms):
    with Replay({"image": camera(frames_ms), "sound": microphone(sound_ms)}) as replay:
        assert len(list(replay)) == sound_ms // 20 + frames_ms // 40
    assert replay.notes == []


def test_slow_camera_is_not_taken_for_one_that_ended():
    with Replay({"image": camera(9001, step_ms=1000), "sound": microphone(10_000)}) as replay:
        assert len(list(replay)) == 510


def test_sound_that_ends_early_is_refused_after_what_came_before():
    pairs, text = read_to_complaint(Replay({"image": camera(20_000), "sound": microphone(12_300)}))
    assert text == "siren.wav (sound) ends at 12.30 s while clip.mp4 (image) goes on; pass --allow-short to stop there"
    assert max(packet.available_ns for _, packet in pairs) == 12_520 * MS  # the last frame within 250 ms
    assert sum(port == "sound" for port, _ in pairs) == 615


def test_pictures_that_end_early_are_refused():
    _, text = read_to_complaint(Replay({"image": camera(1000), "sound": microphone(2000)}))
    assert text.startswith("clip.mp4 (image) ends at 1.00 s while siren.wav (sound) goes on")


def test_allowed_short_replay_stops_there_and_notes_it():
    with Replay({"image": camera(2000), "sound": microphone(1000)}, allow_short=True) as replay:
        pairs = list(replay)
    assert max(packet.available_ns for _, packet in pairs) == 1240 * MS
    assert replay.notes == ["siren.wav (sound) ends at 1.00 s while clip.mp4 (image) goes on"]


def test_source_without_a_packet_ends_at_once():
    _, text = read_to_complaint(Replay({"image": camera(0), "sound": microphone(2000)}))
    assert text.startswith("clip.mp4 (image) ends at 0.00 s")


CUT = "clip.mp4 is cut off; pass --allow-short to stop there"


def test_cut_off_source_is_refused_with_its_own_words():
    pairs, text = read_to_complaint(Replay({"image": camera(1000, complaint=CUT), "sound": microphone(5000)}))
    assert text == CUT
    assert max(packet.available_ns for _, packet in pairs) == 960 * MS


def test_cut_off_source_can_be_allowed():
    sources = {"image": camera(1000, complaint=CUT), "sound": microphone(5000)}
    with Replay(sources, allow_short=True) as replay:
        pairs = list(replay)
    assert max(packet.available_ns for _, packet in pairs) == 1240 * MS
    assert replay.notes == ["clip.mp4 is cut off", "clip.mp4 (image) ends at 1.00 s while siren.wav (sound) goes on"]


def test_late_start_is_noted():
    with Replay({"image": camera(2000), "sound": microphone(2000, start_ms=936)}) as replay:
        next(replay)
        assert replay.notes == ["siren.wav (sound) starts 0.94 s after the first sensor"]


def test_notes_of_the_sources_are_its_notes():
    source = microphone(100)
    replay = Replay({"sound": source})
    source.notes.append("siren.wav: 2 channels averaged to one")
    assert replay.notes == ["siren.wav: 2 channels averaged to one"]


def test_closing_closes_every_source():
    sources = {"image": camera(100), "sound": microphone(100)}
    with Replay(sources) as replay:
        next(replay)
    assert all(source.closed for source in sources.values())
    with pytest.raises(ClosedError, match="the replay is closed"):
        next(replay)


def test_no_source_is_refused():
    with pytest.raises(InputError, match="at least one source"):
        Replay({})
