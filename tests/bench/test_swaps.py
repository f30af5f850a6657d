"""What the benchmark of swaps counts, and how it tells growth from noise."""

import numpy as np
import pytest
from mmedge_bench.swaps import Told, growth, heap_bytes

from mmedge.types import Prediction


def _at(t_ns, model):
    return Prediction(t_ns=t_ns, outputs={}, labels={}, age_ms={}, fresh={}, latency_ns=0, model=model)


def test_ticks_that_are_missing_or_told_twice_are_counted():
    told = Told(hop_ns=10)
    for t_ns, model in ((0, "one"), (10, "one"), (40, "two"), (40, "two"), (50, "one")):
        told(_at(t_ns, model))
    assert (told.ticks, told.switches, told.missing, told.twice, told.newest_ns) == (5, 2, 2, 1, 50)


def test_growth_is_the_slope_and_outliers_do_not_move_it():
    assert growth([7.0 + 3 * number for number in range(30)]) == 3
    assert growth([100.0, 4000.0, 100.0, 100.0, 900.0] * 10) == 0


def test_what_is_allocated_and_not_freed_is_seen():
    try:
        before = heap_bytes()
    except AttributeError:
        pytest.skip("the C library has no mallinfo2")
    held = np.ones(1 << 18, np.float64)
    assert heap_bytes() - before == pytest.approx(held.nbytes, rel=0.2)
    del held
    assert heap_bytes() - before < 1 << 18
