"""Tables of a mel front end: window functions, filter banks and the cosine transform."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmedge.features.mel import MelSettings

__all__ = ["FilterBank", "cosines", "filter_bank", "mel_weights", "window_function"]

Floats = npt.NDArray[np.float64]

SLANEY_HZ_PER_MEL = 200 / 3
SLANEY_BREAK_HZ = 1000.0
SLANEY_BREAK_MEL = 15.0
SLANEY_LOG_STEP = np.log(6.4) / 27


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FilterBank:
    """Overlapping filters, stored as the runs of bins under each.

    A product with a dense matrix would wake the threads of the BLAS for every frame, and depend on how many frames are
    multiplied at once: ``np.add.reduceat`` gives a frame the same bits alone and in a batch.

    Attributes:
        bins: [K] int, the bins under filter 0, then those under filter 1, ...
        weights: [K] float64, their weights.
        starts: [M] int, where each filter begins in them.
    """

    bins: npt.NDArray[np.intp]
    weights: Floats
    starts: npt.NDArray[np.intp]


def filter_bank(settings: MelSettings) -> FilterBank:
    """The filters of :func:`mel_weights` in compact form."""
    weights = mel_weights(settings)
    runs = [np.flatnonzero(row) for row in weights]
    runs = [run if len(run) else np.zeros(1, np.intp) for run in runs]  # reduceat knows no empty run: bin 0, weight 0
    return FilterBank(
        bins=np.concatenate(runs),
        weights=np.concatenate([row[run] for row, run in zip(weights, runs, strict=True)]),
        starts=np.cumsum([0, *map(len, runs[:-1])]),
    )


def mel_weights(settings: MelSettings) -> Floats:
    """The filters as a matrix.

    Returns:
        [M, n_fft // 2 + 1] float64.

    Source: librosa/filters.py ("hz"); Slaney, Auditory Toolbox, 1998 ("slaney"); Kaldi, src/feat/mel-computations.cc
        ("mel"); HTK, HTKLib/HSigP.c, InitFBank ("htk"); python_speech_features, base.py, get_filterbanks ("bins").
    """
    # torchaudio takes sample_rate // 2 for the last bin, also when the rate is odd (functional.melscale_fbanks).
    nyquist_hz = settings.rate_hz // 2 if settings.convention == "torchaudio" else settings.rate_hz / 2
    bins_hz = np.linspace(0, nyquist_hz, settings.n_fft // 2 + 1)
    ends = _to_mel(np.array([settings.low_hz, settings.high_hz]), settings.mel_scale)
    corners = np.linspace(ends[0], ends[1], settings.mels + 2)
    if settings.triangles in {"mel", "htk"}:
        weights = _triangles(_to_mel(bins_hz, "htk"), corners)
        return _htk_ends(weights, settings) if settings.triangles == "htk" else weights
    corners_hz = _to_hz(corners, settings.mel_scale)
    if settings.triangles == "bins":
        floored = np.floor((settings.n_fft + 1) * corners_hz / settings.rate_hz)
        return _triangles(np.arange(len(bins_hz), dtype=np.float64), floored)
    weights = _triangles(bins_hz, corners_hz)
    if settings.mel_norm == "slaney":
        weights *= (2 / (corners_hz[2:] - corners_hz[:-2]))[:, None]
    return weights


def window_function(settings: MelSettings) -> Floats:
    """The window with all constant factors of the samples.

    Returns:
        [span] float64; zeros around it where the frame spans more than frame_length.

    Source: torch.hann_window, numpy.hamming; Kaldi, src/feat/feature-window.cc (povey).
    """
    length = settings.frame_length
    symmetric = np.hanning(length)
    shapes = {
        "hann": np.hanning(length + 1)[:-1],
        "hann_symmetric": symmetric,
        "hamming": np.hamming(length),
        "povey": symmetric**0.85,
        "rectangular": np.ones(length),
    }
    before = (settings.span - length) // 2
    window = np.pad(shapes[settings.window], (before, settings.span - length - before))
    return window * settings.sample_scale / (np.sqrt(settings.n_fft) if settings.divide_by_n_fft else 1.0)


def cosines(settings: MelSettings) -> Floats:
    """The cosine transform of type II with the lifter.

    Returns:
        [coefficients, M] float64; no rows for log-mel.

    Source: The HTK Book 3.4, equations 5.14 and 5.15; scipy.fft.dct(norm="ortho").
    """
    orders = np.arange(settings.coefficients)
    rows = np.cos(np.pi / settings.mels * np.outer(orders, np.arange(settings.mels) + 0.5)) * np.sqrt(2 / settings.mels)
    if settings.dct == "ortho":
        rows[:1] *= np.sqrt(0.5)
    if settings.lifter:
        rows *= (1 + settings.lifter / 2 * np.sin(np.pi * orders / settings.lifter))[:, None]
    return np.roll(rows, -1, axis=0) if settings.dct == "htk" else rows


def _triangles(bins: Floats, corners: Floats) -> Floats:
    """Triangle m rises from corner m to m + 1 and falls to m + 2; weights at the bins."""
    widths = np.diff(corners)
    widths[widths == 0] = 1  # corners rounded to the same bin: that side holds no bin
    rising = (bins - corners[:-2, None]) / widths[:-1, None]
    falling = (corners[2:, None] - bins) / widths[1:, None]
    return np.maximum(0, np.where(bins < corners[1:-1, None], rising, falling))


def _htk_ends(weights: Floats, settings: MelSettings) -> Floats:
    """HTK rounds both ends of the filters to bins, and leaves out bin 0 and the last one."""
    bins_per_hz = settings.n_fft / settings.rate_hz
    first = max(1, int(settings.low_hz * bins_per_hz + 1.5))
    end = min(settings.n_fft // 2, int(settings.high_hz * bins_per_hz + 0.5))
    weights[:, :first] = 0
    weights[:, end:] = 0
    return weights


def _to_mel(hz: Floats, scale: str) -> Floats:
    if scale == "htk":
        return 2595 * np.log10(1 + hz / 700)
    above = SLANEY_BREAK_MEL + np.log(np.maximum(hz, SLANEY_BREAK_HZ) / SLANEY_BREAK_HZ) / SLANEY_LOG_STEP
    return np.where(hz >= SLANEY_BREAK_HZ, above, hz / SLANEY_HZ_PER_MEL)


def _to_hz(mels: Floats, scale: str) -> Floats:
    if scale == "htk":
        return 700 * (10 ** (mels / 2595) - 1)
    above = SLANEY_BREAK_HZ * np.exp(SLANEY_LOG_STEP * (mels - SLANEY_BREAK_MEL))
    return np.where(mels >= SLANEY_BREAK_MEL, above, mels * SLANEY_HZ_PER_MEL)
