"""A benchmark that hides a stall is worth nothing: one run of one stage takes 300 ms longer."""

from dataclasses import replace

import numpy as np
import pytest
from made_up_results import made_up
from mmedge_bench.injection import Injection
from mmedge_bench.page.timeline import timeline_figure
from mmedge_bench.result import Segment
from mmedge_bench.scenarios import Scenario
from mmedge_bench.setup import Setup
from mmedge_bench.statistics import percentile
from mmedge_bench.summary import latencies_ms, summarize
from mmedge_bench.worker import Worker

from mmedge.bundle import open_bundle
from mmedge.records import from_plain, to_plain

STALL_MS = 300


@pytest.fixture(scope="module")
def stalled(reference_bundle):
    manifest = open_bundle(reference_bundle).manifest
    head = manifest.stages[-1].name
    camera = next(name for name, port in manifest.ports.items() if port.camera)
    setup = Setup(
        kind="staged", bundle=str(reference_bundle), variant="fp32", whole="", checkpoint="", spec="", tick="50hz",
        threads=1, rates_hz={camera: 15.0}, injection=Injection(stage=head, stall_at=20, stall_ms=STALL_MS),
    )  # fmt: skip
    scenario = Scenario(name="paced", what="", seconds=2.4, rounds=1, real_time=True)
    return from_plain(Segment, Worker(setup, "mmedge").segment(to_plain(scenario), 0))


def test_a_stall_is_in_the_tail_and_in_all_that_waited_behind_it(stalled):
    latency = latencies_ms([stalled])[0]
    assert percentile(latency, 100) >= STALL_MS
    assert percentile(latency, 99.9) >= STALL_MS
    # decisions came due every 20 ms while it lasted; each waited for what was left of it
    waited = np.sort(latency)[::-1][: STALL_MS // 20]
    assert (waited >= np.arange(STALL_MS, 0, -20)[: len(waited)] - 20).all()


def test_a_stall_is_in_the_missed_deadlines(stalled):
    row = summarize(replace(made_up(0), segments=(stalled,), blocks=(), starts=()))[0]
    assert row.missed >= (STALL_MS / 20 - 2) / stalled.expected
    assert row.latency_ms["max"].value >= STALL_MS


def test_a_stall_is_on_the_timeline(stalled):
    page = timeline_figure(replace(made_up(0), segments=(stalled,)))
    assert page.count('class="late"') >= STALL_MS / 20 - 2
