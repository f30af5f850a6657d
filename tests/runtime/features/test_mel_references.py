"""Every convention against the toolkit that it is named after, or against its formulas written down again."""

import struct
import wave

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mmedge.features.audio import log_mel
from mmedge.features.settings import mel_settings

KALDI_OPTIONS = [
    {"mels": 64},
    {"window": "hamming", "low_hz": 0.0, "remove_dc": False, "preemphasis": 0.0},
    {"window": "hann_symmetric", "power": 1.0, "high_hz": 3500.0},
    {"window": "rectangular", "sample_scale": 32768.0},
]


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 44100])
@pytest.mark.parametrize("options", KALDI_OPTIONS, ids=lambda options: options.get("window", "povey"))
def test_kaldi_log_mel_is_what_kaldi_native_fbank_computes(sound, rate_hz, options):
    knf = pytest.importorskip("kaldi_native_fbank")
    ours = mel_settings("kaldi", rate_hz, **options)
    theirs = knf.FbankOptions()
    theirs.use_power = ours.power == 2
    result = _kaldi(knf.OnlineFbank, theirs, ours, sound)
    # Kaldi works in float32: 1e-4 from its transform, and up to 7e-4 where the only bin under a filter lies so close to
    # the filter's corner that the rounding of the corner shows in its weight.
    assert_allclose(log_mel(sound, ours), result, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "options",
    [{"coefficients": 13}, {"coefficients": 20, "mels": 40, "lifter": 0}, {"coefficients": 13, "energy": "frame"}],
)
def test_kaldi_mfcc_is_what_kaldi_native_fbank_computes(sound, options):
    knf = pytest.importorskip("kaldi_native_fbank")
    ours = mel_settings("kaldi", 16000, **options)
    theirs = knf.MfccOptions()
    theirs.num_ceps, theirs.cepstral_lifter = ours.coefficients, ours.lifter
    theirs.use_energy = ours.energy == "frame"
    result = _kaldi(knf.OnlineMfcc, theirs, ours, sound)
    # float32 noise of 1e-4 in the log-mel values, times the lifter's 12.
    assert_allclose(log_mel(sound, ours), result, rtol=0, atol=1e-3)


def _kaldi(online, options, settings, sound):
    options.frame_opts.dither = 0
    options.frame_opts.samp_freq = settings.rate_hz
    options.frame_opts.window_type = {"hann_symmetric": "hanning"}.get(settings.window, settings.window)
    options.frame_opts.remove_dc_offset = settings.remove_dc
    options.frame_opts.preemph_coeff = settings.preemphasis
    options.mel_opts.num_bins = settings.mels
    options.mel_opts.low_freq, options.mel_opts.high_freq = settings.low_hz, settings.high_hz
    features = online(options)
    features.accept_waveform(settings.rate_hz, (sound * settings.sample_scale).tolist())
    features.input_finished()
    return np.stack([features.get_frame(frame) for frame in range(features.num_frames_ready)])


@pytest.mark.parametrize("rate_hz", [16000, 22050])
def test_librosa_log_mel_is_what_librosa_computes(sound, rate_hz):
    librosa = pytest.importorskip("librosa")
    theirs = librosa.power_to_db(librosa.feature.melspectrogram(y=sound, sr=rate_hz)).T
    # dB; librosa works in float32.
    assert_allclose(log_mel(sound, mel_settings("librosa", rate_hz)), theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("center", [True, False])
def test_librosa_options_follow_librosa(sound, center):
    librosa = pytest.importorskip("librosa")
    ours = mel_settings(
        "librosa",
        16000,
        n_fft=512,
        frame_length=401,
        hop_length=160,
        mels=64,
        power=1.0,
        center=center,
        pad_mode="reflect",
        mel_scale="htk",
        mel_norm="none",
        high_hz=4000.0,
    )
    frames = {"n_fft": 512, "win_length": 401, "hop_length": 160, "center": center, "pad_mode": "reflect"}
    filters = {"n_mels": 64, "htk": True, "norm": None, "fmax": 4000}
    theirs = librosa.power_to_db(librosa.feature.melspectrogram(y=sound, sr=16000, power=1, **frames, **filters)).T
    assert_allclose(log_mel(sound, ours), theirs, rtol=0, atol=1e-4)


def test_librosa_mfcc_is_what_librosa_computes(sound):
    librosa = pytest.importorskip("librosa")
    theirs = librosa.feature.mfcc(y=sound, sr=22050, n_mfcc=20).T
    # Values reach 650: 1e-3 is float32's rounding of sums of 128 values in dB.
    assert_allclose(log_mel(sound, mel_settings("librosa", 22050, coefficients=20)), theirs, rtol=0, atol=1e-3)


def _cosine_transform(logs, coefficients):
    """The orthonormal transform of type II, one coefficient after the other."""
    mels = logs.shape[1]
    angles = [[np.pi * c * (2 * m + 1) / (2 * mels) for m in range(mels)] for c in range(coefficients)]
    cepstra = logs.astype(np.float64) @ np.cos(angles).T * np.sqrt(2 / mels)
    cepstra[:, 0] /= np.sqrt(2)
    return cepstra


def _torch_mel(sound, filters, n_fft, hop, window):
    """Mel powers [M, T] as torchaudio and Whisper get them: torch.stft, then a matrix product."""
    torch = pytest.importorskip("torch")
    transform = torch.stft(
        torch.from_numpy(sound), n_fft, hop, win_length=window, window=torch.hann_window(window), return_complex=True
    )
    return torch.from_numpy(filters) @ transform.abs().square()


@pytest.mark.filterwarnings("ignore:Empty filters")  # 128 of them are more than 201 bins can fill
@pytest.mark.parametrize(("n_fft", "window", "hop", "mels"), [(400, 400, 200, 128), (512, 400, 160, 64)])
def test_torchaudio_log_mel_is_torch_stft_with_htk_filters(sound, n_fft, window, hop, mels):
    librosa = pytest.importorskip("librosa")
    filters = librosa.filters.mel(sr=16000, n_fft=n_fft, n_mels=mels, htk=True, norm=None)
    theirs = (_torch_mel(sound, filters, n_fft, hop, window) + 1e-6).log().T.numpy()
    ours = mel_settings("torchaudio", 16000, n_fft=n_fft, frame_length=window, hop_length=hop, mels=mels)
    # torch works in float32: 4e-5 in the quiet bins beside the tone.
    assert_allclose(log_mel(sound, ours), theirs, rtol=0, atol=2e-4)


@pytest.mark.filterwarnings("ignore:Empty filters")  # 128 of them are more than 201 bins can fill
def test_torchaudio_mfcc_is_the_cosine_transform_of_clamped_decibels(sound):
    librosa = pytest.importorskip("librosa")
    filters = librosa.filters.mel(sr=16000, n_fft=400, n_mels=128, htk=True, norm=None)
    decibels = 10 * _torch_mel(sound, filters, 400, 200, 400).clamp(min=1e-10).log10()
    clamped = decibels.clamp(min=float(decibels.max()) - 80).T.numpy()
    theirs = _cosine_transform(clamped, 40)
    ours = log_mel(sound, mel_settings("torchaudio", 16000, coefficients=40))
    # 4e-5 in ln is 2e-4 dB; a row of the transform adds up 128 of them.
    assert_allclose(ours, theirs, rtol=0, atol=5e-3)


def test_whisper_log_mel_is_its_published_formula(sound):
    librosa = pytest.importorskip("librosa")
    torch = pytest.importorskip("torch")
    filters = librosa.filters.mel(sr=16000, n_fft=400, n_mels=80)
    logs = _torch_mel(sound, filters, 400, 160, 400)[:, :-1].clamp(min=1e-10).log10()
    theirs = ((torch.maximum(logs, logs.max() - 8.0) + 4.0) / 4.0).T.numpy()
    assert_allclose(log_mel(sound, mel_settings("whisper", 16000)), theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize("samples", [16000, 16123, 300])
@pytest.mark.parametrize("coefficients", [0, 13])
def test_python_speech_features_are_its_published_loops(sound, samples, coefficients):
    integers = np.round(sound[:samples] * 32768)
    logs, energy = _python_speech_features(integers, 16000)
    if coefficients:
        logs = _cosine_transform(logs, coefficients)
        logs *= 1 + 11 * np.sin(np.pi * np.arange(coefficients) / 22)
        logs[:, 0] = energy
    ours = mel_settings("python_speech_features", 16000, coefficients=coefficients)
    # Both work in float64; the result is rounded to float32 at 24.
    assert_allclose(log_mel((integers / 32768).astype(np.float32), ours), logs, rtol=0, atol=1e-5)


def _python_speech_features(signal, rate_hz, *, length=400, step=160, n_fft=512, filters=26):
    """Log filter energies [T, M] and log frame energies [T], one bin after the other."""
    emphasized = [signal[0]] + [signal[n] - 0.97 * signal[n - 1] for n in range(1, len(signal))]
    frames = 1 if len(signal) <= length else 1 + int(np.ceil((len(signal) - length) / step))
    padded = np.array(emphasized + [0.0] * (frames * step + length))
    spectra = np.array([np.abs(np.fft.rfft(padded[t * step :][:length], n_fft)) ** 2 / n_fft for t in range(frames)])
    top = 2595 * np.log10(1 + rate_hz / 2 / 700)
    corners = [700 * (10 ** (top * m / (filters + 1) / 2595) - 1) for m in range(filters + 2)]
    bins = [int((n_fft + 1) * corner // rate_hz) for corner in corners]
    bank = np.zeros((filters, n_fft // 2 + 1))
    for m in range(filters):
        low, middle, high = bins[m : m + 3]
        for k in range(low, middle):
            bank[m, k] = (k - low) / (middle - low)
        for k in range(middle, high):
            bank[m, k] = (high - k) / (high - middle)
    return np.log(spectra @ bank.T), np.log(spectra.sum(axis=1))


HTK_FILES = {
    "fbank_htk.1": {"mels": 23, "preemphasis": 0.0},
    "fbank_htk.2": {"mels": 23, "preemphasis": 0.0, "low_hz": 25.0},
    "fea_htk.1": {"mels": 23, "preemphasis": 0.0, "coefficients": 13},
    "fea_htk.2": {"mels": 23, "preemphasis": 0.0, "coefficients": 13, "energy": "frame"},
    "fea_htk.3": {"mels": 23, "preemphasis": 0.0, "coefficients": 13, "energy": "frame", "low_hz": 20.0},
    "fea_htk.4": {"mels": 23, "coefficients": 13, "energy": "frame"},
    "fea_htk.6": {"mels": 24, "coefficients": 13, "low_hz": 125.0, "high_hz": 7800.0},
}


@pytest.mark.data
@pytest.mark.parametrize("name", HTK_FILES)
def test_htk_features_are_what_htk_wrote(data_dir, name):
    with wave.open(str(data_dir / "htk" / "test.wav")) as recording:
        samples = np.frombuffer(recording.readframes(recording.getnframes()), "<i2") / np.float32(32768)
    content = (data_dir / "htk" / f"test.wav.{name}").read_bytes()
    frames, _, _, _ = struct.unpack(">iihh", content[:12])
    theirs = np.frombuffer(content[12:], ">f4").reshape(frames, -1)
    ours = log_mel(samples, mel_settings("htk", 16000, power=2.0, **HTK_FILES[name]))
    # HTK works in float32: 2e-5 in the logarithms, 1.2e-4 after the lifter. The files go on with deltas.
    assert_allclose(ours, theirs[:, : ours.shape[1]], rtol=0, atol=3e-4 if "fea" in name else 5e-5)


def test_a_pure_tone_is_loudest_in_the_filter_around_it():
    tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 16000).astype(np.float32)
    settings = mel_settings("torchaudio", 16000, mels=40)
    loudest = log_mel(tone, settings).mean(axis=0).argmax()
    centres_mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 42)[1:-1]
    assert loudest == np.abs(centres_mel - 2595 * np.log10(1 + 1000 / 700)).argmin()


def test_digital_silence_gives_the_floor():
    values = log_mel(np.zeros(16000, np.float32), mel_settings("kaldi", 16000))
    assert_allclose(values, np.log(2.0**-23), rtol=1e-6)  # one rounding to float32


@pytest.mark.parametrize("convention", ["kaldi", "librosa", "python_speech_features"])
def test_no_sound_gives_no_frames(convention):
    assert log_mel(np.zeros(0, np.float32), mel_settings(convention, 16000)).shape[0] == 0


def test_a_long_recording_gives_the_frames_of_its_parts(sound):
    settings = mel_settings("kaldi", 16000)
    long = np.tile(sound, 4)
    part = log_mel(long[50000 - 50000 % 160 :][:1600], settings)
    np.testing.assert_array_equal(log_mel(long, settings)[50000 // 160 :][: len(part)], part)
