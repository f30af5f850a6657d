"""From frames of samples to log-mel rows or cepstral coefficients."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mmedge.features.filters import cosines, filter_bank, window_function
from mmedge.features.frames import lead
from mmedge.features.mel import MelSettings

__all__ = ["BLOCK", "DB_PER_UNIT", "FrameFeatures"]

Array = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

BLOCK = 16  # frames at once: what lies between the steps stays in the cache, whatever the length of a recording

NUMPY_2 = np.lib.NumpyVersion(np.__version__) >= "2.0.0"
DB_PER_UNIT = {"ln": 10 / np.log(10), "log10": 10.0, "db": 1.0, "whisper": 40.0}


class FrameFeatures:
    """What a mel front end does with frames.

    Frames pass through two steps, because some conventions clamp to the maximum of the window: :meth:`rows` is what a
    frame gives by itself, :meth:`finish` what a whole window of rows needs on top. Every operation treats each frame by
    itself and in the same order, so that a frame gives the same bits alone and in a batch. Computed in float64, because
    numpy before 2.0 knows no other Fourier transform.

    The arrays between the steps are kept from call to call: one thread at a time may use it.

    Attributes:
        per_window: Whether :meth:`finish` does anything.
        width: Values in a row.
    """

    def __init__(self, settings: MelSettings) -> None:
        self.per_window = settings.top_db > 0
        self.width = settings.mels if self.per_window else settings.values
        self._settings = settings
        self._lead = lead(settings)
        self._per_sample = 1 / settings.span
        self._top = np.float32(settings.top_db / DB_PER_UNIT[settings.log])
        self._cosines = cosines(settings)
        self._works: dict[int, _Work] = {}

    def rows(self, frames: Floats, out: Array, inside: Floats | None = None) -> None:
        """What each frame gives by itself.

        Args:
            frames: [T, width] of :class:`~mmedge.features.frames.FramePlan`; not changed.
            out: [T, self.width], where it is written.
            inside: [T, width], 0 where a sample is padding; None for none.
        """
        if len(frames) <= BLOCK:
            self._block(frames, out, inside)
            return
        for start in range(0, len(frames), BLOCK):
            part = slice(start, start + BLOCK)
            self._block(frames[part], out[part], None if inside is None else inside[part])

    def finish(self, rows: Array, out: Array) -> None:
        """What the rows of one window become together.

        Args:
            rows: [T, self.width]; not changed.
            out: [T, values], where it is written; may be the rows themselves.
        """
        if not self.per_window:
            out[...] = rows
            return
        least = np.maximum.reduce(rows, axis=None) - self._top
        if self._settings.coefficients:
            out[...] = self._cepstra(np.maximum(rows, least).astype(np.float64))
        else:
            np.maximum(rows, least, out=out)

    def windowed(self, frames: Floats) -> Floats:
        """Mean removed, pre-emphasised and under the window: all linear.

        Args:
            frames: [T, width] of :class:`~mmedge.features.frames.FramePlan`, at most BLOCK; not changed.

        Returns:
            [T, span], what is transformed; valid until the next call.
        """
        work, lead = self._work(len(frames)), self._lead
        if self._settings.remove_dc:
            one = len(frames) == 1  # numpy takes half the time for a number that it takes for a column of one
            mean = np.add.reduce(frames[0] if one else frames, -1) * self._per_sample
            frames = np.subtract(frames, mean if one else mean[:, np.newaxis], out=work.centred)
        np.multiply(frames[:, lead:] if lead else frames, work.window, out=work.windowed)
        if self._settings.preemphasis:
            np.multiply(frames[:, :-1], work.lagged, out=work.before)
            np.subtract(work.after, work.before, out=work.after)
        return work.windowed

    def _block(self, frames: Floats, out: Array, inside: Floats | None) -> None:
        settings, work = self._settings, self._work(len(frames))
        energy = self._frame_energy(frames) if settings.energy == "frame" else None
        windowed = self.windowed(frames)
        if inside is not None and settings.last_frame == "padded":
            windowed *= inside[:, self._lead :]
        if NUMPY_2:
            np.fft.rfft(windowed, settings.n_fft, out=work.spectrum)
        else:
            work.spectrum[...] = np.fft.rfft(windowed, settings.n_fft)
        np.multiply(work.parts, work.parts, out=work.parts)
        np.add(work.real, work.imaginary, out=work.powers)
        if settings.energy == "spectrum":
            energy = _log_total(work.powers.reshape(len(frames), -1), settings.floor)
        if settings.power == 1:
            np.sqrt(work.powers, out=work.powers)
        work.powers.take(work.bins, None, work.under, "clip")
        np.multiply(work.under, work.weights, out=work.under)
        np.add.reduceat(work.under, work.starts, 0, None, work.energies)
        self._take_logarithm(work)
        if self.per_window or not settings.coefficients:
            out[...] = work.logs
            return
        out[...] = self._cepstra(work.logs)
        if energy is not None:
            out[:, -1 if settings.dct == "htk" else 0] = energy

    def _work(self, count: int) -> "_Work":
        work = self._works.get(count)
        if work is None:
            work = self._works[count] = _Work(self._settings, count)
        return work

    def _frame_energy(self, frames: Floats) -> Floats:
        settings = self._settings
        samples = frames[:, self._lead :] * settings.sample_scale
        if settings.remove_dc:
            samples -= np.add.reduce(samples, axis=-1, keepdims=True) / settings.span
        return _log_total(np.square(samples), settings.floor)

    def _take_logarithm(self, work: "_Work") -> None:
        settings, energies = self._settings, work.energies
        if settings.floor_mode == "max":
            np.maximum(energies, work.floors, out=energies)
        else:
            np.add(energies, work.floors, out=energies)
        if settings.log == "ln":
            np.log(energies, out=energies)
            return
        np.log10(energies, out=energies)
        if settings.log == "db":
            energies *= 10
        elif settings.log == "whisper":
            energies += 4
            energies /= 4

    def _cepstra(self, logs: Floats) -> Floats:
        # einsum calls no BLAS: the last bits do not depend on how many frames there are, and no thread is woken.
        cepstra: Floats = np.einsum("tm,cm->tc", logs, self._cosines)
        return cepstra


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Tables:
    """The tables of BLOCK frames, one after another: numpy is slower to repeat a table than to read it again.

    Those of K bins and M filters are flat: places count from the first frame.
    """

    window: Floats  # [BLOCK, span]
    lagged: Floats  # [BLOCK, span], or a sample less where each frame begins anew
    bins: Places  # [BLOCK * K]
    weights: Floats  # [BLOCK * K]
    starts: Places  # [BLOCK * M]
    floors: Floats  # [BLOCK * M]


@lru_cache(maxsize=8)
def _tables(settings: MelSettings) -> _Tables:
    window, bank = window_function(settings), filter_bank(settings)
    lagged = settings.preemphasis * window
    if not lead(settings):  # each frame begins anew: its first sample is emphasised by itself
        window[0] -= lagged[0]
        lagged = lagged[1:]
    frame = np.arange(BLOCK)[:, np.newaxis]
    return _Tables(
        window=np.tile(window, (BLOCK, 1)),
        lagged=np.tile(lagged, (BLOCK, 1)),
        bins=(frame * (settings.n_fft // 2 + 1) + bank.bins).ravel(),
        weights=np.tile(bank.weights, BLOCK),
        starts=(frame * len(bank.bins) + bank.starts).ravel(),
        floors=np.full(BLOCK * settings.mels, settings.floor),
    )


class _Work:
    """The tables of so many frames, and the arrays between the steps."""

    def __init__(self, settings: MelSettings, count: int) -> None:
        tables, span, bins = _tables(settings), settings.span, settings.n_fft // 2 + 1
        self.window, self.lagged = tables.window[:count], tables.lagged[:count]
        self.bins = tables.bins[: count * (len(tables.bins) // BLOCK)]
        self.weights = tables.weights[: len(self.bins)]
        self.starts, self.floors = (each[: count * settings.mels] for each in (tables.starts, tables.floors))
        self.centred = np.empty((count, span + lead(settings)))
        self.windowed = np.empty((count, span))
        self.before = np.empty(self.lagged.shape)
        self.after = self.windowed[:, span - self.lagged.shape[1] :]
        self.spectrum = np.empty((count, bins), np.complex128)
        self.parts = self.spectrum.view(np.float64).reshape(-1)  # real and imaginary, in turn
        self.real, self.imaginary = self.parts[::2], self.parts[1::2]
        self.powers = np.empty(count * bins)
        self.under = np.empty(len(self.bins))
        self.energies = np.empty(count * settings.mels)
        self.logs = self.energies.reshape(count, settings.mels)


def _log_total(powers: Floats, floor: float) -> Floats:
    total: Floats = np.add.reduce(powers, axis=-1)
    return np.log(np.maximum(total, floor))
