"""The transform of frames is that of np.fft.rfft, whatever it goes through."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mmedge.features.fourier import KERNEL, NUMPY_2, transform


@pytest.mark.parametrize("kernel", [KERNEL, None])
@pytest.mark.parametrize(("samples", "n_fft"), [(400, 400), (400, 512), (275, 512), (2048, 2048), (6, 14)])
@pytest.mark.parametrize("frames", [1, 5])
def test_the_transform_is_that_of_numpy_to_the_last_bit(kernel, samples, n_fft, frames):
    given = np.random.default_rng(0).standard_normal((frames, samples))
    spectrum = np.full((frames, n_fft // 2 + 1), np.nan, np.complex128)
    transform(given, n_fft, spectrum, kernel)()
    assert_array_equal(spectrum, np.fft.rfft(given, n_fft))


@pytest.mark.skipif(not NUMPY_2, reason="numpy before 2.0 has no transform into an array")
def test_this_numpy_has_the_transform_that_a_hop_is_quick_with():
    assert KERNEL is not None
