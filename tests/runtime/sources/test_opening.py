"""Every name of a source, and what is told about those that cannot be."""

import sys
from time import monotonic_ns

import numpy as np
import pytest
from duo import until

from mmedge.errors import ClosedError, InputError, MissingLibraryError, SourceError
from mmedge.sources import (
    Arrivals,
    LiveSource,
    event_times,
    from_packets,
    live_from_packets,
    open_images,
    open_source,
    open_sources,
    synthetic_camera,
    synthetic_sound,
)
from mmedge.types import AudioChunk, VideoFrame

cv2 = pytest.importorskip("cv2")
NS = 1_000_000_000


@pytest.fixture
def picture_folder(tmp_path):
    def write(names):
        for n, name in enumerate(names):
            cv2.imwrite(str(tmp_path / name), np.full((6, 8, 3), (40 * n, 0, 200), np.uint8))
        return tmp_path

    return write


def test_a_folder_of_pictures_plays_at_a_rate(picture_folder):
    folder = picture_folder(["b.png", "a.png", "c.png"])
    (folder / "notes.txt").write_text("no picture")
    frames = list(open_source(f"images:{folder}?rate_hz=4", "camera"))
    assert [frame.t_ns for frame in frames] == [0, NS // 4, NS // 2]
    assert [int(frame.pixels[0, 0, 2]) for frame in frames] == [40, 0, 80]  # a, b, c
    assert frames[0].pixels[0, 0, 0] == 200


def test_pictures_named_by_their_times_keep_them(picture_folder):
    folder = picture_folder(["9000000000.png", "10000000000.png", "10500000000.png"])
    assert [frame.t_ns for frame in open_source(folder, "camera")] == [0, NS, 3 * NS // 2]


def test_a_folder_that_says_no_times_asks_for_a_rate(picture_folder):
    folder = picture_folder(["a.png"])
    with pytest.raises(InputError, match="a.png does not say when it was taken; give the rate"):
        open_images(folder)


def test_a_folder_without_pictures_and_a_damaged_picture_are_refused(tmp_path):
    with pytest.raises(SourceError, match="holds no pictures"):
        open_source(f"images:{tmp_path}?rate_hz=1", "camera")
    (tmp_path / "a.png").write_bytes(b"not a png")
    with pytest.raises(SourceError, match=r"a\.png cannot be decoded"):
        list(open_source(f"images:{tmp_path}?rate_hz=1", "camera"))


def test_the_synthetic_scene_shows_and_sounds_its_events_at_the_same_times():
    times = event_times(8)
    frames = list(synthetic_camera(seconds=8, rate_hz=50, width_px=64, height_px=48))
    sound = np.concatenate([chunk.samples for chunk in synthetic_sound(seconds=8, rate_hz=8000)])
    bright = np.array([frame.pixels[24, 32].min() == 255 for frame in frames])
    seen = [frames[n].t_ns for n in np.flatnonzero(np.diff(bright.astype(int)) == 1) + 1]
    level = np.abs(sound).reshape(-1, 8).max(axis=1)  # by millisecond
    heard = np.flatnonzero((level[1:] > 0.2) & (level[:-1] < 0.2)) * 1_000_000
    heard = heard[np.diff(heard, prepend=-NS) > NS // 2]
    assert len(times) == len(seen) == len(heard) == 4
    assert all(0 <= at - true <= NS // 50 for at, true in zip(seen, times, strict=True))
    assert all(abs(at - true) <= 2_000_000 for at, true in zip(heard, times, strict=True))


def test_the_same_scene_comes_again_and_another_seed_is_another_one():
    def pixels(seed):
        return next(iter(open_source(f"synthetic://?seed={seed}", "camera"))).pixels

    assert np.array_equal(pixels(3), pixels(3))
    assert not np.array_equal(pixels(3), pixels(4))
    assert event_times(10, seed=3) != event_times(10, seed=4)


def test_a_recording_in_real_time_begins_with_the_run_and_keeps_its_distances():
    scene = "synthetic://?seconds=0.5"
    recorded = open_sources(scene, None, audio_rate_hz=16000)
    expected = {port: [packet.t_ns for packet in source] for port, source in recorded.items()}

    def lateness():
        times, late_ns = {"camera": [], "audio": []}, []
        with Arrivals(open_sources(f"paced:{scene}", None, audio_rate_hz=16000)) as arrivals:
            for port, packet in arrivals:
                late_ns.append(monotonic_ns() - packet.available_ns)
                times[port].append(packet.t_ns - arrivals.origin_ns)
        assert times["audio"] == expected["audio"]
        assert set(times["camera"]) <= set(expected["camera"])  # a slow machine leaves pictures out
        assert min(late_ns) >= 0
        return sorted(late_ns)[len(late_ns) // 2]

    until(lambda: lateness() < 50_000_000)  # at once, unless the machine has other things to do
    assert len(expected["audio"]) == 50


def test_a_recording_in_real_time_that_never_begins_is_closed(write_wav):
    opened = open_source(f"paced:{write_wav(np.zeros(1600, '<i2'))}", "audio")
    opened.close()
    with pytest.raises(ClosedError):
        Arrivals({"audio": opened})


def test_a_recording_in_real_time_that_breaks_off_ends_with_a_note(write_wav):
    path = write_wav(np.zeros(1600, "<i2"), declared=16000)
    with Arrivals({"audio": open_source(f"paced:{path}", "audio")}) as arrivals:
        assert sum(len(packet.samples) for _, packet in arrivals) == 1600
    assert arrivals.status["audio"].state == "ended"
    assert "is cut off" in arrivals.notes[0]
    assert "--allow-short" not in arrivals.notes[0]


def test_arrays_of_a_program_become_packets():
    pictures = [(np.full((2, 2, 3), n, np.uint8), 100 * n) for n in range(3)]
    assert [frame.t_ns for frame in open_source(iter(pictures), "camera")] == [0, 100, 200]
    chunks = list(open_source([(np.zeros(5, np.float32), 7)], "audio", rate_hz=8000))
    assert (chunks[0].t_ns, chunks[0].rate_hz) == (7, 8000)
    frame = VideoFrame(pixels=pictures[0][0], t_ns=3)
    assert list(from_packets([frame], "camera")) == [frame]


def test_pictures_that_are_numbered_come_in_the_order_of_their_numbers(picture_folder):
    folder = picture_folder(["shot-1.png", "shot-10.png", "shot-2.png"])
    blue = [int(frame.pixels[0, 0, 2]) for frame in open_source(f"images:{folder}?rate_hz=4", "camera")]
    assert blue == [0, 80, 40]


def test_numbers_are_not_taken_for_nanoseconds(picture_folder):
    with pytest.raises(InputError, match=r"0\.png to 2\.png are numbers, not nanoseconds; give the rate"):
        open_images(picture_folder(["0.png", "1.png", "2.png"]))


def test_the_sound_of_a_scene_has_the_name_of_its_pictures():
    opened = open_sources("synthetic://?seconds=1&width=64&height=48&rate_hz=5", None, audio_rate_hz=8000)
    assert next(iter(opened["camera"])).pixels.shape == (48, 64, 3)
    assert sum(len(chunk.samples) for chunk in opened["audio"]) == 8000


@pytest.mark.parametrize("item", ["text", (np.zeros(3, np.float32),), np.zeros((2, 2, 3), np.uint8)])
def test_other_things_of_a_program_are_refused(item):
    with pytest.raises(InputError, match="expected VideoFrame, or pairs"):
        list(from_packets([item], "camera"))


def test_a_generator_that_waits_is_a_live_source():
    def driver():
        yield AudioChunk(samples=np.zeros(160, np.float32), t_ns=1, rate_hz=16000)
        yield None
        yield np.zeros(160, np.float32), 2

    with Arrivals({"audio": live_from_packets(driver(), "audio", rate_hz=16000)}) as arrivals:
        assert [packet.t_ns for _, packet in arrivals] == [1, 2]


@pytest.mark.parametrize(
    ("camera", "audio", "told"),
    [
        ("paced:synthetic://", "synthetic://", "synthetic sound is a recording and the synthetic scene is live"),
        ("synthetic://", "mic://", "play the recording in real time: --camera paced:"),
        ("paced:camera://0", "mic://", "live already; leave out paced:"),
        ("mic://", "mic://", "mic: gives no pictures"),
        ("camera://0", "camera://0", "camera: gives no sound"),
        ("camera://0", None, "the model hears; give audio, e.g. mic://default"),
        ("camera://0?size=3", "mic://", "the option size is not known; expected width, height, rate_hz, fourcc"),
        ("camera://0", 7, "audio is a int; expected a path, a URI or an iterable"),
    ],
)
def test_what_does_not_fit_together_says_what_to_type(monkeypatch, camera, audio, told):
    monkeypatch.setitem(sys.modules, "sounddevice", object())  # a microphone is named here, and never opened
    with pytest.raises(InputError, match=told):
        open_sources(camera, audio, audio_rate_hz=16000)


def test_a_source_of_another_kind_is_refused():
    microphone = LiveSource("mic", "audio", lambda *_: None)
    with pytest.raises(InputError, match="mic gives audio, expected camera"):
        open_source(microphone, "camera")


def test_a_pipeline_without_gstreamer_says_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "gi", None)
    with pytest.raises(MissingLibraryError, match="apt install python3-gi"):
        open_source("gst:videotestsrc", "camera")


def test_flac_is_read_to_the_sample(tmp_path):
    soundfile, _ = pytest.importorskip("soundfile"), pytest.importorskip("av")
    sound = np.random.default_rng(1).integers(-20000, 20000, 5000).astype(np.int16)
    soundfile.write(tmp_path / "clip.flac", sound, 16000)
    found = np.concatenate([chunk.samples for chunk in open_source(tmp_path / "clip.flac", "audio")])
    assert np.array_equal(np.round(found * 32768).astype(np.int16), sound)
