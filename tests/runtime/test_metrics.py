"""What a stream did, as numbers and as log records."""

import json
import logging
import subprocess
import sys
from math import inf

import numpy as np
import pytest
from duo import T0, picture, sound
from hypothesis import given
from hypothesis import strategies as st

from mmedge.journal import Journal, JsonFormatter, tell
from mmedge.metrics import Histogram
from mmedge.types import NS

HOP_NS = NS // 100


def feed(stream, hops, first=1):
    for i in range(first, first + hops):
        t_ns = T0 + i * HOP_NS
        stream.push_frame(picture(i), t_ns)
        stream.push_tensor(np.ones(3, np.float32), t_ns)
        stream.push_audio(sound(160, seed=i), t_ns - HOP_NS)


@given(st.lists(st.floats(-10, 200), min_size=1), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_a_quantile_lies_in_its_bucket(values, part):
    histogram = Histogram((0, 1, 10, 100))
    for value in values:
        histogram.add(value)
    exact = np.quantile(values, part, method="inverted_cdf")
    upper = next(bound for bound in (0, 1, 10, 100, inf) if exact <= bound)
    assert histogram.quantile(part) == min(upper, max(values))
    plain = histogram.plain()
    assert plain["buckets"] == {
        "0": sum(v <= 0 for v in values),
        "1": sum(v <= 1 for v in values),
        "10": sum(v <= 10 for v in values),
        "100": sum(v <= 100 for v in values),
        "+Inf": len(values),
    }
    assert plain["count"] == len(values)
    assert plain["sum"] == pytest.approx(sum(values))


def test_what_is_no_number_is_not_counted():
    histogram = Histogram((1,))
    histogram.add(inf)
    histogram.add(float("nan"))
    assert histogram.plain() == {
        "count": 0, "sum": 0, "max": 0, "p50": None, "p99": None, "buckets": {"1": 0, "+Inf": 0},
    }  # fmt: skip


def test_a_snapshot_tells_what_happened(duo):
    stream = duo.stream("audio", live=False, max_age_ms={"image": 30}, model="duo@1")
    assert stream.metrics()["observed"] == 0
    feed(stream, 10)
    for i in range(11, 21):  # without pictures and scans
        stream.push_audio(sound(160, seed=i), T0 + (i - 1) * HOP_NS)
    told = stream.poll()
    found = stream.metrics()
    assert json.loads(json.dumps(found)) == found
    assert found["model"] == "duo@1"
    assert found["ticks"] == found["observed"] == found["latency_ms"]["count"] == len(told)
    image = found["ports"]["image"]
    assert image["age_ms"]["max"] == pytest.approx(max(now.age_ms["image"] for now in told))
    assert image["stale"] == sum(not now.fresh["image"] for now in told) == 10
    assert image["degraded"] == found["degraded"] == sum(bool(now.degraded) for now in told) > 0
    assert image["counts"]["gaps"] == 0
    assert found["ports"]["audio"]["degraded"] == 0
    assert found["ports"]["audio"]["health"] == stream.health["audio"].state
    assert found["stages"]["head"]["runs"] == len(told)
    assert found["stages"]["head"]["work_ms"] == stream.work_ns["head"] / 1e6


def test_decisions_that_become_degraded_are_logged_once(duo, caplog):
    caplog.set_level(logging.INFO, "mmedge")
    stream = duo.stream("audio", live=False, max_age_ms={"image": 30})
    feed(stream, 5)
    assert not caplog.records
    for i in range(6, 21):
        stream.push_audio(sound(160, seed=i), T0 + (i - 1) * HOP_NS)
    feed(stream, 2, first=21)
    begin, end = (record for record in caplog.records if record.event == "degraded")
    assert (begin.port, begin.levelname) == ("image", "WARNING")
    assert "ms old, more than 30 ms" in begin.detail
    assert (end.port, end.state, end.levelname) == ("image", "ok", "INFO")
    line = json.loads(JsonFormatter().format(begin))
    assert line["event"] == "degraded"
    assert line["text"].startswith("decisions are degraded: image: ")


def test_events_that_repeat_are_told_once_a_second(duo, caplog):
    caplog.set_level(logging.INFO, "mmedge")
    stream = duo.stream("audio", live=False, max_age_ms={"image": 5})
    stream.observers[:] = [Journal(stream, every_ns=3600 * NS)]
    feed(stream, 4)
    for i in range(5, 45):  # old at every second tick
        if i % 2:
            stream.push_frame(picture(i), T0 + i * HOP_NS)
        stream.push_audio(sound(160, seed=i), T0 + (i - 1) * HOP_NS)
    assert sum(bool(now.degraded) for now in stream.poll()) >= 10
    assert sorted(record.levelname for record in caplog.records) == ["INFO", "WARNING"]


def test_losses_are_logged_together(duo, caplog):
    caplog.set_level(logging.INFO, "mmedge")
    stream = duo.stream("audio", live=False)
    stream.observers[:] = [Journal(stream, every_ns=0)]
    feed(stream, 5)
    stream.push_audio(sound(160), T0 + 6 * HOP_NS)  # a hop is missing
    assert any(r.event == "counts" and r.port == "audio" and "lost_samples" in r.counts for r in caplog.records)


def test_nothing_of_this_is_imported_or_printed_by_a_program_that_does_not_use_it():
    program = (
        "import sys, mmedge\n"
        "print(sorted(n for n in sys.modules if n in {'logging', 'http.server', 'mmedge.metrics', 'mmedge.swap',"
        " 'mmedge.journal', 'mmedge.agreement', 'mmedge.view'}))\n"
        "from mmedge.journal import tell\n"
        "tell('ERROR', 'swap', 'text')\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (told.stdout, told.stderr) == ("[]\n", "")


def test_fields_of_an_event_are_those_of_its_record(caplog):
    caplog.set_level(logging.INFO, "mmedge")
    tell("WARNING", "sensor", "gone", source="camera://0", state="lost")
    (record,) = caplog.records
    assert (record.event, record.source, record.state) == ("sensor", "camera://0", "lost")
    assert json.loads(JsonFormatter().format(record))["source"] == "camera://0"
