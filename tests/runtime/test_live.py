"""Live streams: threads, ticks that wait for nobody, and what happens when a sensor or a thread goes wrong."""

import random
import subprocess
import sys
import threading
from contextlib import suppress
from itertools import count as count_from
from itertools import takewhile
from pathlib import Path
from threading import Thread
from time import monotonic_ns, sleep

import numpy as np
import pytest
from duo import (
    CAMERA_NS,
    FRAMES,
    HOP,
    HOP_NS,
    PATIENCE_S,
    RATE_HZ,
    T0,
    WINDOW,
    Duo,
    gray,
    hear_hops,
    picture,
    predictions,
    predictions_to,
    push_hops,
    sound,
    until,
    whole,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import mmedge
from mmedge.types import NS


def names_of_threads():
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("mmedge-duo"))


def test_a_tick_is_decided_while_the_camera_encoder_is_at_work(duo):
    stream = duo.warm()
    stream.poll()
    duo.image.open.clear()
    duo.image.busy.clear()
    stream.push_frame(picture(9), T0 + CAMERA_NS)
    assert duo.image.busy.wait(PATIENCE_S)
    held = hear_hops(stream, 5)
    assert [p.age_ms["image"] for p in held] == [10, 20, 30, 40, 50]
    assert not any(p.fresh["image"] for p in held)
    assert all(p.fresh["audio"] and p.age_ms["audio"] == 0 for p in held)
    duo.image.open.set()
    until(lambda: stream.branches["image"].newest[1] == T0 + CAMERA_NS)
    (after,) = hear_hops(stream, 1, first=5)
    assert (after.age_ms["image"], after.fresh["image"]) == (50, True)


class Timeline:
    """What was pushed, by time: enough to put together the windows of any prediction."""

    def __init__(self, begin_ns, enough):
        self.begin_ns, self.enough = begin_ns, enough
        self.pictures = {}
        self.scans = {}
        self.sound = np.zeros(PATIENCE_S * RATE_HZ, np.float32)

    def numbers(self, count):
        """So many, and more until a slow machine has decided often enough."""
        return takewhile(lambda i: i < count or not self.enough(), count_from())

    def window(self, newest_ns):
        end = round((newest_ns - self.begin_ns) * RATE_HZ / NS)
        return self.sound[end - WINDOW : end]


def push_pictures(stream, line, rng):
    """At a jittering rate, some lost, some out of order."""
    for i in line.numbers(30):
        t_ns = line.begin_ns + i * CAMERA_NS + rng.randrange(-CAMERA_NS // 8, CAMERA_NS // 8)
        if rng.random() < 0.15:
            continue
        late_ns = 5 * CAMERA_NS if rng.random() < 0.1 else 0
        line.pictures.setdefault(t_ns - late_ns, gray(picture(i)))
        stream.push_frame(picture(i), t_ns - late_ns)
        sleep(rng.random() * 0.008)


def push_sound(stream, line, rng):
    """In chunks of any length, some lost, some seen twice."""
    at = 0
    for _ in line.numbers(25):
        count = rng.randrange(100, 3 * HOP)  # less than 5 ms would be taken for jitter
        samples = sound(count, seed=at)
        for _ in range(1 if at == 0 else rng.choice([0, 1, 1, 1, 1, 1, 1, 2])):
            line.sound[at : at + count] = samples
            stream.push_audio(samples, line.begin_ns + at * NS // RATE_HZ)
        at += count
        sleep(rng.random() * 0.008)


def push_scans(stream, line, rng):
    t_ns = line.begin_ns
    for i in line.numbers(20):
        scan = np.full(3, i, np.float32)
        line.scans[t_ns] = scan
        stream.push_tensor(scan, t_ns)
        t_ns += rng.randrange(1, 30_000_000)
        sleep(rng.random() * 0.01)


@pytest.mark.parametrize("tick", ["audio", "camera", "tensor", "any", "200hz"])
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_every_decision_equals_the_unsplit_model_on_the_windows_that_its_ages_name(tick, seed):
    """Three threads push at random rates; the pictures of a window are those that were encoded, some may be dropped."""
    duo, rng = Duo(), random.Random(seed)
    for double in (duo.item, duo.image, duo.audio, duo.head):
        own = random.Random(rng.random())
        double.before = lambda own=own: sleep(own.random() * 0.004)
    stream = duo.stream(tick)
    line = Timeline(monotonic_ns() if tick == "200hz" else T0, lambda: stream.totals["ticks"] > 3)
    pushers = [
        Thread(target=push, args=(stream, line, random.Random(rng.random())))
        for push in (push_pictures, push_sound, push_scans)
    ]
    for thread in pushers:
        thread.start()
    for thread in pushers:
        thread.join()
    stream.close()
    encoded = [given[0][0, 0] for given in duo.item.given]
    h, made = np.zeros((1, 2), np.float32), stream.poll()
    assert len(made) > 3
    for prediction in made:
        newest = {name: prediction.t_ns - round(age * 1e6) for name, age in prediction.age_ms.items()}
        last = next(i for i, seen in enumerate(encoded) if np.array_equal(seen, line.pictures[newest["image"]]))
        pictures = np.stack(encoded[last - FRAMES + 1 : last + 1])[None]
        out, h = whole(pictures, line.window(newest["audio"])[None], line.scans[newest["lidar"]][None], h)
        np.testing.assert_allclose(prediction.outputs["out"], out[0], rtol=0, atol=1e-5)
    if tick != "any":
        assert [p.t_ns for p in made] == sorted({p.t_ns for p in made})


def test_pushed_slowly_enough_live_and_serial_decide_the_same_to_the_last_bit(model):
    """The reference model through ONNX Runtime: the same packets, each waited for."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (12, 60, 80, 3), dtype=np.uint8)
    chunks = (0.1 * rng.standard_normal((70, 320))).astype(np.float32)
    with model.stream("audio") as serial, model.stream("audio", live=True) as live:
        for i, chunk in enumerate(chunks):
            if i % 6 == 0:
                for stream in (serial, live):
                    stream.push_frame(pictures[i // 6], T0 + i * NS // 50)
                until(lambda: live.runs["image.item"] == serial.runs["image.item"])
                until(lambda i=i: i < 42 or live.branches["image"].newest[1] == T0 + i * NS // 50)
            for stream in (serial, live):
                stream.push_audio(chunk, T0 + i * NS // 50)
            until(lambda: live.totals["ticks"] == serial.totals["ticks"])
        expected, made = serial.poll(), live.poll()
    assert len(made) == len(expected) > 15
    for a, b in zip(expected, made, strict=True):
        assert (a.t_ns, a.labels, a.age_ms, a.fresh) == (b.t_ns, b.labels, b.age_ms, b.fresh)
        assert all(np.array_equal(a.outputs[name], b.outputs[name]) for name in a.outputs)


def test_threads_are_named_and_gone_after_close(duo):
    stream = duo.stream("50hz")
    expected = ["mmedge-duo-audio", "mmedge-duo-clock", "mmedge-duo-image", "mmedge-duo-lidar"]
    assert names_of_threads() == expected
    stream.close()
    stream.close()
    assert names_of_threads() == []
    with pytest.raises(mmedge.ClosedError, match="was closed; open a new one"):
        push_hops(stream, 1)


def test_closing_waits_for_an_encode_that_is_running(duo):
    stream = duo.warm()
    duo.audio.open.clear()
    duo.audio.busy.clear()
    push_hops(stream, 1)
    assert duo.audio.busy.wait(PATIENCE_S)
    closers = [Thread(target=stream.close) for _ in range(2)]
    for thread in closers:
        thread.start()
    sleep(0.02)
    assert all(thread.is_alive() for thread in closers)
    duo.audio.open.set()
    for thread in closers:
        thread.join(PATIENCE_S)
    assert names_of_threads() == []


def test_a_stream_may_be_closed_by_the_thread_that_decides(duo):
    stream = duo.warm()
    stream.decider.observers.append(lambda _: stream.close())
    push_hops(stream, 1)
    assert len(list(stream)) == 2
    until(lambda: names_of_threads() == [])


@pytest.mark.parametrize("part", ["image", "audio"])
def test_a_thread_that_breaks_is_one_error_where_predictions_are_fetched(duo, part):
    stream = duo.warm()

    def fail():
        raise mmedge.BundleError("stage cannot be computed")

    getattr(duo, part).before = fail
    stream.push_frame(picture(5), T0 + CAMERA_NS)
    with suppress(mmedge.ClosedError):  # the picture may have broken its thread by now
        push_hops(stream, 1)
    with pytest.raises(mmedge.StreamError, match=f"thread for {part} broke: stage cannot") as raised:
        list(stream)
    assert isinstance(raised.value.__cause__, mmedge.BundleError)
    assert stream.poll() == list(stream) == []
    with pytest.raises(mmedge.ClosedError, match=f"thread for {part} broke"):
        stream.push_frame(picture(6), T0 + 2 * CAMERA_NS)
    stream.close()
    assert names_of_threads() == []


def test_a_nan_is_counted_and_what_it_was_in_taken_as_lost(duo):
    stream = duo.warm()
    chunk = sound(HOP)
    chunk[7] = np.nan
    stream.push_audio(chunk, T0)
    stream.push_tensor(np.full(3, np.inf, np.float32), T0 + NS)
    push_hops(stream, 1, first=1)
    after = predictions_to(stream, T0 + 2 * HOP_NS)[-1]
    assert stream.counters["audio"] | {"invalid": 1, "lost_samples": HOP} == stream.counters["audio"]
    assert stream.counters["lidar"]["invalid"] == 1
    assert np.isfinite(after.outputs["out"]).all()
    assert not duo.audio.given[-1][0][0, :HOP].any()


@pytest.mark.parametrize(
    ("method", "data", "text"),
    [
        ("push_frame", np.zeros((4, 4), np.uint8), r"\[H, W, 3\] uint8"),
        ("push_frame", np.zeros((0, 4, 3), np.uint8), "image: .* no pixels"),
        ("push_audio", np.zeros(4, np.int16), r"\[N\] float32"),
        ("push_tensor", np.zeros(4, np.float32), "lidar: the tensor is"),
        ("push_tensor", [1.0, 2.0, 3.0], "lidar: the tensor is a numpy array"),
        ("push_text", "left", "no text port"),
    ],
)
def test_what_does_not_fit_is_refused_where_it_is_pushed(duo, method, data, text):
    stream = duo.warm()
    with pytest.raises(mmedge.InputError, match=text):
        getattr(stream, method)(data, T0 + NS // 100)
    push_hops(stream, 1)
    assert len(predictions(stream, 2)) == 2


def test_pictures_that_come_while_one_is_encoded_make_the_oldest_go(duo):
    stream = duo.warm()
    duo.item.open.clear()
    duo.item.busy.clear()
    for i in range(1, 7):
        stream.push_frame(picture(10 + i), T0 + i * CAMERA_NS)
        if i == 1:
            assert duo.item.busy.wait(PATIENCE_S)
    assert stream.counters["image"]["dropped"] == 3
    duo.item.open.set()
    until(lambda: stream.branches["image"].newest[1] == T0 + 6 * CAMERA_NS)
    seen = [given[0][0, 0] for given in duo.item.given[-3:]]
    for values, i in zip(seen, (1, 5, 6), strict=True):
        np.testing.assert_array_equal(values, gray(picture(10 + i)))


def test_sound_that_waits_too_long_brings_one_decision_on_the_newest(duo):
    stream = duo.warm()
    stream.poll()
    duo.audio.open.clear()
    duo.audio.busy.clear()
    push_hops(stream, 1)
    assert duo.audio.busy.wait(PATIENCE_S)
    push_hops(stream, 3, first=1)
    sleep(0.11)
    duo.audio.open.set()
    made = predictions(stream, 2)
    assert [p.t_ns for p in made] == [T0 + HOP_NS, T0 + 4 * HOP_NS]
    assert stream.totals["passed_over"] == 2
    np.testing.assert_array_equal(duo.audio.given[-1][0][0, -HOP:], sound(HOP, seed=3))


def test_more_than_a_second_of_sound_that_nobody_encodes_makes_the_oldest_go(duo):
    stream = duo.warm()
    duo.audio.open.clear()
    duo.audio.busy.clear()
    push_hops(stream, 1)
    assert duo.audio.busy.wait(PATIENCE_S)
    push_hops(stream, 129, first=1)
    assert stream.counters["audio"]["dropped"] == 29
    duo.audio.open.set()
    until(lambda: stream.branches["audio"].newest[1] == T0 + 130 * HOP_NS)
    np.testing.assert_array_equal(duo.audio.given[-1][0][0, -HOP:], sound(HOP, seed=129))


def test_several_models_in_one_process_do_not_disturb_one_another():
    pairs = [Duo() for _ in range(3)]
    streams = [duo.warm() for duo in pairs]
    made = [[], [], []]
    pushers = [
        Thread(target=lambda i=i, stream=stream: made[i].extend(hear_hops(stream, 20)))
        for i, stream in enumerate(streams)
    ]
    for thread in pushers:
        thread.start()
    for thread in pushers:
        thread.join()
    found = [[(p.t_ns, p.outputs["out"].tolist()) for p in each] for each in made]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 21
    for duo in pairs:
        duo.close()
    assert names_of_threads() == []


def test_a_stream_that_nobody_closed_does_not_keep_the_interpreter(reference_bundle: Path):
    program = (
        "import sys, mmedge, numpy as np\n"
        "stream = mmedge.load(sys.argv[1]).stream('100hz', live=True)\n"
        "stream.push_audio(np.zeros(16000, np.float32), 0)\n"
        "print('end')"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, reference_bundle],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        check=False,
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, "end\n", "")
