"""Live sources on devices that are made up: what goes wrong with a device is a state and a count."""

import threading
from collections import Counter
from itertools import pairwise
from time import sleep

import numpy as np
import pytest
from duo import PATIENCE_S, until

from mmedge.errors import ClosedError, InputError, SourceError
from mmedge.sources import Arrivals, LiveSource
from mmedge.sources.live import Backoff
from mmedge.types import AudioChunk, VideoFrame

PIXELS = np.zeros((2, 2, 3), np.uint8)


def frame(number):
    return VideoFrame(pixels=PIXELS, t_ns=number)


def sound(number):
    return AudioChunk(samples=np.full(160, number, np.float32), t_ns=number, rate_hz=16000)


class Device:
    """Gives the packets of one script per connection; an exception in it is raised, a condition is waited for."""

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.opened = self.given = self.closed = 0

    def connect(self, _, counts):
        self.opened += 1
        script = self.scripts.pop(0) if self.scripts else SourceError("gone for good")
        if isinstance(script, Exception):
            raise script
        return Connection(self, script, counts)


class Connection:
    def __init__(self, device, script, counts):
        self.device, self.script, self.counts = device, script, counts

    def __iter__(self):
        for item in self.script:
            if isinstance(item, Exception):
                raise item
            if callable(item):
                while not item():
                    sleep(0.005)
                    yield None
            else:
                yield item
                self.device.given += 1

    def close(self):
        self.device.closed += 1


def source(device, modality="camera", **options):
    return LiveSource(f"fake {modality}", modality, device.connect, backoff=Backoff(0.01, 0.02), **options)


def names():
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("mmedge")}


def states(arrivals):
    return [event.state for event in arrivals.events]


def test_packets_of_all_sources_come_in_the_order_of_arrival_until_every_source_ends():
    camera = Device([frame(1), lambda: microphone.given == 1, frame(2)])
    microphone = Device([lambda: camera.given == 1, sound(3), lambda: camera.given == 2, sound(4)])
    with Arrivals({"image": source(camera), "audio": source(microphone, "audio")}) as arrivals:
        until(lambda: microphone.given == 2)
        found = [(port, packet.t_ns) for port, packet in arrivals]
    assert found == [("image", 1), ("audio", 3), ("image", 2), ("audio", 4)]
    assert {port: status.state for port, status in arrivals.status.items()} == {"image": "ended", "audio": "ended"}
    assert arrivals.counters["image"] == {"connections": 1, "packets": 2}
    assert (camera.closed, microphone.closed) == (1, 1)
    assert names() == set()


def test_a_device_that_is_lost_is_opened_again_and_every_event_is_counted():
    device = Device([frame(1), SourceError("pulled out")], SourceError("not there"), [frame(2)])
    with Arrivals({"image": source(device)}) as arrivals:
        assert [packet.t_ns for _, packet in arrivals] == [1, 2]
    assert states(arrivals) == ["ok", "lost", "lost", "ok", "ended"]
    assert arrivals.events[1].detail.startswith("pulled out; trying again in 0.0")
    assert arrivals.counters["image"] == {"connections": 2, "packets": 2, "losses": 2}
    assert (device.opened, device.closed) == (3, 2)


def test_what_the_system_says_of_a_device_is_a_loss_too():
    device = Device([frame(1), OSError(19, "No such device")], [frame(2)])
    with Arrivals({"image": source(device)}) as arrivals:
        assert [packet.t_ns for _, packet in arrivals] == [1, 2]
    assert arrivals.counters["image"]["losses"] == 1


def test_silence_is_a_stall_and_data_ends_it():
    camera = source(Device([frame(1), lambda: camera.status.state == "stalled", frame(2)]), stall_ms=100)
    with Arrivals({"image": camera}) as arrivals:
        assert len(list(arrivals)) == 2
    found = states(arrivals)
    assert {("ok", "stalled"), ("stalled", "ok")} <= set(pairwise(found))
    assert found[-1] == "ended"
    assert arrivals.counters["image"]["stalls"] == found.count("stalled")


def test_a_stall_is_noticed_while_the_driver_hangs():
    """The reading thread is stuck in the driver, so whoever waits for packets notices."""
    released, told = threading.Event(), []

    def listen(event):
        told.append(event.state)
        if told[-2:] == ["ok", "stalled"]:
            released.set()

    class Hanging:
        def __init__(self, origin_ns, counts):
            pass

        def __iter__(self):
            yield frame(1)
            released.wait(PATIENCE_S)

        def close(self):
            pass

    with Arrivals({"image": LiveSource("fake", "camera", Hanging, stall_ms=50)}) as arrivals:
        next(arrivals)
        arrivals.listen(listen)
        assert list(arrivals) == []
    assert states(arrivals)[-3:] == ["ok", "stalled", "ended"]


def test_a_slow_consumer_loses_the_oldest_and_knows_how_many():
    device = Device([frame(n) for n in range(50)])
    with Arrivals({"image": source(device)}) as arrivals:
        until(lambda: arrivals.status["image"].state == "ended")
        assert [packet.t_ns for _, packet in arrivals] == [46, 47, 48, 49]
    assert arrivals.counters["image"]["dropped"] == 46


def test_a_mistake_in_a_program_is_raised_where_packets_are_consumed():
    device = Device([frame(1), ZeroDivisionError("a bug")])
    with Arrivals({"image": source(device)}) as arrivals, pytest.raises(ZeroDivisionError, match="a bug"):
        list(arrivals)
    assert device.closed == 1
    assert names() == set()


def test_threads_are_gone_after_an_exception_of_the_consumer():
    device = Device([frame(1), lambda: False])

    def consume():
        with Arrivals({"image": source(device)}) as arrivals:
            next(arrivals)
            assert names() == {"mmedge fake camera"}
            raise RuntimeError("of the consumer")

    with pytest.raises(RuntimeError, match="of the consumer"):
        consume()
    assert names() == set()
    assert device.closed == 1


def test_a_run_is_stopped_from_another_thread():
    device = Device([frame(1), lambda: False])
    with Arrivals({"image": source(device)}) as arrivals:
        next(arrivals)
        threading.Timer(0.1, arrivals.stop).start()
        assert list(arrivals) == []


def test_waits_double_up_to_a_limit_and_are_shortened_at_random():
    backoff = Backoff(1.0, 5.0)
    waits = [backoff.next_s() for _ in range(6)]
    for wait, most in zip(waits, [1, 2, 4, 5, 5, 5], strict=True):
        assert most / 2 <= wait <= most
    backoff.reset()
    assert backoff.next_s() <= 1


def test_past_events_are_told_to_a_listener_that_comes_later():
    told = []
    with Arrivals({"image": source(Device([frame(1)]))}) as arrivals:
        list(arrivals)
        arrivals.listen(told.append)
    assert [event.state for event in told] == ["ok", "ended"]


def test_a_source_that_was_used_is_not_used_again():
    used = source(Device([frame(1)]))
    with Arrivals({"image": used}) as arrivals:
        list(arrivals)
    with pytest.raises(ClosedError, match="open it again"):
        Arrivals({"image": used})
    assert names() == set()


def test_nothing_to_read_is_refused():
    with pytest.raises(InputError, match="no live source"):
        Arrivals({})


def test_a_connection_adds_to_the_counts():
    def connect(origin_ns: int, counts: Counter[str]):
        counts["xruns"] += 2
        return Connection(Device(), [frame(1)], counts)

    with Arrivals({"image": LiveSource("fake", "camera", connect)}) as arrivals:
        list(arrivals)
    assert arrivals.counters["image"]["xruns"] == 2
