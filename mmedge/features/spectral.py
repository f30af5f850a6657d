"""From frames of samples to log-mel rows or cepstral coefficients."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt

from mmedge.features.filters import cosines, filter_bank, window_function
from mmedge.features.frames import lead
from mmedge.features.mel import MelSettings

__all__ = ["DB_PER_UNIT", "FrameFeatures"]

Array = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

NUMPY_2 = np.lib.NumpyVersion(np.__version__) >= "2.0.0"
AT_ONCE = 16384  # samples transformed at once: what lies between the steps stays in the cache

# einsum calls no BLAS: the last bits do not depend on how many frames there are, and no thread is woken.
TO_CEPSTRA = "tm,cm->tc"
DB_PER_UNIT = {"ln": 10 / np.log(10), "log10": 10.0, "db": 1.0, "whisper": 40.0}


class FrameFeatures:
    """What a mel front end does with frames.

    Frames pass through two steps, because some conventions clamp to the maximum of the window: :meth:`rows` is what a
    frame gives by itself, :meth:`finish` what a whole window of rows needs on top. Every operation treats each frame by
    itself and in the same order, so that a frame gives the same bits alone and in a batch. Computed in float64, because
    numpy before 2.0 knows no other Fourier transform.

    The arrays between the steps are kept from call to call: one thread at a time may use it.

    Attributes:
        settings: The constants.
        block: How many frames are best computed at once.
        per_window: Whether :meth:`finish` does anything.
        width: Values in a row.
    """

    def __init__(self, settings: MelSettings) -> None:
        self.settings = settings
        self.block = _frames_at_once(settings)
        self.per_window = settings.top_db > 0
        self.width = settings.mels if self.per_window else settings.values
        self._top = np.float32(settings.top_db / DB_PER_UNIT[settings.log])
        self._works: dict[int, _Work] = {}

    def rows(self, frames: Floats, out: Array, inside: Floats | None = None) -> None:
        """What each frame gives by itself.

        Args:
            frames: [T, width] of :class:`~mmedge.features.frames.FramePlan`; not changed.
            out: [T, self.width], where it is written.
            inside: [T, width], 0 where a sample is padding; None for none.
        """
        if len(frames) <= self.block:
            self._work(len(frames)).rows(frames, out, inside)
            return
        for start in range(0, len(frames), self.block):
            part = slice(start, start + self.block)
            self.rows(frames[part], out[part], None if inside is None else inside[part])

    def finish(self, rows: Array, out: Array) -> None:
        """What the rows of one window become together.

        Args:
            rows: [T, self.width]; not changed.
            out: [T, values], where it is written.
        """
        if not self.per_window:
            out[...] = rows
            return
        least = np.maximum.reduce(rows, axis=None) - self._top
        if self.settings.coefficients:
            logs = np.maximum(rows, least).astype(np.float64)
            out[...] = np.einsum(TO_CEPSTRA, logs, _tables(self.settings).cosines)
        else:
            np.maximum(rows, least, out=out)

    def windowed(self, frames: Floats) -> Floats:
        """Mean removed, pre-emphasised and under the window: all linear.

        Args:
            frames: [T, width] of :class:`~mmedge.features.frames.FramePlan`, at most ``block``; not changed.

        Returns:
            [T, span], what is transformed; valid until the next call.
        """
        return self._work(len(frames)).window(frames)

    def _work(self, count: int) -> "_Work":
        work = self._works.get(count)
        if work is None:
            work = self._works[count] = _Work(self.settings, count)
        return work


def _frames_at_once(settings: MelSettings) -> int:
    return max(1, AT_ONCE // settings.n_fft)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Tables:
    """The tables of a block of B frames, one after another: numpy is slower to repeat a table than to read on in it.

    Those of the K bins under M filters are flat, and their places count from the first frame.
    """

    window: Floats  # [B, span]
    lagged: Floats  # [B, span], or a sample less where each frame begins anew
    bins: Places  # [B * K]
    weights: Floats  # [B * K]
    starts: Places  # [B * M]
    floors: Floats  # [B * M]
    cosines: Floats  # [C, M]


@lru_cache(maxsize=8)
def _tables(settings: MelSettings) -> _Tables:
    window, bank, block = window_function(settings), filter_bank(settings), _frames_at_once(settings)
    lagged = settings.preemphasis * window
    if not lead(settings):  # each frame begins anew: its first sample is emphasised by itself
        window[0] -= lagged[0]
        lagged = lagged[1:]
    frame = np.arange(block)[:, np.newaxis]
    return _Tables(
        window=np.tile(window, (block, 1)),
        lagged=np.tile(lagged, (block, 1)),
        bins=(frame * (settings.n_fft // 2 + 1) + bank.bins).ravel(),
        weights=np.tile(bank.weights, block),
        starts=(frame * len(bank.bins) + bank.starts).ravel(),
        floors=np.full(block * settings.mels, settings.floor),
        cosines=cosines(settings),
    )


class _Work:
    """The calculation for T frames: its arrays, and the steps from one to the next, put together once."""

    def __init__(self, settings: MelSettings, count: int) -> None:
        self._settings = settings
        self._lead = lead(settings)
        self._energy = np.empty(count)
        tables, span = _tables(settings), settings.span
        self._window, self._lagged = tables.window[:count], tables.lagged[:count]
        self._centred = np.empty((count, span + self._lead))
        mean = np.empty((count, 1))
        self._mean = mean, mean if count > 1 else mean.reshape(())  # numpy takes half the time for a single number
        self._per_sample = np.array(1 / span)
        self._windowed = np.empty((count, span))
        self._before = np.empty(self._lagged.shape)
        self._after = self._windowed[:, span - self._lagged.shape[1] :]
        self._powers = np.empty((count, settings.n_fft // 2 + 1))
        self._logs = np.empty((count, settings.mels))
        self._cepstra = np.empty((count, settings.coefficients))
        self._result = self._cepstra if settings.coefficients and not settings.top_db else self._logs
        self._steps = (*self._to_powers(), *self._to_logs(tables), *self._to_cepstra(tables))

    def rows(self, frames: Floats, out: Array, inside: Floats | None) -> None:
        """See :meth:`FrameFeatures.rows`."""
        if self._settings.energy == "frame":
            self._take_energy(frames)
        windowed = self.window(frames)
        if inside is not None and self._settings.last_frame == "padded":
            windowed *= inside[:, self._lead :]
        for step in self._steps:
            step()
        out[...] = self._result

    def window(self, frames: Floats) -> Floats:
        """See :meth:`FrameFeatures.windowed`."""
        lead = self._lead
        if self._settings.remove_dc:
            column, mean = self._mean
            np.add.reduce(frames, -1, out=column, keepdims=True)
            np.multiply(mean, self._per_sample, out=mean)
            frames = np.subtract(frames, mean, out=self._centred)
        np.multiply(frames[:, lead:] if lead else frames, self._window, out=self._windowed)
        if self._settings.preemphasis:
            np.multiply(frames[:, :-1], self._lagged, out=self._before)
            np.subtract(self._after, self._before, out=self._after)
        return self._windowed

    def _to_powers(self) -> Iterator[Callable[[], object]]:
        spectrum = np.empty(self._powers.shape, np.complex128)
        parts = spectrum.view(np.float64).reshape(-1)  # real and imaginary, in turn
        powers = self._powers.reshape(-1)
        yield _transform(self._windowed, self._settings.n_fft, spectrum)
        yield partial(np.multiply, parts, parts, out=parts)
        yield partial(np.add, parts[::2], parts[1::2], out=powers)
        if self._settings.energy == "spectrum":
            yield partial(np.add.reduce, self._powers, -1, out=self._energy)
        if self._settings.power == 1:
            yield partial(np.sqrt, powers, out=powers)

    def _to_logs(self, tables: _Tables) -> Iterator[Callable[[], object]]:
        settings, powers, logs = self._settings, self._powers.reshape(-1), self._logs.reshape(-1)
        starts, floors = tables.starts[: len(logs)], tables.floors[: len(logs)]
        bins = tables.bins[: len(self._logs) * (len(tables.bins) // _frames_at_once(settings))]
        under = np.empty(len(bins))
        yield partial(powers.take, bins, None, under, "clip")
        yield partial(np.multiply, under, tables.weights[: len(bins)], out=under)
        yield partial(np.add.reduceat, under, starts, 0, None, logs)
        yield partial(np.maximum if settings.floor_mode == "max" else np.add, logs, floors, out=logs)
        yield partial(np.log if settings.log == "ln" else np.log10, logs, out=logs)
        if settings.log == "db":
            yield partial(np.multiply, logs, np.array(10.0), out=logs)
        elif settings.log == "whisper":
            yield partial(np.add, logs, np.array(4.0), out=logs)
            yield partial(np.divide, logs, np.array(4.0), out=logs)

    def _to_cepstra(self, tables: _Tables) -> Iterator[Callable[[], object]]:
        settings = self._settings
        if self._result is self._logs:
            return
        yield partial(np.einsum, TO_CEPSTRA, self._logs, tables.cosines, out=self._cepstra)
        if settings.energy != "none":
            yield partial(np.maximum, self._energy, settings.floor, out=self._energy)
            yield partial(np.log, self._energy, out=self._cepstra[:, -1 if settings.dct == "htk" else 0])

    def _take_energy(self, frames: Floats) -> None:
        settings = self._settings
        samples = frames[:, self._lead :] * settings.sample_scale
        if settings.remove_dc:
            samples -= np.add.reduce(samples, axis=-1, keepdims=True) / settings.span
        np.add.reduce(np.square(samples), axis=-1, out=self._energy)


def _transform(frames: Floats, n_fft: int, spectrum: npt.NDArray[np.complex128]) -> Callable[[], object]:
    """What, when it is called, transforms the frames that lie in one array into another."""
    if NUMPY_2:
        return partial(np.fft.rfft, frames, n_fft, out=spectrum)
    return lambda: np.copyto(spectrum, np.fft.rfft(frames, n_fft))
