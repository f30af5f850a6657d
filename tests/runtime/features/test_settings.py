import numpy as np
import pytest

from mmedge.errors import SpecError
from mmedge.features.filters import mel_weights
from mmedge.features.settings import AudioSettings, CameraSettings, MelSettings, mel_settings
from mmedge.records import from_plain, to_plain

CONVENTIONS = ["torchaudio", "librosa", "kaldi", "htk", "python_speech_features"]


@pytest.mark.parametrize(
    ("convention", "rate_hz", "frame", "hop", "n_fft", "mels"),
    [
        ("torchaudio", 8000, 400, 200, 400, 128),
        ("librosa", 22050, 2048, 512, 2048, 128),
        ("kaldi", 16000, 400, 160, 512, 23),
        ("kaldi", 22050, 551, 220, 1024, 23),
        ("htk", 8000, 200, 80, 256, 26),
        ("whisper", 16000, 400, 160, 400, 80),
        ("python_speech_features", 16000, 400, 160, 512, 26),
        ("python_speech_features", 11025, 276, 110, 512, 26),
    ],
)
def test_a_convention_has_the_sizes_of_its_toolkit(convention, rate_hz, frame, hop, n_fft, mels):
    made = mel_settings(convention, rate_hz)
    assert (made.frame_length, made.hop_length, made.n_fft, made.mels) == (frame, hop, n_fft, mels)


@pytest.mark.parametrize(
    ("convention", "samples", "frames"),
    [
        ("kaldi", 399, 0),
        ("kaldi", 400, 1),
        ("kaldi", 16000, 98),
        ("torchaudio", 16000, 81),
        ("librosa", 16000, 32),
        ("whisper", 480000, 3000),
        ("python_speech_features", 100, 1),
        ("python_speech_features", 16000, 99),
        ("python_speech_features", 0, 0),
    ],
)
def test_a_convention_makes_as_many_frames_as_its_toolkit(convention, samples, frames):
    assert mel_settings(convention, 16000).frames_in(samples) == frames


def test_what_a_toolkit_derives_follows_an_override():
    assert mel_settings("kaldi", 16000, frame_length=640).n_fft == 1024
    assert mel_settings("torchaudio", 16000, n_fft=1024).hop_length == 512
    assert mel_settings("librosa", 16000, n_fft=512).frame_length == 512


def test_mfcc_have_their_own_constants():
    assert mel_settings("kaldi", 16000, coefficients=13).lifter == 22
    assert mel_settings("python_speech_features", 16000, coefficients=13).energy == "spectrum"
    assert mel_settings("torchaudio", 16000, coefficients=13).log == "db"
    assert mel_settings("htk", 16000, coefficients=13).values == 13


@pytest.mark.parametrize(
    ("convention", "coefficients"), [("whisper", 0), *((name, count) for name in CONVENTIONS for count in (0, 13))]
)
def test_settings_survive_the_manifest(convention, coefficients):
    made = mel_settings(convention, 16000, coefficients=coefficients)
    assert from_plain(MelSettings, to_plain(made)) == made


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_slaney_norm_gives_filters_of_unit_area(scale):
    made = mel_settings("librosa", 16000, n_fft=1 << 15, mel_scale=scale)
    areas = mel_weights(made).sum(axis=1) * 16000 / made.n_fft
    np.testing.assert_allclose(areas, 1, rtol=1e-3)  # the narrowest filter spans 70 bins


@pytest.mark.parametrize("options", [{"triangles": "mel"}, {"triangles": "hz"}, {"triangles": "bins"}])
def test_neighbouring_filters_add_up_to_one_between_the_outer_ones(options):
    weights = mel_weights(mel_settings("kaldi", 16000, n_fft=4096, mels=20, low_hz=100.0, high_hz=7000.0, **options))
    first, last = weights[0].argmax(), weights[-1].argmax()
    np.testing.assert_allclose(weights[:, first + 1 : last].sum(axis=0), 1, rtol=1e-12)


@pytest.mark.parametrize(
    ("convention", "options", "message"),
    [
        ("mel", {}, "convention = 'mel' is not one of torchaudio, librosa"),
        ("kaldi", {"n_mels": 64}, "n_mels is no constant of a mel front end; expected frame_length"),
        ("kaldi", {"mels": "64"}, "mels is str '64', expected int"),
        ("kaldi", {"frame_length": 25.0}, "frame_length = 25.0 is not a whole number"),
        ("kaldi", {"window": "blackman"}, "window is 'blackman', expected one of"),
        ("kaldi", {"frame_length": 600, "n_fft": 512}, "frame_length = 600 is longer than n_fft = 512"),
        ("kaldi", {"n_fft": 511}, "n_fft = 511 is not an even number"),
        ("kaldi", {"hop_length": 0}, "must be positive"),
        ("kaldi", {"floor": float("inf")}, "must be positive"),
        ("kaldi", {"high_hz": 9000.0}, "do not fit 16000 Hz"),
        ("kaldi", {"power": 3}, "power = 3.0 is not 1"),
        ("kaldi", {"preemphasis": 1.5}, "preemphasis = 1.5 is not in 0..1"),
        ("kaldi", {"coefficients": 24}, "coefficients = 24 do not fit 23 mel filters"),
        ("kaldi", {"top_db": float("nan")}, "not finite"),
        ("kaldi", {"lifter": 22}, "lifter belongs to MFCC"),
        ("kaldi", {"mel_norm": "slaney"}, "kaldi: triangles that are not linear in hz"),
        ("kaldi", {"last_frame": "padded"}, "kaldi: a padded last frame"),
        ("librosa", {"preemphasis": 0.97, "preemphasis_over": "window"}, "librosa: pre-emphasis over the window"),
        ("librosa", {"coefficients": 13, "lifter": 22}, "librosa's lifter"),
        ("whisper", {"coefficients": 13}, "whisper: MFCC"),
    ],
)
def test_what_no_toolkit_defines_is_refused(convention, options, message):
    with pytest.raises(SpecError, match=message):
        mel_settings(convention, 16000, **options)


@pytest.mark.parametrize("rate_hz", [8000, 44100])
def test_whisper_is_refused_at_other_rates(rate_hz):
    with pytest.raises(SpecError, match="whisper is defined at 16000 Hz only"):
        mel_settings("whisper", rate_hz)


@pytest.mark.parametrize("rate_hz", [0, -16000, 16000.0])
def test_a_sample_rate_that_is_none_is_refused(rate_hz):
    with pytest.raises(SpecError):
        mel_settings("kaldi", rate_hz)


KALDI = mel_settings("kaldi", 16000)
WHISPER = mel_settings("whisper", 16000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "log-mel", "layout": "TM"}, "need mel constants"),
        ({"mel": KALDI}, "take no mel constants"),
        ({"features": "mfcc", "layout": "TM", "mel": KALDI}, "does not fit coefficients = 0"),
        ({"features": "log-mel", "layout": "TM", "mel": KALDI, "rate_hz": 8000}, "do not fit sound of 8000 Hz"),
        ({"features": "log-mel", "layout": "N", "mel": KALDI}, "layout = 'N' does not fit log-mel"),
        ({"features": "log-mel", "layout": "TM", "mel": KALDI, "window_samples": 399}, "shorter than one frame"),
        ({"features": "log-mel", "layout": "TM", "mel": WHISPER, "window_samples": 200}, "too short to reflect"),
        ({"features": "log-mel", "layout": "TM", "mel": KALDI, "mean": (0.0, 1.0)}, "mean has 2 values, expected 1"),
        ({"std": (0.0,)}, "divide by zero"),
        ({"std": (float("nan"),)}, "not finite"),
        ({"window_samples": 1 << 40}, "larger than"),
    ],
)
def test_audio_settings_that_do_not_fit_are_refused(options, message):
    with pytest.raises(SpecError, match=message):
        AudioSettings(**{"rate_hz": 16000, "window_samples": 16000, "hop_samples": 320, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"color": "grey"}, "color = 'grey' is not one of rgb, bgr, gray"),
        ({"layout": "HW"}, "it needs each of CHW once"),
        ({"layout": "CHW", "frames": 4}, "it needs each of CHTW once"),
        ({"layout": "CCHW"}, "layout = 'CCHW'"),
        ({"mean": (0.5, 0.5)}, "mean has 2 values, expected 1 or 3"),
        ({"std": (1.0, 0.0, 1.0)}, "divide by zero"),
        ({"scale": 0.0}, "scale must be positive"),
        ({"rate_hz": -1.0}, "negative"),
        ({"pad_value": 256}, "pad_value = 256"),
        ({"width_px": 1 << 30}, "larger than"),
    ],
)
def test_camera_settings_that_do_not_fit_are_refused(options, message):
    with pytest.raises(SpecError, match=message):
        CameraSettings(**{"width_px": 32, "height_px": 24, **options})
