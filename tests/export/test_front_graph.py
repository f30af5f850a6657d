"""The front end as a graph gives what the runtime's front end gives, within bounds that follow from float32."""

import numpy as np
import onnx
import pytest
from mmedge_export.front_graph import FRONT_END, behind_front_end, features_of, front_end_model
from mmedge_export.front_tolerance import front_end_bounds
from onnx import helper
from onnx.reference import ReferenceEvaluator

from mmedge.backends.ort import OrtSession
from mmedge.errors import SpecError
from mmedge.features.audio import AudioFrontEnd
from mmedge.features.settings import AudioSettings, mel_settings

LIKE = helper.make_model(helper.make_graph([], "like", [], []), opset_imports=[helper.make_opsetid("", 20)])
LIKE.ir_version = 10
KNOWN_TO_TENSORRT = {
    *("Add", "Concat", "Conv", "Div", "Gather", "Log", "MatMul", "Max", "Mul", "ReduceMax", "ReduceSum", "Reshape"),
    *("Sqrt", "Sub", "Transpose"),
}
FRONT_ENDS = {
    "torchaudio": {},
    "torchaudio mfcc": {"coefficients": 13},
    "torchaudio padded with zeros": {"pad_mode": "constant", "n_fft": 512, "frame_length": 401, "hop_length": 160},
    "librosa": {"n_fft": 1024, "hop_length": 256},
    "librosa mfcc": {"n_fft": 1024, "coefficients": 13},
    "kaldi": {},
    "kaldi mfcc": {"coefficients": 13},
    "kaldi with energy": {"coefficients": 13, "energy": "frame"},
    "kaldi centred": {"center": True},
    "kaldi with gaps": {"hop_length": 700},
    "htk": {},
    "htk mfcc": {"coefficients": 13},
    "htk with energy": {"coefficients": 13, "energy": "frame"},
    "whisper": {},
    "python_speech_features": {},
    "python_speech_features mfcc": {"coefficients": 13},
    "python_speech_features without emphasis": {"preemphasis": 0.0, "coefficients": 13},
}


def audio(name, window=4000, **options):
    mel = mel_settings(name.split()[0], 16000, **FRONT_ENDS[name])
    known = {"layout": "TM", "features": "mfcc" if mel.coefficients else "log-mel", **options}
    return AudioSettings(rate_hz=16000, window_samples=window, hop_samples=320, mel=mel, **known)


def sounds(window=4000):
    """Speech-like noise that swells, digital silence with a click, a loud tone over nothing, an offset."""
    random = np.random.default_rng(5)
    noise = random.standard_normal(window) * np.linspace(1e-4, 0.3, window)
    click = np.zeros(window)
    click[window // 2] = 0.9
    tone = 0.9 * np.sin(2 * np.pi * 1000 * np.arange(window) / 16000)
    return [each.astype(np.float32) for each in (noise, click, tone, 0.5 + noise / 10)]


def computed(model, samples):
    session = OrtSession(model.SerializeToString(), threads=1, name="front end")
    return session.run({"sound": samples[None]})[model.graph.output[0].name][0]


def assert_within_bounds(made, samples, settings):
    bounds, host = front_end_bounds(samples, settings), AudioFrontEnd(settings).window(samples)
    assert made.shape == bounds.values.shape == settings.shape
    np.testing.assert_array_less(np.abs(host - bounds.values), bounds.radius)
    np.testing.assert_array_less(np.abs(made.astype(np.float64) - bounds.values), bounds.radius)


@pytest.mark.parametrize("name", FRONT_ENDS)
@pytest.mark.parametrize("window", [4000, 3777])
def test_the_graph_gives_what_the_host_gives_within_the_bounds_of_float32(name, window):
    settings = audio(name, window)
    model = front_end_model("sound", settings, LIKE)
    for samples in sounds(window):
        assert_within_bounds(computed(model, samples), samples, settings)


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_on_sound_without_silence_the_bounds_are_narrow(name):
    samples = np.random.default_rng(5).uniform(-0.5, 0.5, 4000).astype(np.float32)
    bounds = front_end_bounds(samples, audio(name))
    assert np.median(bounds.radius) < 1e-3 * np.abs(bounds.values).max()
