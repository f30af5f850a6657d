import importlib.util
import itertools

import numpy as np
import pytest

from mmedge.errors import ClosedError, MissingLibraryError, ShortSourceError, SourceError
from mmedge.sources import open_media_audio

MS = 1_000_000
HAS_AV = importlib.util.find_spec("av") is not None


def impulse(position, length=32000):
    samples = np.zeros(length, np.float32)
    samples[position] = 1
    return samples


def time_of_peak_ns(chunks):
    loudest = max(chunks, key=lambda chunk: np.abs(chunk.samples).max())
    return loudest.t_ns + int(np.abs(loudest.samples).argmax()) * 10**9 // loudest.rate_hz


@pytest.mark.skipif(HAS_AV, reason="PyAV is installed")
def test_missing_library_says_what_to_type(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"anything")
    with pytest.raises(MissingLibraryError, match=r"pip install 'mmedge\[media\]'"):
        open_media_audio(path)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.m4a", "clip.ts"])
@pytest.mark.parametrize("start_ms", [0, 20, 250])
def test_sound_is_at_the_time_of_the_file_in_spite_of_priming(write_media, name, start_ms):
    with open_media_audio(write_media(name, sound=impulse(8000), sound_start_s=start_ms / 1000)) as source:
        chunks = list(source)
    # MPEG-TS cannot start before 0, so its writer moves everything by the 64 ms of the encoder's priming. Matroska
    # rounds to 1 ms.
    shift = 44 if name == "clip.ts" and start_ms == 20 else 64 if name == "clip.ts" and start_ms == 0 else 0
    assert time_of_peak_ns(chunks) == pytest.approx((500 + start_ms + shift) * MS, abs=1 * MS)
    assert chunks[0].t_ns >= 0


def test_chunks_follow_one_another_without_a_gap(write_media):
    with open_media_audio(write_media("clip.mkv", sound=impulse(100)), chunk_ms=50) as source:
        chunks = list(source)
    assert {len(chunk.samples) for chunk in chunks[:-1]} == {800}
    assert all(a.end_ns == b.t_ns for a, b in itertools.pairwise(chunks))


def test_stereo_is_averaged_and_another_rate_resampled(write_media):
    pytest.importorskip("soxr")
    stereo = np.stack([impulse(22050, 88200), np.zeros(88200)], axis=1)
    with open_media_audio(write_media("clip.mp4", sound=stereo, rate_hz=44100), 16000) as source:
        chunks = list(source)
    assert source.notes == [
        "clip.mp4: resampled from 44100 to 16000 Hz",
        "clip.mp4: 2 channels averaged to one",
    ]
    assert time_of_peak_ns(chunks) == pytest.approx(500 * MS, abs=62_500)  # one sample
    assert 0.1 < max(np.abs(chunk.samples).max() for chunk in chunks) < 0.5  # half, and the lower rate has less of it


def test_start_of_the_pictures_is_on_the_same_clock(write_media):
    path = write_media("clip.mkv", picture_ms=range(760, 2000, 40), sound=impulse(8000), sound_start_s=0.02)
    with open_media_audio(path) as source:
        assert source.video_start_ns == 760 * MS
        assert time_of_peak_ns(source) == pytest.approx(520 * MS, abs=1 * MS)


def test_lost_packets_leave_a_hole_in_time(write_media, tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "holes.mkv"
    with av.open(str(write_media("whole.mkv", sound=impulse(24000)))) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for n, packet in enumerate(source.demux(audio=0)):
            if packet.dts is not None and n not in (8, 9, 10):
                packet.stream = stream
                target.mux(packet)
    with open_media_audio(path) as source:
        chunks = list(source)
    assert time_of_peak_ns(chunks) == pytest.approx(1500 * MS, abs=1 * MS)
    holes = [b.t_ns - a.end_ns for a, b in itertools.pairwise(chunks) if b.t_ns != a.end_ns]
    assert holes == [pytest.approx(192 * MS, abs=2 * MS)]
    assert source.notes == ["holes.mkv: holes in the sound: 1, 0.192 s together"]


def test_file_without_sound_is_refused(write_media):
    path = write_media("silent.mp4", picture_ms=range(0, 400, 40))
    with pytest.raises(SourceError, match="has no sound track"):
        open_media_audio(path)


@pytest.mark.skipif(not HAS_AV, reason="PyAV is not installed")
@pytest.mark.parametrize(
    ("content", "text"), [(b"", "is empty"), (b"hello, no media\n" * 20, "cannot be opened: not a media file")]
)
def test_what_is_no_media_file_is_refused_in_one_line(tmp_path, content, text):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=text) as caught:
        open_media_audio(path)
    assert "\n" not in str(caught.value)


def test_cut_off_file_is_read_to_its_end_then_refused(write_media):
    path = write_media("cut.mkv", sound=np.random.default_rng(0).uniform(-1, 1, 32000))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_media_audio(path) as source:
        chunks = []
        with pytest.raises(ShortSourceError, match=r"cut off: [0-9]+ bytes are missing and it ends at [01]\.[0-9]+ s"):
            chunks.extend(source)
        assert 5 < len(chunks) < 95
        assert list(source) == []  # said once


def test_closed_file_says_so(write_media):
    source = open_media_audio(write_media("clip.mp4", sound=impulse(100)))
    source.close()
    source.close()
    with pytest.raises(ClosedError, match=r"clip\.mp4 is closed"):
        next(source)


@pytest.mark.data
@pytest.mark.parametrize(("name", "start_ms"), [("nasa_av16k.mp4", 0), ("nasa_audio_late_1s.mp4", 936)])
def test_real_sound_starts_when_the_file_says(data_dir, name, start_ms):
    pytest.importorskip("av")
    with open_media_audio(data_dir / name, 16000) as source:
        chunks = list(source)
    assert chunks[0].t_ns == start_ms * MS
    assert source.video_start_ns == 0
    assert source.notes == [f"{name}: 2 channels averaged to one"]


@pytest.mark.data
def test_late_sound_is_the_same_sound_later(data_dir):
    pytest.importorskip("av")
    sounds = []
    for name in ("nasa_av16k.mp4", "nasa_audio_late_1s.mp4"):
        with open_media_audio(data_dir / name) as source:
            chunks = list(source)
        samples = np.concatenate([chunk.samples for chunk in chunks])
        sounds.append(np.concatenate([np.zeros(chunks[0].t_ns * 16 // 10**6, np.float32), samples]))
    # The late copy carries the encoder's 1024 priming samples in front, which puts the same sound at 1 s exactly.
    np.testing.assert_allclose(sounds[1][16000:216000], sounds[0][:200000], atol=1e-6)
