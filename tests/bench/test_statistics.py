import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmedge_bench.statistics import estimate, estimate_ratio, percentile


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=60), st.sampled_from([50.0, 90.0, 99.0, 99.9, 100.0]))
def test_a_percentile_is_the_smallest_sample_that_enough_do_not_exceed(samples, percent):
    ordered = sorted(samples)
    enough = next(value for value in ordered if sum(s <= value for s in ordered) >= percent / 100 * len(ordered) - 1e-9)
    assert percentile(samples, percent) == enough


def test_the_largest_sample_is_never_trimmed():
    samples = np.ones(10_000)
    samples[17] = 300
    assert percentile(samples, 100) == 300
    assert estimate([samples], 100).value == 300


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    # 95 % intervals of a median over samples that resemble their neighbours; 60 of them hold it in 50 or more
    held = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        steps = random.standard_normal(600)
        walk = np.empty(600)
        walk[0] = steps[0]
        for i in range(1, 600):
            walk[i] = 0.7 * walk[i - 1] + steps[i]
        found = estimate([walk], 50)
        held += found.low <= 0 <= found.high
    assert held >= 50


def test_a_ratio_of_the_same_samples_is_one():
    groups = [np.random.default_rng(i).uniform(1, 2, 100) for i in range(4)]
    found = estimate_ratio(groups, groups, 50)
    assert found.value == 1
    assert found.low < 1 < found.high


def test_a_ratio_sees_a_factor():
    groups = [np.random.default_rng(i).uniform(1, 1.1, 100) for i in range(4)]
    assert estimate_ratio(groups, [2 * g for g in groups], 99).value == pytest.approx(2)
