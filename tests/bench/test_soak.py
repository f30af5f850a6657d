"""A long run: whether memory grows, how many ticks are lost, and that the benchmark itself does not grow."""

from dataclasses import replace

import numpy as np
import pytest
from made_up_results import made_up, segment
from mmedge_bench.decision_log import DecisionLog
from mmedge_bench.resident import resident_kib
from mmedge_bench.scenarios import Scenario
from mmedge_bench.setup import Setup
from mmedge_bench.statistics import estimate_slope
from mmedge_bench.summary import soaks
from mmedge_bench.worker import Worker

from mmedge.records import to_plain
from mmedge.types import Prediction

SECONDS = 120


def soaked(resident_kib, decided=100, expected=100):
    long = segment("mmedge", "soak", 0, [1.0] * decided)
    run = replace(long, rss_kib=tuple(resident_kib), expected=expected)
    return soaks(replace(made_up(1), segments=(run,)))[0]


def prediction(t_ns):
    ports = ("image", "audio")
    return Prediction(
        t_ns=t_ns, outputs={"event": np.zeros(4, np.float32)}, labels={}, age_ms=dict.fromkeys(ports, t_ns / 1e6),
        fresh={"image": t_ns % 2 == 0, "audio": True}, latency_ns=0,
    )  # fmt: skip


def test_memory_that_grows_is_found_with_its_rate():
    noise = np.random.default_rng(0).integers(0, 8, SECONDS)
    grown = soaked(100_000 + 2 * np.arange(SECONDS) + noise).growth_kib
    assert 0 < grown.low < 120 < grown.high
    assert grown.value == pytest.approx(120, abs=5)


def test_memory_that_stays_is_not_said_to_grow():
    noise = np.random.default_rng(1).integers(0, 8, SECONDS)
    flat = soaked(100_000 + noise).growth_kib
    assert flat.low <= 0 <= flat.high


def test_what_fills_at_first_is_left_out():
    filling = np.minimum(np.arange(SECONDS), SECONDS // 4) * 1000
    assert soaked(100_000 + filling).growth_kib.value == 0


def test_a_run_of_a_few_seconds_says_nothing_of_memory():
    short = soaked([100_000] * 10)
    assert short.growth_kib is None
    assert "too short to say" in short.text


def test_ticks_that_were_not_decided_are_lost():
    assert soaked([1] * 60, decided=97, expected=100).lost == 3
    assert "3 of 100 ticks lost" in soaked([1] * 60, decided=97, expected=100).text


def test_a_slope_is_that_of_least_squares():
    random = np.random.default_rng(2)
    x, y = np.arange(50.0), random.standard_normal(50) + 0.3 * np.arange(50)
    found = estimate_slope(x, y)
    assert found.value == pytest.approx(np.polyfit(x, y, 1)[0])
    assert found.low < 0.3 < found.high


def test_decisions_are_written_down_as_they_came_however_many_they_are():
    log = DecisionLog(3, ("image", "audio"))
    for number in range(20):  # more than it made room for
        log.take([prediction(number)])
    assert log.t_ns.tolist() == list(range(20))
    assert (np.diff(log.done_ns) >= 0).all()
    assert log.age_ms()["audio"] == tuple(round(number / 1e6, 4) for number in range(20))
    assert log.fresh()["image"] == tuple(number % 2 == 0 for number in range(20))
    assert log.predictions == []


def test_writing_decisions_down_takes_no_memory():
    log = DecisionLog(20_000, ("image", "audio"))
    before = resident_kib()
    for number in range(20_000):
        log.take([prediction(number)])
    assert resident_kib() - before < 1024  # kept predictions would take twenty times as much


def test_a_run_in_real_time_reads_its_memory_every_second(reference_bundle):
    setup = Setup(
        kind="staged", bundle=str(reference_bundle), variant="fp32", whole="", checkpoint="", spec="", tick="50hz",
        threads=1, rates_hz={"image": 15.0},
    )  # fmt: skip
    scenario = Scenario(name="soak", what="", seconds=2.4, rounds=1, real_time=True)
    made = Worker(setup, "mmedge").segment(to_plain(scenario), 0)
    assert len(made["rss_kib"]) >= 2
    assert min(made["rss_kib"]) > 10_000
    assert max(made["rss_kib"]) <= made["peak_kib"]
