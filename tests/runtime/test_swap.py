"""One model in the place of another, between two ticks."""

import gc
import logging
import threading
from gc import collect, get_objects
from itertools import pairwise
from threading import Thread
from weakref import ref

import numpy as np
import pytest
from duo import (
    FRAMES,
    HOP,
    HOP_NS,
    PATIENCE_S,
    T0,
    WINDOW,
    Double,
    Duo,
    hear,
    manifest,
    picture,
    predictions,
    predictions_to,
    sound,
    until,
)

import mmedge
from mmedge.errors import ClosedError, InputError, StreamError
from mmedge.stream import Stream, StreamOptions


class NoList(list):
    def append(self, item):
        pass


class Other(Duo):
    """The same model but for the sound's encoder; what a loaded model is to a swap."""

    def __init__(self, name="other", shift=100.0):
        super().__init__(audio=Double(("audio",), ("heard",), lambda sound: hear(sound) + np.float32(shift)))
        self.name, self.manifest = name, manifest()

    def stream_like(self, stream):
        options = StreamOptions(live=stream.options.live, model=self.name)
        sessions = {"image.item": self.item, "image": self.image, "audio": self.audio, "head": self.head}
        opened = Stream(self.manifest, sessions, stream.tick.text, None, options)
        self.streams = [opened]  # the swap closes those before it
        for double in sessions.values():  # keep no copies of what they are given
            double.given = NoList()
        return opened


@pytest.fixture
def other():
    made = Other()
    yield made
    made.close()


class Sensors:
    """Pushes hop after hop of sound, each with a picture and a scan.

    To a live stream each when the one before was decided: it leaves out pictures and ticks where the machine is behind.
    """

    def __init__(self, stream):
        self.stream, self.hops, self.told_ns = stream, 0, None
        stream.observers.append(self.note)

    @property
    def newest_ns(self):
        return T0 + self.hops * HOP_NS

    def note(self, prediction):
        self.told_ns = prediction.t_ns

    def is_decided(self):
        if self.told_ns is not None:
            return self.told_ns == self.newest_ns
        return all(b.feed.ingested == b.feed.accepted for b in self.stream.branches.values())

    def push_until(self, condition):
        while not condition():
            self.push()

    def push(self, hops=1):
        for _ in range(hops):
            until(self.is_decided)
            self.hops += 1
            self.stream.push_frame(picture(self.hops), self.newest_ns)
            self.stream.push_tensor(np.full(3, self.hops, np.float32), self.newest_ns)
            self.stream.push_audio(sound(HOP, seed=self.hops), self.newest_ns - HOP_NS)


def opened(duo, *, live, tick="audio"):
    stream = duo.stream(tick, live=live, model="first")
    for double in (duo.item, duo.image, duo.audio, duo.head):
        double.given = NoList()
    return stream, Sensors(stream)


def decided(duo, *, live):
    """A stream that has decided, at its fifth hop at the latest if it is serial."""
    stream, sensors = opened(duo, live=live)
    sensors.push(5)
    sensors.push_until(lambda: stream.totals["ticks"])
    return stream, sensors


def is_of(prediction):
    """Which model's sound is in it."""
    return "other" if prediction.outputs["out"][2] > 50 else "first"


@pytest.mark.parametrize("live", [False, True])
def test_a_hundred_swaps_lose_no_tick_and_no_memory(duo, live, caplog):
    caplog.set_level(logging.CRITICAL, "mmedge")  # pytest keeps every record
    stream, sensors = decided(duo, live=live)
    told = predictions(stream, 1)
    models, sizes = [Other(), Other("first", 0.0)], []
    for i in range(100):
        with mmedge.Swap(stream, models[i % 2]) as swap:
            sensors.push_until(lambda swap=swap: swap.ready)
            sensors.push(2)  # so that one is on its way while it switches
            swap.switch()
            sensors.push()
        told += stream.poll()
        if i % 33 == 32:
            collect()
            sizes.append(len(get_objects()) - len(told))
    sensors.push()
    told += predictions_to(stream, sensors.newest_ns)
    assert set(np.diff([now.t_ns for now in told])) == {HOP_NS}
    assert told[-1].t_ns == sensors.newest_ns
    assert all(is_of(now) == now.model for now in told)
    assert {now.model for now in told} == {"first", "other"}
    assert stream.totals["ticks"] == len(told)
    assert max(sizes) - min(sizes) < 50
    stream.close()
    for model in models:
        model.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("mmedge-duo")]


@pytest.mark.parametrize("live", [False, True])
def test_ticks_of_both_models_are_the_same_wherever_the_swap_begins_and_however_sound_is_stamped(duo, live):
    """The two count hops from different packets on, of a microphone whose times jitter and drift."""
    stream, other = opened(duo, live=live)[0], Other("other", 0.0)
    part, rng = HOP // 4, np.random.default_rng(3)

    def push(begin, end):
        for i in range(begin, end):
            true_ns = T0 + i * HOP_NS // 4
            if i % 4 == 0:
                stream.push_frame(picture(i), true_ns)
                stream.push_tensor(np.full(3, i, np.float32), true_ns)
            jitter_ns = int(rng.integers(-900_000, 900_000))
            stream.push_audio(sound(part, seed=i), true_ns * 1001 // 1000 - T0 // 1000 + jitter_ns)
            until(lambda: all(b.feed.ingested == b.feed.accepted for b in stream.branches.values()))

    push(0, 41)
    with mmedge.Swap(stream, other) as swap:
        push(41, 120)
        assert swap.wait(PATIENCE_S)
        swap.switch()
        push(120, 161)
        told = predictions(stream, 36)
    times = [now.t_ns for now in told]
    assert len(set(times)) == len(times)
    assert all(abs(step - HOP_NS) < 1_000_000 for step in np.diff(times))
    assert swap.report.outputs["out"].ticks >= 20
    other.close()


@pytest.mark.parametrize("live", [False, True])
def test_swaps_while_other_threads_push_lose_no_tick(duo, other, live):
    stream, sensors = opened(duo, live=live)
    stop = threading.Event()

    def push():
        while not stop.is_set():
            sensors.push()
            stop.wait(0.003)

    pushing = Thread(target=push)
    told = []
    fetching = Thread(target=lambda: told.extend(stream))
    pushing.start()
    fetching.start()
    with mmedge.Swap(stream, other) as swap:
        assert swap.wait(PATIENCE_S)
        for _ in range(20):
            swap.switch()
            until(lambda: told and told[-1].model == "other")
            swap.roll_back()
            until(lambda: told[-1].model == "first")
    stop.set()
    pushing.join()
    until(lambda: told[-1].t_ns == sensors.newest_ns)
    stream.close()
    fetching.join()
    assert set(np.diff([now.t_ns for now in told])) == {HOP_NS}
    assert all(is_of(now) == now.model for now in told)
    assert told[-1].model == "first"
    assert sum(a.model != b.model for a, b in pairwise(told)) >= 20


@pytest.mark.parametrize("live", [False, True])
def test_the_model_that_was_exchanged_is_freed_without_the_collector(duo, other, live):
    stream, sensors = decided(duo, live=live)
    before = ref(stream.works)
    gc.disable()
    try:
        with mmedge.Swap(stream, other) as swap:
            sensors.push_until(lambda: swap.ready)
            swap.switch()
        until(lambda: before() is None)
        between, over = ref(stream.works), ref(swap)
        with mmedge.Swap(stream, Other("third")) as swap:
            sensors.push_until(lambda: swap.ready)
            swap.switch()
        other.streams.clear()
        until(lambda: between() is None and over() is None)
    finally:
        gc.enable()
    assert swap.report.ticks[1] > 0


def test_a_tick_is_told_once_when_the_next_swap_begins_while_the_new_model_is_behind(duo, other):
    stream, sensors = decided(duo, live=True)
    third = Other("third")
    with mmedge.Swap(stream, other) as swap:
        sensors.push_until(lambda: swap.ready)
        other.audio.open.clear()
        sensors.push(3)  # the first model decides these, the new one is held up
        told = predictions_to(stream, sensors.newest_ns)
        swap.switch()
    with mmedge.Swap(stream, third) as swap:
        other.audio.open.set()
        sensors.push_until(lambda: swap.ready)
        swap.switch()
        sensors.push(2)
        told += predictions_to(stream, sensors.newest_ns)
    assert set(np.diff([now.t_ns for now in told])) == {HOP_NS}
    assert [now.model for now in told] == sorted((now.model for now in told), key=["first", "other", "third"].index)
    stream.close()
    third.close()


def test_the_shadow_is_compared_and_not_heard(duo, other):
    stream, sensors = opened(duo, live=False)
    sensors.push(5)
    with mmedge.Swap(stream, other) as swap:
        assert (swap.state, swap.ready) == ("shadow", False)
        sensors.push(10)
        assert swap.ready
        found = swap.report
        assert found.ticks[0] == 10
        assert found.ticks[1] == 10 - FRAMES + 1
        assert found.outputs["out"].ticks == found.ticks[1]
        assert found.outputs["out"].max_difference >= 100
        assert found.outputs["out"].same_label is None
        assert found.work_ms[1] > 0
        assert "differs by" in str(found)
    assert swap.state == "closed"
    assert {now.model for now in stream.poll()} == {"first"}
    sensors.push()
    assert [now.model for now in stream.poll()] == ["first"]


def test_labels_are_compared(model, reference_bundle):
    with mmedge.load(reference_bundle) as same, model.stream("audio") as stream, mmedge.Swap(stream, same) as swap:
        for i in range(100):
            if i % 4 == 0:
                stream.push_frame(np.full((24, 32, 3), i, np.uint8), i * 20_000_000)
            stream.push_audio(sound(320, seed=i), i * 20_000_000)
        swap.switch()
        found = swap.report.outputs["event"]
        assert found.ticks > 5
        assert (found.same_label, found.max_difference) == (1.0, 0.0)
        assert same.id == model.id
        assert {now.model for now in stream.poll()} == {model.id}


def test_a_switch_before_the_windows_are_full_is_refused(duo, other):
    stream, sensors = opened(duo, live=False)
    sensors.push(5)
    with mmedge.Swap(stream, other) as swap:
        sensors.push(1)
        with pytest.raises(InputError, match="nothing whole yet of image"):
            swap.switch()
        assert not swap.wait(0)


def test_a_new_model_that_breaks_disturbs_nobody(duo, other):
    stream, sensors = decided(duo, live=True)
    with mmedge.Swap(stream, other) as swap:
        other.head.function = None  # not callable
        sensors.push_until(lambda: swap.error is not None)
        with pytest.raises(StreamError, match="the new model broke"):
            swap.switch()
        sensors.push()
        assert predictions_to(stream, sensors.newest_ns)[-1].model == "first"


@pytest.mark.parametrize("live", [False, True])
def test_a_model_that_breaks_after_the_switch_is_replaced_by_the_first_one(duo, other, live):
    stream, sensors = decided(duo, live=live)
    with mmedge.Swap(stream, other) as swap:
        sensors.push_until(lambda: swap.ready)
        swap.switch()
        sensors.push_until(lambda: swap.report.ticks[1] >= 10)
        other.audio.function = None
        sensors.push(10)
        until(lambda: swap.state == "shadow")
        told = predictions_to(stream, sensors.newest_ns)
    assert set(np.diff([now.t_ns for now in told])) == {HOP_NS}
    assert told[-1].model == "first"
    sensors.push()
    assert predictions(stream, 1)[0].model == "first"


def test_observers_see_what_is_told_whoever_told_it(duo, other):
    stream, sensors = opened(duo, live=False)
    seen = []
    stream.observers.append(seen.append)
    sensors.push(5)
    with mmedge.Swap(stream, other) as swap:
        sensors.push(5)
        swap.switch()
        sensors.push(5)
    sensors.push(5)
    assert seen == stream.poll()
    assert [now.model for now in seen[-10:]] == ["other"] * 10


def test_the_health_of_sensors_is_known_to_the_new_model(duo, other):
    stream, sensors = opened(duo, live=False)
    sensors.push(5)
    with mmedge.Swap(stream, other) as swap:
        sensors.push(5)
        swap.switch()
    assert stream.works.manifest is other.manifest
    assert {state.state for state in stream.health.values()} == {"healthy"}


def test_a_model_with_other_sensors_is_refused(duo, other):
    stream, _ = opened(duo, live=True)
    ports = {name: port for name, port in other.manifest.ports.items() if name != "lidar"}
    object.__setattr__(other.manifest, "ports", ports)
    object.__setattr__(other.manifest, "stages", ())
    with pytest.raises(InputError, match=r"duo has other sensors: .*; the stream is of .*lidar \(tensor \[3\]"):
        mmedge.Swap(stream, other)
    with pytest.raises(InputError, match="no times of their own"):
        mmedge.Swap(duo.stream("any"), other)


def test_one_swap_at_a_time(duo, other):
    stream, sensors = opened(duo, live=False)
    with mmedge.Swap(stream, other) as swap:
        with pytest.raises(InputError, match="part of another swap"):
            mmedge.Swap(stream, other)
        sensors.push(5)
    with pytest.raises(ClosedError, match="the swap is over"):
        swap.switch()


def test_a_stream_may_be_closed_while_it_is_swapped(duo, other):
    stream, sensors = opened(duo, live=True)
    with mmedge.Swap(stream, other):
        sensors.push(WINDOW // HOP + 3)
        stream.close()
    with pytest.raises(ClosedError):
        sensors.push()
