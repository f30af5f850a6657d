import importlib.util

import numpy as np
import pytest

from mmedge.errors import InputError, ShortSourceError, SourceError
from mmedge.sources import MediaAudio, Replay, VideoFile, WavFile, open_file_sources

pytest.importorskip("cv2")
MS = 1_000_000
SILENCE = np.zeros(32000, "<i2")


def test_named_files_are_used(write_video, write_wav):
    write_wav(SILENCE)  # beside the video, and not asked for
    sources = open_file_sources(write_video(), write_wav(SILENCE, "siren.wav"), audio_rate_hz=16000)
    assert list(sources) == ["camera", "audio"]
    assert isinstance(sources["camera"], VideoFile)
    assert isinstance(sources["audio"], WavFile)
    with Replay(sources) as replay:
        assert len(list(replay)) == 50 + 100
    assert replay.notes == []


def test_wav_beside_the_video_is_found_and_noted(write_video, write_wav):
    video, _ = write_video(), write_wav(SILENCE)
    with Replay(open_file_sources(video, None, audio_rate_hz=16000)) as replay:
        assert replay.notes == ["clip.wav: found beside clip.mp4, taken to start with its first frame"]


def test_camera_alone_and_sound_alone(write_video, write_wav):
    only = open_file_sources(write_video(), None, audio_rate_hz=None)
    assert list(only) == ["camera"]
    only["camera"].close()
    only = open_file_sources(None, write_wav(SILENCE), audio_rate_hz=16000)
    assert list(only) == ["audio"]
    only["audio"].close()


@pytest.mark.parametrize("named", [False, True])
def test_own_sound_track_shares_the_clock_of_the_pictures(write_media, named):
    path = write_media("clip.mkv", picture_ms=range(760, 2000, 40), sound=np.zeros(32000), sound_start_s=0.1)
    sources = open_file_sources(path, path if named else None, audio_rate_hz=16000)
    assert isinstance(sources["audio"], MediaAudio)
    with Replay(sources) as replay:
        first = {}
        for port, packet in replay:
            first.setdefault(port, packet.t_ns)
    assert first["camera"] == 760 * MS
    assert 0 <= first["audio"] <= 100 * MS  # FFmpeg versions differ in handing out the encoder's priming
    (note,) = replay.notes
    assert note.startswith("clip.mkv (camera) starts 0.")


def test_sound_of_another_container_does_not_move_the_pictures(write_media):
    late = write_media("late.mkv", picture_ms=range(760, 2000, 40), sound=np.zeros(32000))
    other = write_media("other.mkv", picture_ms=range(0, 2000, 40))
    with Replay(open_file_sources(other, late, audio_rate_hz=16000)) as replay:
        port, frame = next(replay)
    assert (port, frame.t_ns) == ("camera", 0)


def test_no_sound_anywhere_gives_the_options(write_video):
    options = "has no sound track; give the sound as a WAV file"
    if importlib.util.find_spec("av") is None:
        options = r"no clip\.wav beside it; name a WAV file, .* pip install 'mmedge\[media\]'"
    with pytest.raises(SourceError, match=options) as caught:
        open_file_sources(write_video(), None, audio_rate_hz=16000)
    assert "\n" not in str(caught.value)


def test_sound_for_a_model_that_hears_nothing_is_refused(write_video, write_wav):
    with pytest.raises(InputError, match="no audio input"):
        open_file_sources(write_video(), write_wav(SILENCE), audio_rate_hz=None)


def test_nothing_to_read_is_refused():
    with pytest.raises(InputError, match="no recording"):
        open_file_sources(None, None, audio_rate_hz=16000)


def test_missing_video_is_refused_before_sound_is_looked_for(tmp_path):
    with pytest.raises(SourceError, match=r"clip\.mp4 does not exist"):
        open_file_sources(tmp_path / "clip.mp4", None, audio_rate_hz=16000)


def test_wav_by_name_that_is_none_is_refused_as_one(write_video, tmp_path):
    path = tmp_path / "siren.wav"
    path.write_bytes(b"ID3 something else")
    with pytest.raises(SourceError, match="not a WAV file"):
        open_file_sources(write_video(), path, audio_rate_hz=16000)


def test_short_sound_is_refused_by_its_name(write_video, write_wav):
    sources = open_file_sources(write_video(), write_wav(SILENCE[:8000]), audio_rate_hz=16000)
    text = r"clip\.wav \(audio\) ends at 0\.50 s while clip\.mp4 \(camera\) goes on"
    with Replay(sources) as replay, pytest.raises(ShortSourceError, match=text):
        list(replay)


@pytest.mark.data
def test_real_recording_is_replayed_with_its_sound_one_second_late(data_dir):
    pytest.importorskip("av")
    path = data_dir / "nasa_audio_late_1s.mp4"
    with Replay(open_file_sources(path, None, audio_rate_hz=16000), tolerance_ms=2000) as replay:
        pairs = list(replay)
    starts = {port: packet.t_ns for port, packet in reversed(pairs)}
    assert starts == {"camera": 0, "audio": 936 * MS}
    sources = open_file_sources(path, None, audio_rate_hz=16000)
    with Replay(sources) as replay, pytest.raises(ShortSourceError, match=r"ends at 13\.01 s while .* goes on"):
        list(replay)
