"""The whole loop while its sensors fail, one after the other: it goes on, says what is wrong, and counts it."""

from threading import Thread
from time import sleep

import numpy as np
import pytest
from duo import until
from sensors_double import NS, Camera, Microphone

from mmedge.running import open_run
from mmedge.sources import open_camera, open_microphone

HOUR_NS = 3600 * NS
TICK_NS = NS // 50


def wrong(prediction):
    """Why it is degraded; that noise is unusual for the model is no wonder."""
    return [reason for reason in prediction.degraded if "unusual" not in reason]


class Loop:
    """A live run at 50 Hz whose decisions are fetched as a robot would, with fakes where drivers would be."""

    def __init__(self, model, camera, audio):
        stream = {"policies": {"image": ["mean"], "audio": ["mean"]}, "max_age_ms": 400}
        self.run = open_run(model, camera=camera, audio=audio, tick="50hz", stream=stream)
        self.run.stream.metrics()  # observe every tick
        self.decisions = []
        self._consumer = Thread(target=lambda: self.decisions.extend(self.run))
        self._consumer.start()

    def __enter__(self):
        until(lambda: len(self.decisions) > 5 and not wrong(self.decisions[-1]))
        return self

    def __exit__(self, *_):
        self.run.close()
        self._consumer.join()

    def state(self, port):
        return self.run.status[port].state

    def wait_for(self, port, state):
        until(lambda: self.state(port) == state)

    def says(self, text):
        until(lambda: any(text in reason for reason in self.decisions[-1].degraded))

    def is_well(self):
        until(lambda: not wrong(self.decisions[-1]))

    def never_paused(self):
        """A tick every 20 ms; those that a busy machine passed over are counted, and are no pause of the loop."""
        steps = np.diff([now.t_ns for now in self.decisions])
        assert (steps > 0).all()
        assert (steps % TICK_NS == 0).all()
        assert steps.sum() // TICK_NS - len(steps) <= self.run.stream.totals.get("passed_over", 0)


@pytest.fixture
def devices():
    return Camera(), Microphone()


def opened(model, devices):
    camera, microphone = devices
    return Loop(model, open_camera(0, capture=camera.open), open_microphone("x", library=microphone))


def test_a_camera_that_is_unplugged_and_replugged(model, devices):
    camera, _ = devices
    with opened(model, devices) as loop:
        camera.plugged = False
        loop.wait_for("image", "lost")
        assert loop.state("audio") == "ok"
        loop.says("image: disconnected")
        camera.plugged = True
        loop.wait_for("image", "ok")
        loop.is_well()
    counts = loop.run.counters["image"]
    assert counts["losses"] >= 1
    assert counts["connections"] == 2
    assert next(event.state for event in loop.run.events if event.source == "camera 0") == "ok"
    assert {"lost", "ok"} <= {event.state for event in loop.run.events}
    metrics = loop.run.stream.metrics()
    assert metrics["ports"]["image"]["degraded"] > 0
    assert metrics["degraded"] >= metrics["ports"]["image"]["degraded"]
    loop.never_paused()


def test_a_microphone_that_stalls_for_two_seconds(model, devices):
    _, microphone = devices
    with opened(model, devices) as loop:
        microphone.running.clear()
        loop.wait_for("audio", "stalled")
        loop.says("audio: ")
        assert loop.state("image") == "ok"
        sleep(1.5)  # half a second has passed before it was called a stall
        microphone.running.set()
        loop.wait_for("audio", "ok")
        loop.is_well()
    counts = loop.run.counters["audio"]
    assert (counts["stalls"], counts["gaps"], counts.get("losses", 0)) == (1, 1, 0)
    assert 1800 <= counts["lost_ms"] <= 8000  # two seconds, and what a busy machine adds
    assert loop.run.stream.metrics()["ports"]["audio"]["degraded"] > 0
    loop.never_paused()


@pytest.mark.parametrize("by_ns", [HOUR_NS, -HOUR_NS])
def test_a_camera_whose_clock_is_stepped_by_an_hour(model, devices, by_ns):
    camera, _ = devices
    with opened(model, devices) as loop:
        camera.clock_offset_ns = by_ns
        seen = len(loop.decisions)
        until(lambda: loop.run.counters["image"].get("clock_steps"))
        until(lambda: len(loop.decisions) > seen + 40)
        assert (loop.state("image"), loop.state("audio")) == ("ok", "ok")
    after = loop.decisions[seen + 20 :]
    assert loop.run.counters["image"]["clock_steps"] == 1
    assert all(-100 < now.age_ms["image"] < 1000 for now in after)  # and not an hour
    assert all(not wrong(now) for now in after[-5:])
    loop.never_paused()


def test_a_video_that_ends_while_the_microphone_goes_on(model):
    with Loop(model, "paced:synthetic://?seconds=2", open_microphone("x", library=Microphone())) as loop:
        loop.wait_for("image", "ended")
        seen = len(loop.decisions)
        loop.says("image: disconnected")
        until(lambda: len(loop.decisions) > seen + 50)
        assert loop.state("audio") == "ok"
    assert [event.state for event in loop.run.events if event.source == "the synthetic scene"] == ["ok", "ended"]
    assert loop.run.counters["image"]["packets"] == 30
    assert loop.run.stream.metrics()["ports"]["image"]["degraded"] > 0
    assert loop.decisions[-1].labels
    loop.never_paused()
