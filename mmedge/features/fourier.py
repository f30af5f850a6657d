"""The Fourier transform of real frames into an array that is there already."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["KERNEL", "transform"]

NUMPY_2 = np.lib.NumpyVersion(np.__version__) >= "2.0.0"
KERNEL: Callable[..., Any] | None = getattr(getattr(np.fft, "_pocketfft_umath", None), "rfft_n_even", None)
"""What np.fft.rfft of numpy 2 calls: for a single frame, what surrounds it takes as long as the transform itself."""


def transform(
    frames: npt.NDArray[np.float64],
    n_fft: int,
    spectrum: npt.NDArray[np.complex128],
    kernel: Callable[..., Any] | None = KERNEL,
) -> Callable[[], object]:
    """What, when it is called, transforms the frames that lie in one array into another.

    Args:
        frames: [T, N], zero-padded to n_fft samples each.
        n_fft: Even.
        spectrum: [T, n_fft // 2 + 1].
        kernel: Of the numpy at hand; None goes through np.fft.rfft, which gives the same bits.
    """
    if kernel is not None:
        return partial(kernel, frames, np.array(1.0), spectrum)
    if NUMPY_2:
        return partial(np.fft.rfft, frames, n_fft, out=spectrum)
    return lambda: np.copyto(spectrum, np.fft.rfft(frames, n_fft))
