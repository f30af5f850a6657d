import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmedge_export.quantize.ranges import Histogram


def counted(*parts):
    histogram = Histogram()
    assert all(histogram.add(np.asarray(part, np.float32)) for part in parts)
    return histogram.range()


def rounding_error(values, limit):
    """What symmetric 8-bit numbers with this limit cost, by doing it."""
    step = limit / 127
    return np.mean((np.clip(np.rint(values / step), -127, 127) * step - values) ** 2)


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(6)), st.lists(st.floats(1e-6, 1e6), min_size=6, max_size=6))
def test_the_order_in_which_values_come_does_not_matter(order, scales):
    random = np.random.default_rng(0)
    parts = [scale * random.standard_normal(50) for scale in scales]
    assert counted(*(parts[i] for i in order)) == counted(np.concatenate(parts))


def test_low_and_high_are_the_smallest_and_largest_values():
    found = counted([-3.5, 0.25], [7.0, 1.0])
    assert (found.low, found.high) == (-3.5, 7.0)
    assert found.clipped("minmax") == (-3.5, 7.0)


def test_a_range_holds_zero_also_where_no_value_is_near_it():
    assert counted([4.0, 5.0]).clipped("minmax") == (0.0, 5.0)
    assert counted([-4.0, -5.0]).clipped("mse") == (-5.0, 0.0)


def test_the_percentile_is_numpys_to_within_a_bin():
    values = np.random.default_rng(1).standard_normal(200_000).astype(np.float32)
    expected = np.quantile(np.abs(values), 0.9999)
    assert counted(values).percentile == pytest.approx(expected, abs=8 / 2048)  # the width is 8, in 2048 bins


@pytest.mark.parametrize("draw", ["normal", "laplace", "uniform"])
def test_the_mean_squared_error_is_the_smallest_that_can_be_had(draw):
    values = getattr(np.random.default_rng(2), draw)(size=40_000).astype(np.float32)
    found = rounding_error(values, counted(values).mse)
    best = min(rounding_error(values, limit) for limit in np.linspace(0.1, 1, 200) * np.abs(values).max())
    assert found <= 1.05 * best


def test_outliers_are_clipped_by_every_method_but_minmax():
    values = np.random.default_rng(3).standard_normal(100_000).astype(np.float32)
    values[:5] = 1000
    found = counted(values)
    assert found.clipped("minmax")[1] == 1000
    assert found.percentile < 10
    assert found.entropy < 250


def test_nan_and_infinity_are_told_and_not_counted():
    histogram = Histogram()
    assert not histogram.add(np.array([1.0, np.nan], np.float32))
    assert not histogram.add(np.array([1.0, np.inf], np.float32))
    with pytest.raises(ValueError, match="no values"):
        histogram.range()


def test_zeros_alone_have_a_range_of_zero():
    assert counted(np.zeros(9)).clipped("entropy") == (0.0, 0.0)
