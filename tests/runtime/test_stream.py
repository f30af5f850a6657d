import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mmedge
from mmedge.feeds import front_end
from mmedge.model import Model
from mmedge.running import open_run
from mmedge.types import NS, Prediction

CAMERA_NS = NS // 15
Clip = object


def read_frames(video: Path) -> list[tuple[npt.NDArray[np.uint8], int]]:
    cv2 = pytest.importorskip("cv2")
    capture = cv2.VideoCapture(str(video))
    frames = []
    while True:
        ok, bgr = capture.read()
        if not ok:
            return frames
        frames.append((bgr[..., ::-1].copy(), round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)))


def same(a: Prediction, b: Prediction) -> bool:
    outputs = all(np.array_equal(a.outputs[name], b.outputs[name]) for name in a.outputs)
    return outputs and (a.t_ns, a.labels, a.age_ms, a.fresh) == (b.t_ns, b.labels, b.age_ms, b.fresh)


def picture(seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def sound(count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def warm(model: Model, tick: str = "audio") -> mmedge.Stream:
    """A stream that has seen a second of sound and eight pictures."""
    stream = model.stream(tick)
    for i in range(15):
        stream.push_frame(picture(i), i * CAMERA_NS)
    stream.push_audio(sound(16000), 0)
    stream.poll()
    return stream


@pytest.mark.parametrize("tick", ["audio", "50hz", "camera"])
def test_every_tick_equals_the_unsplit_model_on_the_windows_of_that_tick(model, whole_graph, clip, tick):
    """The windows are assembled here from the recording, by the batch front ends, and run by ONNX Runtime alone."""
    import onnxruntime

    whole = onnxruntime.InferenceSession(whole_graph, providers=["CPUExecutionProvider"])
    frames, ports = read_frames(clip.video), model.manifest.ports
    with open_run(model, camera=clip.video, audio=clip.sound, tick=tick) as run:
        predictions = list(run)
    assert len(predictions) > 25
    for prediction in predictions:
        recent = [pixels for pixels, t_ns in frames if t_ns <= prediction.t_ns][-8:]
        heard_ms = prediction.t_ns / 1e6 - prediction.age_ms["audio"]
        end = round(heard_ms * 16)
        image = front_end(ports["image"]).window(np.stack(recent))[np.newaxis]
        audio = front_end(ports["audio"]).window(clip.samples[end - 16000 : end])[np.newaxis]
        event, distance = whole.run(None, {"image": image, "audio": audio})
        weights = np.exp(event[0] - event[0].max())
        np.testing.assert_allclose(prediction.outputs["event"], weights / weights.sum(), rtol=0, atol=1e-6)
        np.testing.assert_allclose(prediction.outputs["distance"], distance[0], rtol=0, atol=1e-6)


def test_two_runs_of_the_same_file_give_the_same_predictions(model, clip):
    runs = []
    for _ in range(2):
        with open_run(model, camera=clip.video, audio=clip.sound, tick="50hz") as run:
            runs.append(list(run))
    assert len(runs[0]) == len(runs[1]) > 90
    assert all(same(a, b) for a, b in zip(*runs, strict=True))


def test_each_encoder_runs_only_when_its_sensor_has_something_new(model, clip):
    with open_run(model, camera=clip.video, audio=clip.sound, tick="100hz") as run:
        predictions = list(run)
        runs = run.stream.runs
    assert runs["image.item"] == 45
    assert runs["image"] == 45 - 7
    assert runs["head"] == len(predictions)
    assert runs["audio"] == sum(prediction.fresh["audio"] for prediction in predictions)
    assert sum(prediction.fresh["image"] for prediction in predictions) <= 45 - 7


def test_ages_say_how_far_the_data_lies_behind_the_tick(model, clip):
    with open_run(model, camera=clip.video, audio=clip.sound, tick="50hz") as run:
        for prediction in run:
            assert prediction.t_ns % (NS // 50) == 0
            assert prediction.age_ms["audio"] == 0
            newest = max(t for t in (round(i * NS / 15) for i in range(45)) if t <= prediction.t_ns)
            assert prediction.age_ms["image"] == pytest.approx((prediction.t_ns - newest) / 1e6, abs=0.01)
            assert prediction.latency_ns > 0


@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(1, 15999), max_size=6), tick=st.sampled_from(["audio", "50hz", "12.5hz"]))
def test_predictions_do_not_depend_on_how_the_sound_is_cut_into_chunks(model, cuts, tick):
    samples = sound(16000, seed=3)

    def predictions(edges: list[int]) -> list[Prediction]:
        stream = warm(model, tick)
        for begin, end in zip([0, *edges], [*edges, 16000], strict=True):
            stream.push_audio(samples[begin:end], NS + begin * NS // 16000)
        return stream.poll()

    expected, given_cuts = predictions([]), predictions(sorted(set(cuts)))
    assert len(expected) >= 12
    assert all(same(a, b) for a, b in zip(expected, given_cuts, strict=True))


def test_lost_chunk_becomes_silence(model):
    whole, holed = warm(model), warm(model)
    samples = sound(1600, seed=1)
    samples[320:640] = 0
    whole.push_audio(samples, NS)
    holed.push_audio(samples[:320], NS)
    holed.push_audio(samples[640:], NS + 40_000_000)
    for a, b in zip(whole.poll(), holed.poll(), strict=True):
        assert np.array_equal(a.outputs["event"], b.outputs["event"])
    assert holed.counters["audio"] == {"lost_samples": 320, "late_samples": 0, "jumps": 0}


def test_samples_that_were_seen_before_are_left_out(model):
    once, twice = warm(model), warm(model)
    samples = sound(1600, seed=1)
    once.push_audio(samples, NS)
    twice.push_audio(samples[:960], NS)
    twice.push_audio(samples[640:], NS + 40_000_000)
    for a, b in zip(once.poll(), twice.poll(), strict=True):
        assert np.array_equal(a.outputs["event"], b.outputs["event"])
    assert twice.counters["audio"] == {"lost_samples": 0, "late_samples": 320, "jumps": 0}


def test_a_gap_longer_than_the_window_begins_anew(model):
    stream = warm(model)
    stream.push_audio(sound(8000), 10 * NS)
    assert stream.poll() == []
    stream.push_audio(sound(8000), 10 * NS + NS // 2)
    assert [prediction.t_ns for prediction in stream.poll()] == [11 * NS]


def test_pictures_of_a_faster_camera_are_left_out_by_their_time(model):
    stream = model.stream("camera")
    for i in range(31):
        stream.push_frame(picture(i), i * NS // 30)
    assert stream.runs["image.item"] == 16
    assert stream.counters["image"] == {"skipped": 15, "late": 0, "gaps": 0, "jumps": 0}


def test_pictures_out_of_order_are_left_out(model):
    stream = warm(model)
    stream.push_frame(picture(1), 3 * CAMERA_NS)
    assert stream.counters["image"]["late"] == 1


def test_no_decision_before_every_window_is_full(model):
    stream = model.stream("any")
    for i in range(20):
        stream.push_frame(picture(i), i * CAMERA_NS)
    stream.push_audio(sound(15999), 0)
    assert stream.poll() == []
    stream.push_audio(sound(161), 15999 * NS // 16000)
    assert len(stream.poll()) == 1


JUMP_NS = 3600 * NS


@pytest.mark.parametrize("by_ns", [JUMP_NS, -JUMP_NS])
@pytest.mark.parametrize("tick", ["50hz", "audio", "any"])
def test_decisions_go_on_after_the_clock_of_all_sensors_was_set(model, tick, by_ns):
    stream = warm(model, tick)
    begin = NS + by_ns
    for i in range(20):
        stream.push_frame(picture(i), begin + i * CAMERA_NS)
        stream.push_audio(sound(1067, seed=i), begin + i * 1067 * NS // 16000)
    predictions = stream.poll()
    assert 5 <= len(predictions) <= 160
    assert begin + NS <= predictions[-1].t_ns <= begin + 2 * NS
    assert stream.counters["audio"]["jumps"] == stream.counters["image"]["jumps"] == 1
    assert abs(predictions[-1].age_ms["image"]) < 100


@pytest.mark.parametrize("tick", ["50hz", "audio"])
def test_one_picture_with_a_wrong_time_does_not_stop_the_decisions(model, tick):
    stream = warm(model, tick)
    stream.push_frame(picture(1), 1000 * NS)
    for i in range(50):
        if i % 3 == 0:
            stream.push_frame(picture(i), NS + i * NS // 50)
        stream.push_audio(sound(320, seed=i), NS + i * NS // 50)
    # none while the window fills again with eight pictures, three chunks apart
    assert len([p for p in stream.poll() if NS < p.t_ns <= 2 * NS]) >= 50 - 3 * 8
    assert stream.counters["image"]["jumps"] == 2


def test_jitter_of_the_camera_loses_no_picture(model):
    random = np.random.default_rng(0)
    stream = model.stream("camera")
    for i in range(300):
        stream.push_frame(picture(i % 9), NS + i * CAMERA_NS + int(random.uniform(-10, 10) * 1e6))
    assert stream.counters["image"] == {"skipped": 0, "late": 0, "gaps": 0, "jumps": 0}


def test_pictures_that_are_missing_are_counted(model):
    stream = model.stream("camera")
    for i in [*range(10), *range(13, 20)]:
        stream.push_frame(picture(i), i * CAMERA_NS)
    assert stream.counters["image"]["gaps"] == 1


@pytest.mark.parametrize("tick", ["30hz", "29.97hz", "7hz"])
def test_a_tick_hears_every_sample_that_was_complete(model, tick):
    stream = warm(model, tick)
    stream.push_audio(sound(16000), NS)
    for prediction in stream.poll():
        complete = (prediction.t_ns + 1) * 16000 // NS
        heard = round((prediction.t_ns / 1e6 - prediction.age_ms["audio"]) * 16)
        assert complete - 160 < heard <= complete + 1


@pytest.mark.parametrize("tick", ["143hz", "audio", "any"])
def test_a_replayed_decision_never_sees_a_picture_from_its_future(model, clip, tick):
    with open_run(model, camera=clip.video, audio=clip.sound, tick=tick) as run:
        predictions = list(run)
    assert all(age >= 0 for prediction in predictions for age in prediction.age_ms.values())
    assert [p.t_ns for p in predictions] == sorted(p.t_ns for p in predictions)


def test_times_of_numpy_are_times_and_fractions_are_refused(model):
    stream = warm(model, "50hz")
    stream.push_audio(sound(320), np.int64(NS))
    assert [type(prediction.t_ns) for prediction in stream.poll()] == [int]
    with pytest.raises(mmedge.InputError, match="whole nanoseconds"):
        stream.push_audio(sound(320), 1.5e9)


def test_iterating_waits_for_pushes_of_another_thread_and_ends_with_close(model):
    stream = warm(model)

    def feed() -> None:
        for i in range(10):
            stream.push_audio(sound(320, seed=i), NS + i * NS // 50)
        stream.close()

    thread = Thread(target=feed)
    thread.start()
    predictions = list(stream)
    thread.join()
    assert len(predictions) == 10


def test_two_streams_of_one_model_do_not_share_anything(model):
    first, second = warm(model), warm(model)
    first.push_audio(sound(320, seed=1), NS)
    second.push_audio(sound(320, seed=2), NS)
    third = warm(model)
    third.push_audio(sound(320, seed=1), NS)
    assert same(first.poll()[-1], third.poll()[-1])


@pytest.mark.parametrize(
    ("tick", "text"),
    [("lidar", "not known"), ("0hz", "above 0"), ("5000hz", "at most"), ("-3hz", "not known")],
)
def test_an_impossible_tick_is_refused(model, tick, text):
    with pytest.raises(mmedge.InputError, match=text):
        model.stream(tick)


def bad_pushes() -> Iterator[tuple[str, object, str]]:
    yield "push_frame", np.zeros((10, 10), np.uint8), r"\[H, W, 3\] uint8"
    yield "push_frame", np.zeros((10, 10, 3), np.float32), r"\[H, W, 3\] uint8"
    yield "push_audio", np.zeros((2, 10), np.float32), r"\[N\] float32"
    yield "push_audio", np.zeros(10, np.int16), r"\[N\] float32"
    yield "push_audio", np.full(10, np.nan, np.float32), "NaN"
    yield "push_audio", np.full(10, np.inf, np.float32), "NaN or infinity"


@pytest.mark.parametrize(("method", "data", "text"), list(bad_pushes()))
def test_data_that_does_not_fit_is_refused_and_the_stream_goes_on(model, method, data, text):
    stream = warm(model)
    with pytest.raises(mmedge.InputError, match=text):
        getattr(stream, method)(data, NS)
    stream.push_audio(sound(320), NS)
    assert len(stream.poll()) == 1


def test_sound_of_another_rate_is_refused(model):
    chunk = mmedge.AudioChunk(samples=sound(441), t_ns=0, rate_hz=44100)
    with pytest.raises(mmedge.InputError, match="44100 Hz, expected 16000"):
        model.stream().push(chunk)


def test_an_unknown_port_is_refused(model):
    with pytest.raises(mmedge.InputError, match="lidar"):
        model.stream().push_frame(picture(0), 0, port="lidar")


def test_a_closed_stream_refuses_pushes(model):
    stream = model.stream()
    stream.close()
    with pytest.raises(mmedge.ClosedError, match="closed"):
        stream.push_audio(sound(10), 0)


def test_a_push_allocates_no_large_array(model):
    """The largest tensor on the way is a picture of 1280 x 720; what Python and small vectors take depends on numpy."""
    stream = warm(model)
    pixels = np.zeros((720, 1280, 3), np.uint8)
    chunks = [sound(320, seed=i) for i in range(12)]
    tracemalloc.start()
    try:
        for i, chunk in enumerate(chunks):
            if i == len(chunks) // 2:  # buffers that grow at first have grown
                before, _ = tracemalloc.get_traced_memory()
                tracemalloc.reset_peak()
            if i % 3 == 0:
                stream.push_frame(pixels, NS + i * NS // 50)
            stream.push_audio(chunk, NS + i * NS // 50)
            stream.poll()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 160 * 1024  # 40 KiB with numpy 2.4, 105 KiB with numpy 2.2; the picture has 2700
