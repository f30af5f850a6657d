"""Live streams: ticks by the clock, deadlines, and limits of age."""

from itertools import count, pairwise
from threading import Thread
from time import sleep

import numpy as np
import pytest
from duo import (
    CAMERA_NS,
    FRAMES,
    HOP_NS,
    PATIENCE_S,
    RATE_HZ,
    T0,
    WINDOW,
    hear_hops,
    picture,
    predictions,
    predictions_to,
    push_hops,
    sound,
    until,
)

import mmedge
from mmedge.types import NS

GRID_NS = NS // 200


class Clock:
    """Stands still between two ticks of the grid, until they were decided."""

    def __init__(self):
        self.now_ns = T0

    def __call__(self):
        return self.now_ns

    def pass_ticks(self, stream, ticks):
        made = []
        for _ in range(ticks):
            self.now_ns += GRID_NS
            made += predictions_to(stream, self.now_ns)
        return made


def test_ticks_of_a_grid_go_on_when_no_sensor_gives_anything(duo):
    clock = Clock()
    stream = duo.warm("200hz", clock=clock)
    made = clock.pass_ticks(stream, 20)
    assert len(made) >= 20
    assert all(b.t_ns - a.t_ns == GRID_NS for a, b in pairwise(made))
    assert all(b.age_ms["audio"] > a.age_ms["audio"] for a, b in pairwise(made))
    assert all(p.latency_ns > 0 for p in made)


def test_a_grid_follows_a_clock_that_is_set(duo):
    clock = Clock()
    stream = duo.warm("200hz", clock=clock)
    clock.pass_ticks(stream, 3)
    for jumps, step in enumerate((3600 * NS, -7200 * NS), start=1):
        clock.now_ns += step
        until(lambda jumps=jumps: stream.totals["clock_jumps"] == jumps)
        assert [p.t_ns for p in clock.pass_ticks(stream, 8)][-8:] == [
            clock.now_ns - i * GRID_NS for i in reversed(range(8))
        ]
    assert stream.totals["clock_jumps"] == 2
    assert stream.totals["passed_over"] == 0


def test_a_grid_is_passed_over_and_can_be_closed_where_decisions_take_longer_than_its_ticks(duo):
    stream = duo.warm("200hz")
    duo.head.before = lambda: sleep(4 * GRID_NS / NS)
    until(lambda: stream.totals["passed_over"] > 3)
    closing = Thread(target=stream.close, daemon=True)
    closing.start()
    closing.join(PATIENCE_S)
    duo.head.before = lambda: None
    assert not closing.is_alive()


@pytest.mark.parametrize("by_ns", [3600 * NS, -3600 * NS])
def test_decisions_go_on_while_the_window_of_a_sensor_whose_clock_was_set_fills_again(duo, by_ns):
    stream = duo.warm(max_age_ms={"image": 200})
    stream.poll()
    stream.push_frame(picture(5), T0 + by_ns)
    assert [p.age_ms["image"] for p in hear_hops(stream, 3)] == [10, 20, 30]
    for i in range(1, FRAMES):
        stream.push_frame(picture(5 + i), T0 + by_ns + i * CAMERA_NS)
        until(lambda i=i: stream.runs["image.item"] == FRAMES + 1 + i)
    until(lambda: stream.branches["image"].newest[1] == T0 + by_ns + (FRAMES - 1) * CAMERA_NS)
    (after,) = hear_hops(stream, 1, first=3)
    assert stream.counters["image"]["jumps"] == 1
    what = "ahead of the tick" if by_ns > 0 else "more than 200 ms"
    assert [what in reason for reason in after.degraded] == [True]


def test_what_is_not_encoded_by_the_deadline_is_served_from_before_with_its_age(duo):
    stream = duo.warm(deadline_ms=20)
    first = _hop_in_time(stream, 0)
    duo.audio.open.clear()
    duo.audio.busy.clear()
    encoded = len(duo.audio.given)
    push_hops(stream, 1, first)
    assert duo.audio.busy.wait(PATIENCE_S)
    push_hops(stream, 2, first + 1)
    made = predictions(stream, 3)
    assert [p.age_ms["audio"] for p in made] == [10, 20, 30]
    assert [p.degraded for p in made] == [(f"audio: not ready by the deadline, {age} ms old",) for age in (10, 20, 30)]
    assert all(p.latency_ns >= 20_000_000 for p in made)
    assert stream.totals["late"] >= 3
    duo.audio.open.set()
    until(lambda: stream.branches["audio"].newest[1] == T0 + (first + 3) * HOP_NS)
    assert len(duo.audio.given) == encoded + 2  # those in between are not encoded
    assert stream.poll() == []
    _hop_in_time(stream, first + 3)


def _hop_in_time(stream, first):
    """Push hops from a number on until one is encoded by its deadline, which a busy machine misses; the next number."""
    for i in count(first):
        push_hops(stream, 1, i)
        until(lambda i=i: stream.branches["audio"].newest[1] == T0 + (i + 1) * HOP_NS)
        if [(p.age_ms["audio"], p.degraded) for p in predictions_to(stream, T0 + (i + 1) * HOP_NS)][-1] == (0, ()):
            return i + 1
    raise AssertionError


def test_a_tick_that_is_ready_does_not_wait_for_its_deadline(duo):
    stream = duo.warm(deadline_ms=10 * PATIENCE_S * 1000)
    made = predictions(stream, 1) + hear_hops(stream, 5)
    assert all(p.latency_ns < PATIENCE_S * NS and p.degraded == () for p in made)
    assert stream.totals["late"] == 0


@pytest.mark.parametrize("live", [False, True])
def test_data_older_than_its_limit_degrades_the_prediction(duo, live):
    stream = duo.warm(live=live, max_age_ms={"image": 25}) if live else _warm_serial(duo)
    made = hear_hops(stream, 4)[-4:]
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
