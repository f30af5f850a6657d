import numpy as np
import pytest

from mmedge.clock import SampleClock

NS = 1_000_000_000
START_NS = 7_000_000_000_123


def arrivals(seconds, ppm, *, rate_hz=16000, chunk=160, jitter_ms=1.0, seed=0):
    """Numbers of samples, when they were truly taken, and when they arrived: late by a varying amount, never early."""
    samples = np.arange(1, seconds * rate_hz // chunk + 1) * chunk
    true = START_NS + np.round(samples / (rate_hz * (1 + ppm * 1e-6)) * NS).astype(np.int64)
    late = np.random.default_rng(seed).exponential(jitter_ms * 1e6, len(samples)).astype(np.int64)
    return samples, true, true + late


@pytest.mark.parametrize("ppm", [-200, -40, 0, 15, 200])
def test_the_drift_of_a_card_is_found_to_a_few_ppm(ppm):
    clock = SampleClock(16000)
    for sample, _, t_ns in zip(*arrivals(60, ppm), strict=True):
        clock.observe(int(sample), int(t_ns))
    assert clock.ppm == pytest.approx(ppm, abs=5)


@pytest.mark.parametrize("ppm", [-200, 0, 200])
def test_a_sample_is_dated_to_a_millisecond_at_any_time_of_the_fit(ppm):
    clock = SampleClock(16000)
    errors = []
    for sample, true, t_ns in zip(*arrivals(150, ppm, seed=1), strict=True):
        clock.observe(int(sample), int(t_ns))
        errors.append((clock.time_of(int(sample)) - int(true)) / 1e6)
    settled = np.abs(errors[100:])  # after the first second
    assert settled.max() < 2
    assert np.abs(errors[6000:]).max() < 0.5  # after the first minute


def test_a_delayed_callback_moves_nothing():
    clock = SampleClock(16000)
    for n in range(1, 1000):
        clock.observe(160 * n, n * 10_000_000)
    before = clock.time_of(160_000)
    clock.observe(160_000, 1000 * 10_000_000 + 300_000_000)
    for n in range(1001, 1040):
        clock.observe(160 * n, n * 10_000_000)
    assert abs(clock.time_of(160_000) - before) < 100_000


def test_the_first_arrival_is_all_that_is_known_at_first():
    clock = SampleClock(48000)
    clock.observe(480, START_NS)
    assert clock.time_of(480) == START_NS
    assert clock.time_of(960) == START_NS + 10_000_000
    assert clock.ppm == 0


def test_nothing_is_dated_before_anything_arrived():
    with pytest.raises(ValueError, match="nothing has arrived"):
        SampleClock(16000).time_of(0)
