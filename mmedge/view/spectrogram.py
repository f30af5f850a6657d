"""Sound as a picture that grows: one column of loudness by pitch for every 20 ms."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["BANDS", "COLUMNS_HZ", "Spectrogram"]

BANDS = 64
COLUMNS_HZ = 50
FLOOR_DB, CEILING_DB = -90.0, 0.0  # of a sine of full scale: the faintest and the loudest that can be told apart
LOWEST_HZ = 60.0
LONGEST_S = 2  # sound that waits longer than this is left out


class Spectrogram:
    """Turns chunks of sound into columns; for one thread.

    Args:
        rate_hz: Samples per second.

    Attributes:
        edges_hz: [BANDS + 1] the borders of the bands, equally far apart in pitch above 1 kHz, and in hertz below.
    """

    def __init__(self, rate_hz: int) -> None:
        self._hop = rate_hz // COLUMNS_HZ
        self._length = 1 << (2 * self._hop - 1).bit_length()
        self._most = LONGEST_S * rate_hz
        self._window = np.hanning(self._length).astype(np.float32)
        mel = np.linspace(_to_mel(LOWEST_HZ), _to_mel(rate_hz / 2), BANDS + 1)
        self.edges_hz = 700 * (np.exp(mel / 1127) - 1)
        bins = np.round(self.edges_hz * self._length / rate_hz).astype(int)
        self._bins = [(low, max(low + 1, high)) for low, high in pairwise(bins)]
        self._scale = 2 / self._window.sum()
        self._rest = np.zeros(0, np.float32)

    def push(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """The columns that are complete with these samples.

        Args:
            samples: [N] float32 in -1..1.

        Returns:
            [columns, BANDS] uint8, low pitches first; 0 is -90 dB of full scale or less, 255 is 0 dB.
        """
        sound = np.concatenate([self._rest, np.nan_to_num(samples)])[-self._most :]
        count = max(0, (len(sound) - self._length) // self._hop + 1)
        self._rest = sound[count * self._hop :]
        if not count:
            return np.zeros((0, BANDS), np.uint8)
        frames = np.lib.stride_tricks.sliding_window_view(sound, self._length)[:: self._hop][:count]
        heights = np.abs(np.fft.rfft(frames * self._window, axis=1)) * self._scale
        loudest = np.stack([heights[:, low:high].max(axis=1) for low, high in self._bins], axis=1)
        decibels = 20 * np.log10(np.maximum(loudest, 1e-6))
        columns: npt.NDArray[np.uint8] = np.clip(255 * (decibels - FLOOR_DB) / (CEILING_DB - FLOOR_DB), 0, 255).astype(
            np.uint8
        )
        return columns


def _to_mel(hz: float) -> float:
    """Source: O'Shaughnessy, Speech Communication (1987)."""
    return float(1127 * np.log1p(hz / 700))
