"""A stream in any chunks gives what the whole window gives."""

import gc
from weakref import ref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from mmedge.errors import InputError
from mmedge.features.audio import AudioFrontEnd, log_mel
from mmedge.features.settings import AudioSettings, mel_settings

FRONT_ENDS = {
    "waveform": None,
    "torchaudio": {},
    "torchaudio zero padded": {"pad_mode": "constant", "n_fft": 512, "frame_length": 401, "hop_length": 160},
    "torchaudio mfcc": {"coefficients": 13},
    "torchaudio not centred": {"center": False},
    "librosa": {"n_fft": 1024, "hop_length": 256},
    "librosa mfcc": {"coefficients": 13, "n_fft": 1024},
    "librosa with more edges than are computed at once": {"n_fft": 2048, "hop_length": 160},
    "kaldi": {},
    "kaldi centred": {"center": True, "pad_mode": "constant"},
    "kaldi mfcc": {"coefficients": 13, "energy": "frame"},
    "kaldi with gaps": {"hop_length": 700},
    "htk mfcc": {"coefficients": 13},
    "whisper": {},
    "python_speech_features": {},
    "python_speech_features mfcc": {"coefficients": 13},
}


def _audio(name, window=4000, **options):
    constants = FRONT_ENDS[name]
    if constants is None:
        return AudioSettings(rate_hz=16000, window_samples=window, hop_samples=160, **{"layout": "N", **options})
    mel = mel_settings(name.split()[0], 16000, **constants)
    features = "mfcc" if mel.coefficients else "log-mel"
    known = {"layout": "TM", "features": features, **options}
    return AudioSettings(rate_hz=16000, window_samples=window, hop_samples=160, mel=mel, **known)


@pytest.mark.parametrize("name", FRONT_ENDS)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    chunks=st.lists(st.sampled_from([0, 1, 7, 160, 161, 480, 999, 4000, 9001]), min_size=12, max_size=24),
    window=st.sampled_from([4000, 3777, 1601]),
    seed=st.integers(0, 9),
)
def test_a_stream_equals_the_whole_window_to_the_last_bit(name, chunks, window, seed):
    front_end = AudioFrontEnd(_audio(name, window))
    samples = np.random.default_rng(seed).standard_normal(sum(chunks)).astype(np.float32)
    out = np.empty(front_end.settings.shape, np.float32)
    start = 0
    for chunk in chunks:
        front_end.push(samples[start : start + chunk])
        start += chunk
        assert front_end.ready == (start >= window)
        if front_end.ready:
            end = front_end.window_end
            front_end.write(out)
            assert_array_equal(out, front_end.window(samples[end - window : end]))


@pytest.mark.parametrize("name", ["kaldi", "librosa", "torchaudio mfcc"])
@pytest.mark.parametrize("layout", ["MT", "TCM"])
def test_a_stream_equals_the_whole_window_in_every_layout(name, layout, sound):
    front_end = AudioFrontEnd(_audio(name, layout=layout, mean=(0.5,), std=(4.0,)))
    hop = front_end.step
    out = np.empty(front_end.settings.shape, np.float32)
    front_end.push(sound[:4000])
    for start in range(hop, 60 * hop, hop):
        front_end.push(sound[start + 4000 - hop : start + 4000])
        front_end.write(out)
        assert_array_equal(out, front_end.window(sound[start : start + 4000]))


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_the_newest_window_ends_less_than_a_hop_behind_the_newest_sample(name):
    front_end = AudioFrontEnd(_audio(name, 4003))
    hop = front_end.settings.mel.hop_length if front_end.settings.mel else 1
    front_end.push(np.zeros(4002, np.float32))
    assert not front_end.ready
    assert front_end.window_end == 0
    for _ in range(1500):
        front_end.push(np.zeros(1, np.float32))
        assert 0 <= front_end.seen - front_end.window_end < hop
        assert (front_end.window_end - 4003) % hop == 0


def test_windows_end_on_multiples_of_the_hop_when_they_are_whole_hops_long():
    front_end = AudioFrontEnd(_audio("kaldi", 4000))
    front_end.push(np.zeros(5000, np.float32))
    assert front_end.window_end == 4960


@pytest.mark.parametrize("layout", ["TM", "MT", "CMT", "TMC", "MCT"])
def test_features_lie_in_the_layout_of_the_port(layout, sound):
    plain, port = _audio("kaldi"), _audio("kaldi", layout=layout)
    expected = AudioFrontEnd(plain).window(sound[:4000])
    result = AudioFrontEnd(port).window(sound[:4000])
    assert result.shape == port.shape
    assert_array_equal(result.transpose([layout.index(a) for a in "CTM" if a in layout]).reshape(plain.shape), expected)


@pytest.mark.parametrize("layout", ["N", "CN", "NC"])
def test_a_waveform_is_the_samples_themselves(layout, sound):
    front_end = AudioFrontEnd(_audio("waveform", layout=layout))
    assert_array_equal(front_end.window(sound[:4000]).ravel(), sound[:4000])


@pytest.mark.parametrize("name", ["waveform", "kaldi", "whisper"])
def test_mean_and_std_are_applied_last(name, sound):
    plain = AudioFrontEnd(_audio(name)).window(sound[:4000])
    normalised = AudioFrontEnd(_audio(name, mean=(0.5,), std=(4.0,)))
    assert_array_equal(normalised.window(sound[:4000]), (plain - np.float32(0.5)) / np.float32(4))
    normalised.push(sound[:4000])
    out = np.empty(normalised.settings.shape, np.float32)
    normalised.write(out)
    assert_array_equal(out, normalised.window(sound[:4000]))


def test_mean_and_std_may_differ_from_bin_to_bin(sound):
    mean, std = tuple(np.arange(23.0)), tuple(np.arange(1, 24.0))
    plain = log_mel(sound[:4000], mel_settings("kaldi", 16000))
    front_end = AudioFrontEnd(_audio("kaldi", mean=mean, std=std, layout="MT"))
    expected = (plain - np.array(mean, np.float32)) / np.array(std, np.float32)
    assert_array_equal(front_end.window(sound[:4000]), expected.T)


def test_the_tensor_may_be_a_strided_view(sound):
    front_end = AudioFrontEnd(_audio("kaldi", layout="CMT"))
    front_end.push(sound[:4000])
    buffer = np.zeros((2, *front_end.settings.shape[::-1]), np.float32)
    front_end.write(buffer[1].T)
    assert_array_equal(buffer[1].T, front_end.window(sound[:4000]))
    assert not buffer[0].any()


def test_writing_twice_gives_the_same(sound):
    front_end = AudioFrontEnd(_audio("torchaudio mfcc"))
    front_end.push(sound[:6000])
    first, second = np.empty((2, *front_end.settings.shape), np.float32)
    front_end.write(first)
    front_end.write(second)
    assert_array_equal(first, second)


def test_reset_forgets_everything(sound):
    front_end = AudioFrontEnd(_audio("kaldi"))
    front_end.push(sound[:9000])
    front_end.reset()
    assert (front_end.seen, front_end.window_end, front_end.ready) == (0, 0, False)
    front_end.push(sound[100:4100])
    out = np.empty(front_end.settings.shape, np.float32)
    front_end.write(out)
    assert_array_equal(out, front_end.window(sound[100:4100]))


def test_a_front_end_is_freed_without_the_collector(sound):
    front = AudioFrontEnd(_audio("kaldi"))
    front.push(sound)
    before = ref(front)
    gc.disable()
    try:
        del front
        assert before() is None
    finally:
        gc.enable()


def test_a_nan_leaves_with_its_window(sound):
    front_end = AudioFrontEnd(_audio("kaldi"))
    broken = sound[:12000].copy()
    broken[3000] = np.nan
    out = np.empty(front_end.settings.shape, np.float32)
    front_end.push(broken[:4000])
    front_end.write(out)
    assert np.isnan(out).any()
    front_end.push(broken[4000:])
    front_end.write(out)
    assert np.isfinite(out).all()


def test_samples_are_not_changed_and_may_be_strided(sound):
    front_end = AudioFrontEnd(_audio("kaldi"))
    stereo = np.stack([sound[:4000], sound[4000:8000]], axis=1)
    before = stereo.copy()
    assert_array_equal(front_end.window(stereo[:, 0]), front_end.window(sound[:4000]))
    assert_array_equal(stereo, before)


def test_writing_before_a_window_is_complete_is_refused():
    front_end = AudioFrontEnd(_audio("kaldi"))
    with pytest.raises(InputError, match="0 samples are less than a window of 4000"):
        front_end.write(np.empty(front_end.settings.shape, np.float32))


@pytest.mark.parametrize("samples", [np.zeros((2, 100), np.float32), np.zeros(100, np.int16), np.zeros(100)])
def test_other_samples_than_float32_of_one_channel_are_refused(samples):
    front_end = AudioFrontEnd(_audio("kaldi"))
    with pytest.raises(InputError, match=r"samples are \[N\] float32"):
        front_end.push(samples)
    with pytest.raises(InputError, match=r"samples are \[N\] float32"):
        front_end.window(samples)


def test_a_window_of_another_length_is_refused():
    with pytest.raises(InputError, match="a window has 4000 samples, not 3999"):
        AudioFrontEnd(_audio("kaldi")).window(np.zeros(3999, np.float32))


def test_a_tensor_of_another_shape_is_refused(sound):
    front_end = AudioFrontEnd(_audio("kaldi"))
    front_end.push(sound[:4000])
    with pytest.raises(InputError, match="float32"):
        front_end.write(np.empty((3, 4), np.float32))
    with pytest.raises(InputError, match="float64"):
        front_end.write(np.empty(front_end.settings.shape))


def test_a_recording_too_short_to_reflect_is_refused():
    with pytest.raises(InputError, match="too few to reflect"):
        log_mel(np.zeros(100, np.float32), mel_settings("whisper", 16000))
