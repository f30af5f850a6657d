"""Camera and microphone of recordings that are made up, with an offset and a drift that are known."""

import json
import wave
from fractions import Fraction

import numpy as np
import pytest

from mmedge.claps import measure_sync
from mmedge.errors import InputError
from mmedge.running import open_run
from mmedge.sources import TapeWriter, Track
from mmedge.sync import Sync, read_sync, shifted, write_sync
from mmedge.types import AudioChunk, VideoFrame

NS = 1_000_000_000
RATE_HZ = 16000
CAMERA_HZ = 30
START_NS = 123 * NS


def claps(seconds, seed=1):
    """Times at uneven intervals of one to three seconds."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(1, 3, round(seconds)))
    return times[times < seconds - 1]


def flash_pictures(times, seconds, *, length_s=0.1, small=False):
    """A drifting pattern, and a lamp in it."""
    rng = np.random.default_rng(3)
    pattern = rng.integers(60, 110, (96, 128, 3), np.uint8)
    for n in range(round(seconds * CAMERA_HZ)):
        t = n / CAMERA_HZ
        pixels = np.roll(pattern, n // 4, axis=1)
        if ((t >= times) & (t < times + length_s)).any():
            pixels[40:52, 60:76] = 255
        yield "camera", VideoFrame(pixels=pixels, t_ns=START_NS + round(t * NS))


def clapping_pictures(times, seconds):
    """Two hands that come together and stop there, then slowly part."""
    for n in range(round(seconds * CAMERA_HZ)):
        t = n / CAMERA_HZ
        after = times[times >= t]
        ahead = after[0] - t if len(after) else 9.0
        since = min((t - times[times < t]), default=9.0)
        gap = 200 * ahead if ahead < 0.2 else min(40.0, 40 * max(0.0, since - 0.3)) if since < 1.3 else 40.0
        pixels = np.full((96, 128, 3), 60, np.uint8)
        for x in (64 - round(gap) - 14, 64 + round(gap)):
            pixels[30:66, max(0, x) : x + 14] = 200
        yield "camera", VideoFrame(pixels=pixels, t_ns=START_NS + round(t * NS))


def clap_sound(times, seconds, *, offset_ms=0.0, ppm=0.0, noise=0.005, chunk=160):
    """Short bursts, as a microphone hears them whose times are late by an offset that grows."""
    rng = np.random.default_rng(4)
    sound = noise * rng.standard_normal(round(seconds * RATE_HZ))
    for time in times:
        heard = time + offset_ms / 1e3 + ppm * 1e-6 * (time - seconds / 2)
        first = max(0, round(heard * RATE_HZ))
        burst = rng.standard_normal(800) * np.exp(-np.arange(800) / 150)
        sound[first : first + 800] += 0.5 * burst[: max(0, len(sound) - first)]
    samples = sound.astype(np.float32)
    for n in range(0, len(samples), chunk):
        t_ns = START_NS + n * NS // RATE_HZ
        yield "audio", AudioChunk(samples=samples[n : n + chunk], t_ns=t_ns, rate_hz=RATE_HZ)


def measure(pictures, sound, **options):
    return measure_sync(sorted([*pictures, *sound], key=lambda pair: pair[1].available_ns), **options)


@pytest.mark.parametrize("offset_ms", [-180.0, 0.0, 12.5, 400.0])
def test_the_offset_of_flashes_is_found_within_two_standard_errors(offset_ms):
    times = claps(40)
    found = measure(flash_pictures(times, 40), clap_sound(times, 40, offset_ms=offset_ms))
    assert found.claps >= 17
    assert found.offset_error_ms < 3
    assert found.offset_ms == pytest.approx(offset_ms, abs=2 * found.offset_error_ms + 0.5)


def test_the_offset_of_clapping_hands_is_found():
    times = claps(40)
    found = measure(clapping_pictures(times, 40), clap_sound(times, 40, offset_ms=60))
    assert found.offset_ms == pytest.approx(60, abs=8)


@pytest.mark.parametrize("ppm", [-300.0, 300.0])
def test_a_drift_is_found_within_three_standard_errors(ppm):
    times = claps(120)
    found = measure(flash_pictures(times, 120), clap_sound(times, 120, offset_ms=50, ppm=ppm))
    assert found.drift_error_ppm < 50
    assert found.drift_ppm == pytest.approx(ppm, abs=3 * found.drift_error_ppm)
    assert found.offset_ms == pytest.approx(50, abs=3)


def test_knocks_that_nobody_sees_and_flashes_that_nobody_hears_do_no_harm():
    times = claps(40)
    rng = np.random.default_rng(9)
    heard = np.sort(np.concatenate([times[2:], rng.uniform(0, 39, 5)]))
    found = measure(flash_pictures(times, 40), clap_sound(heard, 40, offset_ms=30))
    assert found.offset_ms == pytest.approx(30, abs=6)


@pytest.mark.parametrize("few", [0, 1, 2])
def test_too_few_claps_are_refused(few):
    times = claps(20)[:few]
    with pytest.raises(InputError, match="no clear claps: .* at least 3 times"):
        measure(flash_pictures(times, 20), clap_sound(times, 20))


def test_sound_and_pictures_of_different_scenes_are_refused():
    with pytest.raises(InputError, match="no clear claps"):
        measure(flash_pictures(claps(20, seed=1), 20), clap_sound(claps(20, seed=2), 20), within_ms=300)


def test_claps_at_even_intervals_are_refused_where_they_fit_twice():
    times = np.arange(1, 19, 0.6)
    with pytest.raises(InputError, match="too regularly"):
        measure(flash_pictures(times, 20), clap_sound(times, 20))


def test_a_run_puts_the_sound_at_the_times_of_the_camera():
    sync = Sync(offset_ms=40, offset_error_ms=1, claps=9, at_s=10, drift_ppm=100, drift_error_ppm=1)
    frame = VideoFrame(pixels=np.zeros((2, 2, 3), np.uint8), t_ns=START_NS)
    chunks = [AudioChunk(samples=np.zeros(2, np.float32), t_ns=START_NS + s * NS, rate_hz=RATE_HZ) for s in (10, 20)]
    moved = [packet.t_ns - START_NS for _, packet in shifted([("c", frame), *(("a", c) for c in chunks)], sync)]
    assert moved == [0, 10 * NS - 40_000_000, 20 * NS - 41_000_000]
    live = [packet.t_ns - START_NS for _, packet in shifted([("a", c) for c in chunks], sync.of_live_sensors())]
    assert live == [10 * NS - 40_000_000, 20 * NS - 40_000_000]


def test_what_is_written_is_read_back(tmp_path):
    sync = Sync(offset_ms=-3.25, offset_error_ms=0.5, claps=4, at_s=7.5)
    write_sync(sync, tmp_path / "sync.json")
    assert read_sync(tmp_path / "sync.json") == sync
    assert [path.name for path in tmp_path.iterdir()] == ["sync.json"]


@pytest.mark.parametrize("text", ["", "{}", '{"offset_ms": "x"}', "[1]"])
def test_what_mmedge_has_not_written_is_refused(tmp_path, text):
    (tmp_path / "sync.json").write_text(text)
    with pytest.raises(InputError, match="was not written by mmedge sync"):
        read_sync(tmp_path / "sync.json")


def test_an_offset_of_minutes_is_refused():
    with pytest.raises(InputError, match="expected at most"):
        Sync(offset_ms=90_000, offset_error_ms=1, claps=3, at_s=1)


def write_tape(folder, *, offset_ms, seconds=20):
    times = claps(seconds)
    pairs = [*flash_pictures(times, seconds), *clap_sound(times, seconds, offset_ms=offset_ms)]
    tracks = {"camera": Track(modality="camera", source="c"), "audio": Track(modality="audio", source="m")}
    with TapeWriter(folder, tracks) as tape:
        for port, packet in sorted(pairs, key=lambda pair: pair[1].available_ns):
            tape.write(port, packet)


def test_the_command_keeps_the_result_where_a_run_of_the_recording_finds_it(mmedge_cli, model, tmp_path):
    folder = tmp_path / "tape"
    write_tape(folder, offset_ms=200)
    with open_run(model, recording=folder, tick="camera") as run:
        before = next(iter(run))
    ended = mmedge_cli("sync", folder)
    assert ended.status == 0, ended.err
    assert "ms later than its picture" in ended.out
    assert read_sync(folder / "sync.json").offset_ms == pytest.approx(200, abs=7)
    with open_run(model, recording=folder, tick="camera") as run:
        after = next(iter(run))
    assert after.age_ms["audio"] - before.age_ms["audio"] == pytest.approx(200, abs=7)


def test_the_command_measures_a_video_with_sound(mmedge_cli, tmp_path):
    """Offset and drift of an mp4 file, made by PyAV."""
    av = pytest.importorskip("av")
    times, seconds, path = claps(60), 60, tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=CAMERA_HZ, width=128, height=96, pix_fmt="yuv420p", bit_rate=800_000)
        audio = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        for _, frame in flash_pictures(times, seconds):
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame.pixels, format="rgb24")))
        samples = np.concatenate([c.samples for _, c in clap_sound(times, seconds, offset_ms=75, ppm=250)])
        sound = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
        container.mux(audio.encode(sound))
        for stream in (video, audio):
            container.mux(stream.encode(None))
    out = tmp_path / "sync.json"
    ended = mmedge_cli("sync", path, "-o", out, "--json")
    assert ended.status == 0, ended.err
    found = json.loads(ended.out)
    assert found["offset_ms"] == pytest.approx(75, abs=4)
    assert found["drift_ppm"] == pytest.approx(250, abs=3 * found["drift_error_ppm"])
    assert read_sync(out).offset_ms == found["offset_ms"]


def test_the_command_refuses_a_video_without_claps(mmedge_cli, clip, tmp_path):
    ended = mmedge_cli("sync", clip.video, "-o", tmp_path / "sync.json")
    assert ended.status == 1
    assert "no clear claps" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_sound_file_of_its_own_is_measured_against_the_video(mmedge_cli, tmp_path):
    times = claps(20)
    with wave.open(str(tmp_path / "clip.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        samples = np.concatenate([c.samples for _, c in clap_sound(times, 20, offset_ms=-30)])
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    cv2 = pytest.importorskip("cv2")
    for n, (_, frame) in enumerate(flash_pictures(times, 20)):
        cv2.imwrite(str(tmp_path / f"{n:06}.png"), frame.pixels)
    ended = mmedge_cli("sync", "--camera", f"images:{tmp_path}?rate_hz={CAMERA_HZ}", "--audio", tmp_path / "clip.wav")
    assert ended.status == 0, ended.err
    assert "ms earlier than its picture" in ended.out
    assert "drift: the claps are too few or too close together" in ended.out
