"""Live streams: ticks by the clock, deadlines, and limits of age."""

from itertools import pairwise
from time import monotonic_ns

import numpy as np
import pytest
from duo import CAMERA_NS, FRAMES, HOP_NS, RATE_HZ, T0, WINDOW, picture, predictions, push_hops, sound, until

import mmedge
from mmedge.types import NS


def test_ticks_of_a_grid_go_on_when_no_sensor_gives_anything(duo):
    stream = duo.warm("200hz")
    made = predictions(stream, 20)
    assert all(b.t_ns - a.t_ns == 5_000_000 for a, b in pairwise(made))
    assert all(b.age_ms["audio"] > a.age_ms["audio"] for a, b in pairwise(made))
    assert all(p.latency_ns > 0 for p in made)


def test_a_grid_follows_a_clock_that_is_set(duo):
    offset = [0]
    stream = duo.warm("200hz", clock=lambda: monotonic_ns() + offset[0])
    first = predictions(stream, 3)
    for step in (3600 * NS, -7200 * NS):
        before_ns, offset[0] = monotonic_ns() + offset[0], offset[0] + step
        until(lambda: stream.poll() or True)
        got = predictions(stream, 8)
        assert abs(got[-1].t_ns - before_ns - step) < NS
    assert stream.totals["clock_jumps"] == 2
    assert first


@pytest.mark.parametrize("by_ns", [3600 * NS, -3600 * NS])
def test_decisions_go_on_while_the_window_of_a_sensor_whose_clock_was_set_fills_again(duo, by_ns):
    stream = duo.warm(max_age_ms={"image": 200})
    stream.poll()
    stream.push_frame(picture(5), T0 + by_ns)
    push_hops(stream, 3)
    assert [p.age_ms["image"] for p in predictions(stream, 3)] == [10, 20, 30]
    for i in range(1, FRAMES):
        stream.push_frame(picture(5 + i), T0 + by_ns + i * CAMERA_NS)
        until(lambda i=i: stream.runs["image.item"] == FRAMES + 1 + i)
    until(lambda: stream.branches["image"].newest[1] > T0 + by_ns)
    push_hops(stream, 1, first=3)
    (after,) = predictions(stream, 1)
    assert stream.counters["image"]["jumps"] == 1
    what = "ahead of the tick" if by_ns > 0 else "more than 200 ms"
    assert [what in reason for reason in after.degraded] == [True]


def test_what_is_not_encoded_by_the_deadline_is_served_from_before_with_its_age(duo):
    stream = duo.warm(deadline_ms=20)
    predictions(stream, 1)
    duo.audio.open.clear()
    push_hops(stream, 3)
    made = predictions(stream, 3)
    assert [p.age_ms["audio"] for p in made] == [10, 20, 30]
    assert [p.degraded for p in made] == [(f"audio: not ready by the deadline, {age} ms old",) for age in (10, 20, 30)]
    assert all(p.latency_ns >= 20_000_000 for p in made)
    assert stream.totals["late"] >= 3
    duo.audio.open.set()
    until(lambda: stream.branches["audio"].newest[1] == T0 + 3 * HOP_NS)  # those in between are not encoded
    assert len(duo.audio.given) == 3
    assert stream.poll() == []
    push_hops(stream, 1, first=3)
    assert [(p.age_ms["audio"], p.degraded) for p in predictions(stream, 1)] == [(0, ())]


def test_a_tick_that_is_ready_does_not_wait_for_its_deadline(duo):
    stream = duo.warm(deadline_ms=5000)
    push_hops(stream, 5)
    assert all(p.latency_ns < NS and p.degraded == () for p in predictions(stream, 6))
    assert stream.totals["late"] == 0


@pytest.mark.parametrize("live", [False, True])
def test_data_older_than_its_limit_degrades_the_prediction(duo, live):
    stream = duo.warm(live=live, max_age_ms={"image": 25}) if live else _warm_serial(duo)
    push_hops(stream, 4)
    made = predictions(stream, 4)[-4:]
    ages = [p.age_ms["image"] for p in made]
    assert max(ages) > 25
    told = {age: (f"image: {age:.0f} ms old, more than 25 ms",) if age > 25 else () for age in ages}
    assert [p.degraded for p in made] == [told[age] for age in ages]


def _warm_serial(duo):
    stream = duo.stream(live=False, max_age_ms={"image": 25})
    for i in range(FRAMES):
        stream.push_frame(picture(i), T0 - (FRAMES - 1 - i) * CAMERA_NS)
    stream.push_tensor(np.ones(3, np.float32), T0)
    stream.push_audio(sound(WINDOW), T0 - WINDOW * NS // RATE_HZ)
    return stream


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"deadline_ms": 5, "live": False}, "deadline_ms needs a live stream"),
        ({"deadline_ms": 0}, "deadline_ms is 0"),
        ({"max_age_ms": {"sonar": 5}}, "names 'sonar'; the model has image, audio, lidar"),
        ({"max_age_ms": -1}, "max_age_ms of image is -1"),
    ],
)
def test_options_that_do_not_fit_are_refused(duo, options, text):
    with pytest.raises(mmedge.InputError, match=text):
        duo.stream(**options)
