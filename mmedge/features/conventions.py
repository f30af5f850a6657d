"""The constants of the front ends that people train with, by the name of the toolkit."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from mmedge.errors import SpecError
from mmedge.features.mel import MelSettings
from mmedge.records import from_plain

__all__ = ["mel_settings"]

INT16 = 32768.0
FLOAT32_EPSILON = 2.0**-23
FLOAT64_EPSILON = 2.0**-52
WHISPER_RATE_HZ = 16000


def mel_settings(convention: str, rate_hz: int, **overrides: object) -> MelSettings:
    """The constants of a named convention at a sample rate, some of them overridden.

    ``coefficients`` makes it an MFCC front end; without, it is log-mel. A constant that the toolkit derives from
    another (n_fft from the frame, the hop from the frame) follows an override of that other.

    Args:
        convention: torchaudio, librosa, kaldi, htk, whisper or python_speech_features.
        rate_hz: Samples per second.
        **overrides: Fields of :class:`MelSettings`.

    Raises:
        SpecError: The convention or a field is unknown, or a value does not fit.

    >>> mel_settings("kaldi", 16000, mels=64).frames_in(16000)
    98
    """
    if convention not in CONVENTIONS:
        raise SpecError(f"convention = {convention!r} is not one of {', '.join(CONVENTIONS)}")
    known = [field.name for field in fields(MelSettings)][2:]
    if unknown := sorted(overrides.keys() - set(known)):
        raise SpecError(f"{unknown[0]} is no constant of a mel front end; expected {', '.join(known)}")
    # What the conventions calculate with, before they do; MelSettings and from_plain check the rest.
    for name, value in {"rate_hz": rate_hz, **overrides}.items():
        if name in {"rate_hz", "frame_length", "n_fft", "coefficients"} and type(value) is not int:
            raise SpecError(f"{name} = {value!r} is not a whole number")
    constants = CONVENTIONS[convention](rate_hz, overrides)
    try:
        return from_plain(MelSettings, {"convention": convention, "rate_hz": rate_hz, **constants, **overrides})
    except SpecError:
        raise
    except ValueError as error:
        raise SpecError(f"{convention}: {error}") from error


def _torchaudio(rate_hz: int, given: dict[str, Any]) -> dict[str, Any]:
    """``transforms.MelSpectrogram``, then ln(x + 1e-6), which is ``MFCC(log_mels=True)``; MFCC has its default, dB.

    Source: torchaudio 2.x, torchaudio/transforms/_transforms.py (Spectrogram, MelScale, MFCC, AmplitudeToDB).
    """
    n_fft = given.get("n_fft", 400)
    frame_length = given.get("frame_length", n_fft)
    natural = {"log": "ln", "floor": 1e-6, "floor_mode": "add"}
    return {
        "frame_length": frame_length,
        "hop_length": frame_length // 2,
        "n_fft": n_fft,
        "fft_padding": "both",
        "center": True,
        "mels": 128,
        "high_hz": float(rate_hz // 2),
        **(_power_to_db() if given.get("coefficients") else natural),
    }


def _librosa(rate_hz: int, given: dict[str, Any]) -> dict[str, Any]:
    """``librosa.power_to_db(librosa.feature.melspectrogram(y))``, and ``librosa.feature.mfcc``.

    Source: librosa 0.11, librosa/feature/spectral.py, librosa/filters.py (mel), librosa/core/spectrum.py.
    """
    n_fft = given.get("n_fft", 2048)
    return {
        "frame_length": n_fft,
        "hop_length": 512,
        "n_fft": n_fft,
        "fft_padding": "both",
        "center": True,
        "pad_mode": "constant",
        "mels": 128,
        "mel_scale": "slaney",
        "mel_norm": "slaney",
        "high_hz": rate_hz / 2,
        **_power_to_db(),
    }


def _kaldi(rate_hz: int, given: dict[str, Any]) -> dict[str, Any]:
    """``compute-fbank-feats`` and ``compute-mfcc-feats --use-energy=false``, without dither.

    Also the defaults of torchaudio.compliance.kaldi and, but for dither and use_energy, of kaldi-native-fbank. Kaldi's
    own command line reads int16: a model trained with that needs ``sample_scale = 32768``.

    Source: Kaldi, src/feat/feature-window.h, feature-fbank.h, feature-mfcc.h, mel-computations.cc.
    """
    return {
        **_speech_frames(rate_hz, given),
        "window": "povey",
        "remove_dc": True,
        "preemphasis": 0.97,
        "mels": 23,
        "triangles": "mel",
        "low_hz": 20.0,
        "high_hz": rate_hz / 2,
        "floor": FLOAT32_EPSILON,
        **({"lifter": 22} if given.get("coefficients") else {}),
    }


def _htk(rate_hz: int, given: dict[str, Any]) -> dict[str, Any]:
    """HCopy with the configuration of the HTK Book's tutorial; its magnitudes (USEPOWER = F) unless ``power = 2``.

    ``coefficients`` count C0, which HTK writes last (MFCC_0); ``energy = "frame"`` puts the log energy there (MFCC_E).

    Source: The HTK Book 3.4, sections 3.1.5 and 5.6; HTKLib/HSigP.c (InitFBank, Wave2FBank, FBank2MFCC).
    """
    return {
        **_speech_frames(rate_hz, given),
        "window": "hamming",
        "preemphasis": 0.97,
        "sample_scale": INT16,
        "power": 1.0,
        "mels": 26,
        "triangles": "htk",
        "high_hz": rate_hz / 2,
        "floor": 1.0,
        **({"lifter": 22, "dct": "htk"} if given.get("coefficients") else {}),
    }


def _whisper(rate_hz: int, _: dict[str, Any]) -> dict[str, Any]:
    """``whisper.log_mel_spectrogram`` of the window.

    Source: OpenAI Whisper, whisper/audio.py.
    """
    if rate_hz != WHISPER_RATE_HZ:
        raise SpecError(f"whisper is defined at {WHISPER_RATE_HZ} Hz only, not at {rate_hz} Hz")
    return {
        "frame_length": 400,
        "hop_length": 160,
        "n_fft": 400,
        "fft_padding": "both",
        "center": True,
        "last_frame": "dropped",
        "mels": 80,
        "mel_scale": "slaney",
        "mel_norm": "slaney",
        "high_hz": rate_hz / 2,
        "log": "whisper",
        "floor": 1e-10,
        "top_db": 80.0,
    }


def _python_speech_features(rate_hz: int, given: dict[str, Any]) -> dict[str, Any]:
    """``logfbank`` and ``mfcc`` of int16 samples, as its README reads them.

    Source: python_speech_features 0.6, python_speech_features/base.py and sigproc.py.
    """
    return {
        "frame_length": (rate_hz * 25 + 500) // 1000,
        "hop_length": (rate_hz * 10 + 500) // 1000,
        "n_fft": 512,
        "window": "rectangular",
        "last_frame": "padded",
        "preemphasis": 0.97,
        "preemphasis_over": "window",
        "sample_scale": INT16,
        "divide_by_n_fft": True,
        "mels": 26,
        "triangles": "bins",
        "high_hz": rate_hz / 2,
        "floor": FLOAT64_EPSILON,
        **({"lifter": 22, "energy": "spectrum"} if given.get("coefficients") else {}),
    }


def _speech_frames(rate_hz: int, given: dict[str, Any]) -> dict[str, Any]:
    """Frames of 25 ms every 10 ms, rounded down, and the next power of two for the transform."""
    frame_length = given.get("frame_length", rate_hz * 25 // 1000)
    return {
        "frame_length": frame_length,
        "hop_length": rate_hz * 10 // 1000,
        "n_fft": 1 << max(1, frame_length - 1).bit_length(),
    }


def _power_to_db() -> dict[str, Any]:
    return {"log": "db", "floor": 1e-10, "top_db": 80.0}


CONVENTIONS: dict[str, Callable[[int, dict[str, Any]], dict[str, Any]]] = {
    "torchaudio": _torchaudio,
    "librosa": _librosa,
    "kaldi": _kaldi,
    "htk": _htk,
    "whisper": _whisper,
    "python_speech_features": _python_speech_features,
}
