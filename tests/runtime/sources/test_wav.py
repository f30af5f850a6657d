import gc
import struct
import tempfile
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmedge.errors import ClosedError, InputError, ShortSourceError, SourceError
from mmedge.sources import open_wav

NOISE = np.random.default_rng(0).uniform(-1, 1, 4321)
# dtype on disk, full scale, bits, format tag
FORMATS = {
    "pcm8": ("u1", 128, 8, 1),
    "pcm16": ("<i2", 2**15, 16, 1),
    "pcm24": ("<i4", 2**23, 24, 1),
    "pcm32": ("<i4", 2**31, 32, 1),
    "float32": ("<f4", 1, 32, 3),
    "float64": ("<f8", 1, 64, 3),
}


def to_disk(samples, kind):
    dtype, scale, bits, _ = FORMATS[kind]
    if bits == 8:
        return np.floor(samples * 127 + 128).astype("u1")
    return (samples * (scale - 1 if scale > 1 else 1)).astype(dtype)


def whole(source):
    return np.concatenate([chunk.samples for chunk in source])


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_becomes_floats_of_one_channel(write_wav, kind, channels, extensible):
    _, scale, bits, tag = FORMATS[kind]
    stored = to_disk(NOISE[: 1440 * channels].reshape(-1, channels), kind)
    path = write_wav(stored if channels > 1 else stored[:, 0], tag=tag, bits=bits, extensible=extensible)
    with open_wav(path) as source:
        samples = whole(source)
    expected = (stored.astype(np.float64) - (128 if bits == 8 else 0)) / scale
    assert samples.dtype == np.float32
    # 2 float32 roundings: of the sample, and of the mean
    np.testing.assert_allclose(samples, expected.mean(axis=1), atol=2**-23)
    assert source.notes == ([] if channels == 1 else [f"clip.wav: {channels} channels averaged to one"])


@pytest.mark.parametrize("kind", FORMATS)
def test_samples_are_those_of_libsndfile(write_wav, kind):
    soundfile = pytest.importorskip("soundfile")
    _, _, bits, tag = FORMATS[kind]
    path = write_wav(to_disk(NOISE, kind), tag=tag, bits=bits, extensible=kind == "pcm24")
    with open_wav(path) as source:
        np.testing.assert_array_equal(whole(source), soundfile.read(path, dtype="float32")[0])


def test_file_of_the_standard_library_is_read(tmp_path):
    path = tmp_path / "clip.wav"
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes(np.arange(-50, 51, dtype="<i2").tobytes())
    with open_wav(path) as source:
        np.testing.assert_array_equal(whole(source) * 2**15, np.arange(-50, 51))
    assert (source.rate_hz, source.duration_ns) == (8000, 101 * 125_000)


def test_times_are_counted_in_samples(write_wav):
    with open_wav(write_wav(NOISE.astype("<f4"), tag=3, bits=32, rate_hz=11025)) as source:
        chunks = list(source)
    assert {len(chunk.samples) for chunk in chunks[:-1]} == {220}  # 20 ms are 220.5 samples
    assert [chunk.t_ns for chunk in chunks] == [n * 220 * 10**9 // 11025 for n in range(len(chunks))]
    assert chunks[-1].end_ns == pytest.approx(source.duration_ns, abs=1)  # rounded down twice


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(1, 2000), chunk_ms=st.integers(1, 400), kind=st.sampled_from(sorted(FORMATS)))
def test_chunks_of_any_size_put_together_are_the_file(write_wav, length, chunk_ms, kind):
    _, _, bits, tag = FORMATS[kind]
    path = write_wav(to_disk(NOISE[: 2 * length].reshape(length, 2), kind), tag=tag, bits=bits, rate_hz=8000)
    with open_wav(path, chunk_ms=chunk_ms) as source, open_wav(path, chunk_ms=10_000) as at_once:
        np.testing.assert_array_equal(whole(source), whole(at_once))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(1, 4000), chunk_ms=st.integers(1, 300), rate_hz=st.sampled_from([8000, 11025, 44100, 48000]))
def test_resampled_chunks_of_any_size_are_the_file_resampled_at_once(write_wav, length, chunk_ms, rate_hz):
    soxr = pytest.importorskip("soxr")
    stored = NOISE[:length].astype("<f4")
    with open_wav(write_wav(stored, tag=3, bits=32, rate_hz=rate_hz), 16000, chunk_ms) as source:
        chunks = list(source)
    expected = soxr.resample(stored, rate_hz, 16000, quality="HQ")
    # The same filter over the same samples in other block lengths: float32 sums in another order.
    np.testing.assert_allclose(np.concatenate([chunk.samples for chunk in chunks] or [stored[:0]]), expected, atol=1e-6)
    starts = np.cumsum([0] + [len(chunk.samples) for chunk in chunks])[:-1]
    assert [chunk.t_ns for chunk in chunks] == (starts * 62_500).tolist()


@pytest.mark.parametrize("rate_hz", [8000, 11025, 22050, 44100, 48000, 96000])
def test_resampling_moves_nothing_in_time(write_wav, rate_hz):
    pytest.importorskip("soxr")
    position = rate_hz // 2 + 7
    stored = np.zeros(rate_hz, "<f4")
    stored[position] = 1
    with open_wav(write_wav(stored, tag=3, bits=32, rate_hz=rate_hz), 16000) as source:
        samples = whole(source)
    assert source.notes == [f"clip.wav: resampled from {rate_hz} to 16000 Hz"]
    # The slope of the phase of an impulse is its position, to a fraction of a sample.
    spectrum, hz = np.fft.rfft(samples), np.fft.rfftfreq(len(samples), 1 / 16000)
    band = (hz > 100) & (hz < 2000)
    phase = np.unwrap(np.angle(spectrum * np.exp(2j * np.pi * hz * position / rate_hz)))
    delay_s = -np.polyfit(2 * np.pi * hz[band], phase[band], 1)[0]
    assert abs(delay_s) < 100e-9  # measured: below 1 ns


def test_other_rate_without_soxr_is_refused_with_both_ways_out(write_wav):
    try:
        import soxr  # noqa: F401
    except ImportError:
        path = write_wav(NOISE.astype("<f4"), tag=3, bits=32, rate_hz=44100)
        with pytest.raises(
            SourceError, match=r"is 44100 Hz, the model expects 16000 Hz; pip install 'mmedge\[resample\]'"
        ):
            open_wav(path, 16000)
    else:
        pytest.skip("soxr is installed")


def test_cut_off_file_is_read_to_its_end_then_refused(write_wav):
    path = write_wav(to_disk(NOISE, "pcm16"), declared=16000)
    chunks = []
    with open_wav(path) as source:
        with pytest.raises(ShortSourceError, match=r"cut off: it ends at 0\.27 s of 0\.50 s; .*--allow-short"):
            chunks.extend(source)
        assert sum(len(chunk.samples) for chunk in chunks) == 4321
        assert list(source) == []  # said once
        assert source.duration_ns == 4321 * 62_500


def test_odd_bytes_at_the_end_are_left_out(write_wav):
    path = write_wav(to_disk(NOISE[:1000].reshape(-1, 2), "pcm16"))
    path.write_bytes(path.read_bytes()[:-3])
    chunks = []
    with open_wav(path) as source, pytest.raises(ShortSourceError):
        chunks.extend(source)
    assert sum(len(chunk.samples) for chunk in chunks) == 499


@pytest.mark.parametrize("declared", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_recorder_that_never_wrote_the_length_is_read_to_the_end(write_wav, declared):
    with open_wav(write_wav(to_disk(NOISE, "pcm16"), declared=declared)) as source:
        assert len(whole(source)) == 4321
    assert "does not say how long it is" in source.notes[0]


def test_other_chunks_are_skipped_even_of_odd_length(write_wav):
    path = write_wav(to_disk(NOISE, "pcm16"), before=b"LIST" + struct.pack("<I", 5) + b"abcde\0")
    path.write_bytes(path.read_bytes() + b"LIST" + struct.pack("<I", 4) + b"tail")
    with open_wav(path) as source:
        assert len(whole(source)) == 4321


def test_rf64_takes_its_length_from_ds64(write_wav):
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 0, 2 * 4000, 0, 0)
    path = write_wav(to_disk(NOISE, "pcm16"), before=ds64, declared=0xFFFFFFFF)
    path.write_bytes(b"RF64" + path.read_bytes()[4:])
    with open_wav(path) as source:
        assert len(whole(source)) == 4000


FORM = struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"ID3\x03 an mp3 by another name", "is not a WAV file"),
        (b"RIFF\0\0\0\0WAVE", "no data chunk"),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + FORM[:7], "no data chunk"),
        (b"RIFF\0\0\0\0WAVEdata\x04\0\0\0abcd", "no fmt chunk"),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + FORM + b"data\0\0\0\0", "0 samples"),
        (b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 5000, "no data chunk"),
        (b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\xff", "no data chunk"),
    ],
)
def test_what_is_no_wav_is_refused_in_one_line(tmp_path, content, text):
    path = tmp_path / "clip.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=text) as caught:
        open_wav(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (struct.pack("<HHIIHH", 7, 1, 8000, 8000, 1, 8), "8-bit mu-law"),
        (struct.pack("<HHIIHH", 0x1234, 1, 8000, 8000, 1, 8), "format 0x1234"),
        (struct.pack("<HHIIHH", 1, 0, 8000, 8000, 2, 16), "damaged header"),
        (struct.pack("<HHIIHH", 1, 1, 0, 8000, 2, 16), "damaged header"),
        (struct.pack("<HHIIHH", 1, 2, 8000, 8000, 2, 16), "damaged header"),
        (struct.pack("<HHIIHH", 1, 60000, 8000, 8000, 54464, 16), "damaged header"),
    ],
)
def test_header_that_cannot_be_is_refused(tmp_path, form, text):
    path = tmp_path / "clip.wav"
    path.write_bytes(b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + form + b"data\x08\0\0\0abcdefgh")
    with pytest.raises(SourceError, match=text):
        open_wav(path)


@settings(max_examples=200, deadline=None)
@given(head=st.binary(max_size=60))
def test_hostile_headers_are_refused_or_read_never_more(head):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.wav"
        path.write_bytes(b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + head)
        try:
            with open_wav(path) as source:
                list(source)
        except SourceError:
            pass


def test_chunk_length_must_be_positive(write_wav):
    with pytest.raises(InputError, match="chunk_ms is 0"):
        open_wav(write_wav(to_disk(NOISE, "pcm16")), chunk_ms=0)


def test_refused_file_is_not_left_open(write_wav):
    path = write_wav(to_disk(NOISE, "pcm16"))
    with pytest.raises(InputError):
        open_wav(path, chunk_ms=-1)
    gc.collect()  # a file left open is a ResourceWarning, and warnings are errors


def test_closed_file_says_so(write_wav):
    source = open_wav(write_wav(to_disk(NOISE, "pcm16")))
    next(source)
    source.close()
    source.close()
    with pytest.raises(ClosedError, match=r"clip\.wav is closed"):
        next(source)
