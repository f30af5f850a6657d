"""From frames of samples to log-mel rows or cepstral coefficients."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mmedge.features.filters import cosines, filter_bank, window_function
from mmedge.features.frames import lead
from mmedge.features.mel import MelSettings

__all__ = ["BLOCK", "FrameFeatures", "frame_features"]

Array = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

BLOCK = 256  # frames at once: keeps the intermediate arrays small, whatever the length of a recording

NUMPY_2 = np.lib.NumpyVersion(np.__version__) >= "2.0.0"
DB_PER_UNIT = {"ln": 10 / np.log(10), "log10": 10.0, "db": 1.0, "whisper": 40.0}


class FrameFeatures:
    """The tables of a mel front end and what is done with them; holds no state between calls.

    Frames pass through two steps, because some conventions clamp to the maximum of the window: :meth:`rows` is what a
    frame gives by itself, :meth:`finish` what a whole window of rows needs on top. Every operation treats each frame by
    itself and in the same order, so that a frame gives the same bits alone and in a batch. Computed in float64, because
    numpy before 2.0 knows no other Fourier transform.

    Attributes:
        per_window: Whether :meth:`finish` does anything.
        width: Values in a row.
    """

    def __init__(self, settings: MelSettings) -> None:
        self.per_window = settings.top_db > 0
        self.width = settings.mels if self.per_window else settings.values
        self._settings = settings
        self._lead = lead(settings)
        window = window_function(settings)
        self._weights, self._lagged = window.copy(), settings.preemphasis * window
        if not self._lead:  # each frame begins anew: its first sample is emphasised by itself
            self._weights[0] -= self._lagged[0]
            self._lagged = self._lagged[1:]
        self._per_sample = 1 / settings.span
        self._floors = np.full(settings.mels, settings.floor)  # numpy is slower to take a number
        self._bank = filter_bank(settings)
        self._cosines = cosines(settings)

    def rows(self, frames: Array, inside: Array | None = None) -> Array:
        """What each frame gives by itself.

        Args:
            frames: [T, width] float32 or float64 of :class:`~mmedge.features.frames.FramePlan`; not changed.
            inside: [T, width], 0 where a sample is padding; None for none.

        Returns:
            [T, self.width] float32, owned by the caller.
        """
        settings = self._settings
        # numpy takes half the time for a row of numbers that it takes for a table of one row
        samples = (frames[0] if len(frames) == 1 else frames).astype(np.float64, copy=False)
        energy = self._frame_energy(samples) if settings.energy == "frame" else None
        windowed = self.windowed(samples)
        if inside is not None and settings.last_frame == "padded":
            windowed *= inside[:, self._lead :].reshape(windowed.shape)
        parts = _transform(windowed, settings.n_fft).view(np.float64)  # real and imaginary, in turn
        parts *= parts
        spectrum = parts[..., ::2] + parts[..., 1::2]
        if settings.energy == "spectrum":
            energy = _log_total(spectrum, settings.floor)
        if settings.power == 1:
            np.sqrt(spectrum, out=spectrum)
        rows = self._row_values(self._logarithm(self._bank.energies(spectrum)), energy)
        return rows if rows.ndim == 2 else rows[np.newaxis]

    def finish(self, rows: Array) -> Array:
        """What the rows of one window become together.

        Args:
            rows: [T, self.width], changed in place.

        Returns:
            [T, values] float32, the rows themselves unless they become cepstra.
        """
        if not self.per_window:
            return rows
        top = np.float32(self._settings.top_db / DB_PER_UNIT[self._settings.log])
        np.maximum(rows, rows.max() - top, out=rows)
        return self._cepstra(rows.astype(np.float64)) if self._settings.coefficients else rows

    def windowed(self, samples: Floats) -> Floats:
        """Mean removed, pre-emphasised and under the window: all linear.

        Args:
            samples: [T, width] of :class:`~mmedge.features.frames.FramePlan`, or [width] of one; not changed.

        Returns:
            [T, span], or [span], what is transformed.
        """
        lead = self._lead
        if self._settings.remove_dc:
            mean = np.add.reduce(samples, axis=-1) * self._per_sample
            samples = samples - (mean if samples.ndim == 1 else mean[:, np.newaxis])
        windowed = (samples[..., lead:] if lead else samples) * self._weights
        if self._settings.preemphasis:
            rest = windowed[..., 1 - lead :]
            rest -= samples[..., :-1] * self._lagged
        return windowed

    def _frame_energy(self, samples: Floats) -> Floats:
        settings = self._settings
        samples = samples[..., self._lead :] * settings.sample_scale
        if settings.remove_dc:
            samples -= np.add.reduce(samples, axis=-1, keepdims=True) / settings.span
        return _log_total(np.square(samples), settings.floor)

    def _logarithm(self, energies: Floats) -> Floats:
        settings = self._settings
        if settings.floor_mode == "max":
            np.maximum(energies, self._floors, out=energies)
        else:
            energies += self._floors
        if settings.log == "ln":
            return np.log(energies, out=energies)
        np.log10(energies, out=energies)
        if settings.log == "db":
            energies *= 10
        elif settings.log == "whisper":
            energies += 4
            energies /= 4
        return energies

    def _row_values(self, logs: Floats, energy: Floats | None) -> Array:
        if self.per_window or not self._settings.coefficients:
            return logs.astype(np.float32)
        cepstra = self._cepstra(logs)
        if energy is not None:
            cepstra[..., -1 if self._settings.dct == "htk" else 0] = energy
        return cepstra

    def _cepstra(self, logs: Floats) -> Array:
        # einsum calls no BLAS: the last bits do not depend on how many frames there are, and no thread is woken.
        cepstra: Floats = np.einsum("...m,cm->...c", logs, self._cosines)
        return cepstra.astype(np.float32)


@lru_cache(maxsize=8)
def frame_features(settings: MelSettings) -> FrameFeatures:
    """The tables of these settings, built once."""
    return FrameFeatures(settings)


def _transform(windowed: Floats, n_fft: int) -> npt.NDArray[np.complex128]:
    if not NUMPY_2:
        return np.fft.rfft(windowed, n_fft)
    spectrum = np.empty((*windowed.shape[:-1], n_fft // 2 + 1), np.complex128)
    return np.fft.rfft(windowed, n_fft, out=spectrum)  # given, it spares a sixth of the call: finding out its type


def _log_total(powers: Floats, floor: float) -> Floats:
    total: Floats = np.add.reduce(powers, axis=-1)
    return np.log(np.maximum(total, floor))
