"""Streams whose embeddings stay on a device: the same decisions, few copies, and nothing overwritten too early.

The device is a double that does work as late as is allowed, or as early, and notices uses of the same bytes that
nothing puts in order; the fixture ``device`` looks whether there were any.
"""

from dataclasses import replace

import cuda_double
import numpy as np
import pytest
import tensorrt_double
from duo import (
    CAMERA_NS,
    FRAMES,
    HOP_NS,
    RATE_HZ,
    T0,
    WINDOW,
    baseline,
    hear,
    join,
    manifest,
    picture,
    predictions,
    push_hops,
    remember,
    see,
    show,
    sound,
    until,
)

from mmedge.backends import cuda
from mmedge.backends.device import CudaMemory, CudaTensor
from mmedge.backends.trt import TrtSession
from mmedge.branches import open_branches, open_head
from mmedge.errors import BackendError, InputError, StreamError
from mmedge.feeds import front_end
from mmedge.manifest import FileRecord
from mmedge.stream import Stream, StreamOptions
from mmedge.types import NS, VideoFrame

FUNCTIONS = {"image.item": see, "image": remember, "audio": hear, "head": join}
HOPS = 12


@pytest.fixture(params=["late", "early"])
def device(request, device):
    device.cuda.eager = request.param == "early"
    return device


@pytest.fixture
def sessions(device):
    """The duo, computed by engines."""
    described, memory, made = manifest(), CudaMemory(), {}
    for stage in described.stages:
        shapes = {name: described.tensors[name].shape for name in (*stage.inputs, *stage.outputs)}
        if stage.per_item:
            shapes = {name: described.tensors[name].item_shape for name in shapes}
        inputs, outputs = ({name: shapes[name] for name in names} for names in (stage.inputs, stage.outputs))
        graph = tensorrt_double.Function(FUNCTIONS[stage.name], inputs, outputs)
        plan = tensorrt_double.make_function_plan(device, stage.name, graph)
        made[stage.name] = TrtSession(plan, library="tensorrt", name=stage.name, memory=memory)
    return made


def opened(sessions, tick="audio", **options):
    return Stream(manifest(), sessions, tick, None, StreamOptions(**options), baseline)


def drive(stream):
    """Sound, pictures at a rate of their own and a scan now and then, all of them seen by the model."""
    stream.push_tensor(np.ones(3, np.float32), T0 - WINDOW * NS // RATE_HZ)
    show(stream, 0, T0)
    stream.push_audio(sound(WINDOW), T0 - WINDOW * NS // RATE_HZ)
    for i in range(HOPS):
        if i % 3:
            stream.push_frame(picture(i), T0 + (i + 1) * CAMERA_NS)
        if i % 5 == 0:
            stream.push_tensor(np.full(3, i, np.float32), T0 + i * HOP_NS)
        push_hops(stream, 1, first=i)


def with_calibration():
    described = manifest()
    files = described.files | {"calibration.json": FileRecord(bytes=0, sha256="")}
    return replace(described, calibration="calibration.json", files=files)


def same(made, expected):
    assert len(made) == len(expected) > 0
    for one, other in zip(made, expected, strict=True):
        assert (one.t_ns, one.age_ms, one.fresh, one.degraded) == (
            other.t_ns,
            other.age_ms,
            other.fresh,
            other.degraded,
        )
        assert one.attribution == other.attribution
        for name, value in one.outputs.items():
            np.testing.assert_array_equal(value, other.outputs[name])  # the same functions of numpy


OPTIONS = {
    "plain": {},
    "attributed": {"attribution": 3},
    "held": {"max_age_ms": {"image": 5}, "policies": {"image": ["hold"]}},
    "replaced": {"max_age_ms": {"image": 12}, "policies": {"image": ["mean"]}, "attribution": 2},
    "abstaining": {"max_age_ms": {"image": 12}, "policies": {"image": ["abstain"]}},
}


@pytest.mark.parametrize("tick", ["audio", "camera", "any", "80hz"])
@pytest.mark.parametrize("options", OPTIONS)
def test_what_stays_on_the_device_is_decided_on_as_on_the_host(sessions, duo, tick, options):
    with opened(sessions, tick, **OPTIONS[options]) as on_device:
        drive(on_device)
        made = on_device.poll()
    on_host = duo.stream(tick, live=False, baseline=baseline, **OPTIONS[options])
    drive(on_host)
    same(made, on_host.poll())


def test_embeddings_windows_and_states_are_not_copied_to_the_host(sessions, device):
    with opened(sessions) as stream:
        assert stream.decider.head.tensors.keys() == {"out"}
        assert not stream.branches["image"].graph.tensors.keys() & {"seen", "remembered"}


def test_a_tick_copies_its_sound_up_and_its_decision_down_and_nothing_else(sessions, device):
    with opened(sessions) as stream:
        drive(stream)
        tensors = manifest().tensors
        for i in range(HOPS, HOPS + 4):
            device.cuda.copies.clear()
            push_hops(stream, 1, first=i)
            made = [(kind, size) for kind, size in device.cuda.copies if kind != "DeviceToDevice"]
            up = [
                ("HostToDevice", tensors["audio"].bytes)
            ] * 2  # one for its encoder, one for the head, which hears too
            assert sorted(made) == sorted([("DeviceToHost", tensors["out"].bytes), *up])


def test_a_picture_is_copied_up_once_and_its_window_never(sessions, device):
    with opened(sessions) as stream:
        drive(stream)
        stream.push_frame(picture(50), T0 + (HOPS + 1) * CAMERA_NS)
        push_hops(stream, 1, first=HOPS)
        device.cuda.copies.clear()
        stream.push_frame(picture(51), T0 + (HOPS + 2) * CAMERA_NS)
        push_hops(stream, 1, first=HOPS + 1)
        item = manifest().tensors["image"].bytes // FRAMES
        sizes = [size for kind, size in device.cuda.copies if kind == "HostToDevice" and size == item]
        assert len(sizes) == 1
        assert [size for kind, size in device.cuda.copies if kind == "DeviceToHost"] == [
            manifest().tensors["out"].bytes
        ]


def test_what_is_far_from_the_calibration_is_looked_at_ten_times_a_second(sessions, device):
    """Embeddings are copied to the host for it, so only then."""
    with Stream(with_calibration(), sessions, "audio", None, StreamOptions(), baseline) as stream:
        drive(stream)
        device.cuda.copies.clear()
        push_hops(stream, 30, first=HOPS)
        down = [size for kind, size in device.cuda.copies if kind == "DeviceToHost"]
        heard = manifest().tensors["heard"].bytes
        assert down.count(heard) == 3  # 30 hops of 10 ms, each of them fresh
        assert stream.health["audio"].facts["distance"] > 0


def test_a_decision_does_not_wait_for_an_encoder_that_is_at_work(sessions, device):
    """And it is made of what that one had finished before, while the newer one is being written."""
    if device.cuda.eager:
        pytest.skip("here nothing is ever at work")
    described = manifest()
    fronts = {name: front_end(port) for name, port in described.ports.items()}
    branches = open_branches(described, sessions, fronts, live=True)
    head = open_head(described, sessions)
    image = branches["image"]

    def see_picture(seed):
        for i in range(FRAMES):
            image.feed.accept(VideoFrame(pixels=picture(seed + i), t_ns=T0 + (seed + i) * CAMERA_NS))
            image.feed.ingest()

    see_picture(0)
    image.encode()
    image.take(head.held)
    before = np.asarray(head.held["remembered"])
    see_picture(3)
    image.feed.fill()
    image.graph.run()  # started: its thread waits for it before it shows the result
    device.ran.clear()
    image.take(head.held)
    head.mark(["image"])
    head.run()
    assert device.ran == ["head"]
    np.testing.assert_array_equal(np.asarray(head.held["remembered"]), before)
    image.encode()
    see_picture(6)
    device.ran.clear()
    image.encode()
    assert device.ran[-1] == "image"  # what is shown is ready
    image.take(head.held)
    assert not np.array_equal(np.asarray(head.held["remembered"]), before)


def test_live_threads_decide_what_a_serial_stream_decides(sessions, duo):
    """Pictures are encoded in one thread, sound is heard and decided on in another one."""
    expected, ticks = duo.stream(live=False, baseline=baseline), 0
    with opened(sessions, live=True) as stream:
        image = stream.branches["image"]
        for each in (stream, expected):
            each.push_tensor(np.ones(3, np.float32), T0 - WINDOW * NS // RATE_HZ)
        for number in range(40):
            encoded = image.encoded
            for each in (stream, expected):
                each.push_frame(picture(number), T0 + number * CAMERA_NS)
            until(lambda number=number: stream.runs["image.item"] == number + 1)
            if number < FRAMES - 1:
                continue
            until(lambda encoded=encoded: image.encoded > encoded)
            for each in (stream, expected):
                push_hops(each, 1, first=number)
            if told := expected.poll():
                same(predictions(stream, len(told)), told)
                ticks += len(told)
    assert ticks > 30


def test_pictures_and_sound_at_their_own_pace_never_share_bytes(sessions, device):
    """Threads that nobody holds up: the double looks at every use of every byte."""
    with opened(sessions, live=True, attribution=2) as stream:
        stream.push_tensor(np.ones(3, np.float32), T0 - WINDOW * NS // RATE_HZ)
        for number in range(150):
            stream.push_frame(picture(number), T0 + number * CAMERA_NS)
            stream.push_audio(sound(160, number), T0 + number * HOP_NS)
            stream.poll()
    assert stream.totals["ticks"] > 0
    assert not device.cuda.races


def test_the_double_sees_what_nothing_puts_in_order(device):
    source, target = CudaTensor((4,), "float32"), CudaTensor((4,), "float32")
    writer, done = cuda.Stream(), cuda.Event()
    other = CudaTensor((4,), "float32")
    target[...] = source  # reads the source
    assert not device.cuda.races
    device.cuda.add(device.cuda.stream(writer.handle), work_that_writes(source))  # waits for nobody
    assert len(device.cuda.races) == 1
    writer.record(done)
    source.writes.append(done)
    other[...] = source
    assert len(device.cuda.races) == 1
    device.cuda.races.clear()


def work_that_writes(tensor):
    return cuda_double.Work(lambda: None, writes=(cuda_double.Span(tensor.address, tensor.address + tensor.nbytes),))


def test_an_array_may_be_written_to_as_soon_as_it_was_taken_in(device):
    tensor, values = CudaTensor((3,), "float32"), np.arange(3, dtype=np.float32)
    tensor[...] = values
    values[...] = 9
    first = np.asarray(tensor)
    tensor[...] = values
    np.testing.assert_array_equal(first, [0, 1, 2])
    np.testing.assert_array_equal(np.asarray(tensor), values)


def test_tensors_of_another_shape_are_refused(device):
    with pytest.raises(InputError, match=r"\[2\] float32 cannot be put into \[3\] float32"):
        CudaTensor((3,), "float32")[...] = CudaTensor((2,), "float32")


def test_a_device_that_fails_ends_a_push_in_one_line(sessions, device):
    with opened(sessions) as stream:
        drive(stream)
        device.cuda.fail["cudaEventSynchronize"] = cuda_double.Status.cudaErrorIllegalAddress
        with pytest.raises(BackendError, match="^stage .* cannot be computed: .*cudaErrorIllegalAddress$"):
            push_hops(stream, 1, first=HOPS)


def test_a_device_that_fails_ends_a_live_stream_and_who_fetches_is_told(sessions, device):
    with opened(sessions, live=True) as stream:
        device.cuda.fail["cudaEventSynchronize"] = cuda_double.Status.cudaErrorIllegalAddress
        stream.push_frame(picture(0), T0)
        broken = pytest.raises(StreamError, match="thread for image broke: stage image.item .*cudaErrorIllegalAddress")
        with broken:
            until(stream.poll)
