"""The tables of a mel front end as a graph computes it: one kernel for all that is linear, then filters and cosines.

The mean that is taken out, the pre-emphasis, the window function and the Fourier transform are linear in the samples of
a frame. They are folded in float64 into one kernel, so that a convolution with the hop as its stride does them all.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mmedge.errors import SpecError
from mmedge.features.filters import cosines, mel_weights
from mmedge.features.frames import lead, source_samples
from mmedge.features.mel import MelSettings
from mmedge.features.settings import AudioSettings
from mmedge.features.spectral import DB_PER_UNIT, FrameFeatures

__all__ = ["FrontTables", "front_tables", "mel_of"]

Floats = npt.NDArray[np.float64]

MAX_KERNEL_BYTES = 128 << 20  # as float32: n_fft = 4096 takes 64 MiB
LOG_STEPS = {"ln": (1.0, 0.0), "log10": (np.log(10), 0.0), "db": (np.log(10) / 10, 0.0), "whisper": (np.log(1e4), 1.0)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrontTables:
    """What a window of samples is multiplied with, in order.

    Attributes:
        positions: [L] int, the samples of the window that frames are taken from, padding included.
        factors: [L] what these are multiplied with: 0 where a zero stands.
        hop: From one frame to the next, in ``positions``.
        frames: T.
        kernel: [2 * K, width], the cosines of K bins, then their sines.
        energy_kernel: [span, width] frames whose squares add up to the energy of a frame; no rows where none is asked.
        weights: [M, K], the mel filters.
        cosines: [C, M], those of the cepstral coefficients that no energy replaces; no rows for log-mel.
        log_step: The natural logarithm is divided by this.
        log_offset: Then this is added.
        top: How far below the largest value of the window values are raised, in units of the logarithm; 0 for off.
    """

    positions: npt.NDArray[np.intp]
    factors: Floats
    hop: int
    frames: int
    kernel: Floats
    energy_kernel: Floats
    weights: Floats
    cosines: Floats
    log_step: float
    log_offset: float
    top: float


@lru_cache(maxsize=4)
def front_tables(settings: AudioSettings) -> FrontTables:
    """The tables of a port, built once.

    Raises:
        SpecError: A graph cannot compute what is asked, or its kernel would be too large.
    """
    mel = mel_of(settings)
    if mel.energy == "frame" and mel.last_frame == "padded":
        raise SpecError(
            f'{mel.convention}: energy = "frame" of a padded last frame is not computed in a graph; '
            'choose energy = "spectrum", last_frame = "whole" or front_end = "host"'
        )
    if mel.energy != "none" and mel.coefficients == 1:
        raise SpecError(f"{mel.convention}: coefficients = 1 with energy leaves none to compute; choose 2 or more")
    width = mel.span + lead(mel)
    if (size := 4 * (mel.n_fft + 2) * width) > MAX_KERNEL_BYTES:
        raise SpecError(
            f"n_fft = {mel.n_fft} would put a kernel of {size >> 20} MiB in the graph, more than "
            f'{MAX_KERNEL_BYTES >> 20} MiB; choose a smaller n_fft or front_end = "host"'
        )
    frames = mel.frames_in(settings.window_samples)
    positions, factors = _padded(mel, settings.window_samples, (frames - 1) * mel.hop_length + width)
    weights = mel_weights(mel)
    used = weights.any(axis=0) | (mel.energy == "spectrum")
    features = FrameFeatures(mel)
    windowed = np.concatenate([features.windowed(unit).copy() for unit in np.eye(width)[:, np.newaxis]])
    spectrum = np.fft.rfft(windowed, mel.n_fft)[:, used].T
    rows = cosines(mel)
    if mel.energy != "none":
        rows = rows[:-1] if mel.dct == "htk" else rows[1:]
    step, offset = LOG_STEPS[mel.log]
    return FrontTables(
        positions=positions,
        factors=factors,
        hop=mel.hop_length,
        frames=frames,
        kernel=np.concatenate([spectrum.real, spectrum.imag]),
        energy_kernel=_centring(mel, width) if mel.energy == "frame" else np.zeros((0, width)),
        weights=weights[:, used],
        cosines=rows,
        log_step=step,
        log_offset=offset,
        top=mel.top_db / DB_PER_UNIT[mel.log],
    )


def mel_of(settings: AudioSettings) -> MelSettings:
    """The constants of a port's features.

    Raises:
        SpecError: It takes a waveform, which has none.
    """
    if settings.mel is None:
        raise SpecError("a waveform has no front end that a graph could compute")
    return settings.mel


def _padded(mel: MelSettings, samples: int, length: int) -> tuple[npt.NDArray[np.intp], Floats]:
    wanted = np.arange(length) - mel.padding - lead(mel)
    positions, inside = source_samples(mel, samples, wanted)
    factors = inside.astype(np.float64)
    after = wanted >= samples
    if lead(mel) and mel.last_frame == "padded":
        # Zeros come after pre-emphasis, x[n] - k * x[n - 1]; before it, they are what it makes zeros of.
        positions = np.where(after, samples - 1, positions)
        factors[after] = mel.preemphasis ** (wanted[after] - samples + 1.0)
    return positions, factors


def _centring(mel: MelSettings, width: int) -> Floats:
    frame = np.eye(mel.span, width, width - mel.span)
    if mel.remove_dc:
        frame[:, width - mel.span :] -= 1 / mel.span
    return frame * mel.sample_scale
