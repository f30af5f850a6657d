"""Tensors and states without a model of anybody: the only stage is a few lines of numpy."""

from dataclasses import replace

import numpy as np
import pytest

import mmedge
from mmedge.features.settings import StateSettings, TensorSettings, TextSettings
from mmedge.manifest import SCHEMA, FileRecord, Manifest, Output, Port, Stage, TensorSpec, Variant, read_manifest
from mmedge.stream import Stream
from mmedge.types import NS

FILE = FileRecord(bytes=0, sha256="")
PAIR = TensorSpec(shape=(1, 2), dtype="float32")


class Adder:
    """out = h + speed, and the next h is 2 h + speed."""

    inputs, outputs = ("speed", "h"), ("out", "h_next")

    def bind(self, buffers, resident=()):
        def run():
            buffers["out"][...] = buffers["h"] + buffers["speed"]
            buffers["h_next"][...] = 2 * buffers["h"] + buffers["speed"]

        return run


def manifest():
    return Manifest(
        schema=SCHEMA,
        name="adder",
        made_with={},
        ports={
            "speed": Port(tensor=TensorSettings(shape=(2,), rate_hz=10)),
            "h": Port(state=StateSettings(shape=(2,), source="h_next")),
        },
        tensors={"speed": PAIR, "h": PAIR, "out": PAIR, "h_next": PAIR},
        stages=(Stage(name="whole", ports=("speed", "h"), inputs=Adder.inputs, outputs=Adder.outputs),),
        macs={"whole": 0},
        outputs={"out": Output(tensor="out")},
        variants={"fp32": Variant(files={"whole": "whole.onnx"}, backends=())},
        golden="golden.npz",
        files={"whole.onnx": FILE, "golden.npz": FILE},
    )


def stream(tick=None):
    return Stream(manifest(), {"whole": Adder()}, tick)


def speed(value):
    return np.full(2, value, np.float32)


def outs(opened):
    return [float(prediction.outputs["out"][0]) for prediction in opened.poll()]


def test_a_state_is_zeros_first_and_then_what_the_tick_before_made():
    opened = stream()
    for i in range(4):
        opened.push_tensor(speed(1), i * NS // 10)
    assert outs(opened) == [1, 2, 4, 8]


def test_a_state_advances_at_ticks_without_new_data_and_only_at_ticks():
    opened = stream("20hz")
    opened.push_tensor(speed(1), 0)
    opened.push_tensor(speed(0), NS // 10)
    opened.push_tensor(speed(5), 2 * NS // 10)
    assert outs(opened) == [1, 2, 3, 6, 17]  # h: 0, 1, 3, 6, 12
    assert opened.runs["whole"] == 5


class AddOne:
    """Gives its input plus one."""

    def __init__(self, given, made):
        self.inputs, self.outputs = (given,), (made,)

    def bind(self, buffers, resident=()):
        def run():
            np.add(buffers[self.inputs[0]], 1, out=buffers[self.outputs[0]])

        return run


def test_zeros_are_computed_like_any_other_first_value():
    apart = replace(
        manifest(),
        stages=(
            Stage(name="whole", ports=("speed",), inputs=("speed",), outputs=("out",)),
            Stage(name="clock", ports=("h",), inputs=("h",), outputs=("h_next",)),
        ),
        macs={"whole": 0, "clock": 0},
        outputs={"out": Output(tensor="out"), "clock": Output(tensor="h_next")},
        variants={},
    )
    opened = Stream(apart, {"whole": AddOne("speed", "out"), "clock": AddOne("h", "h_next")})
    for i in range(3):
        opened.push_tensor(speed(0), i * NS // 10)
    predictions = opened.poll()
    assert [p.outputs["out"].tolist() for p in predictions] == [[1, 1]] * 3
    assert [p.outputs["clock"][0] for p in predictions] == [1, 2, 3]
    assert opened.runs == {"whole": 1, "clock": 3}  # an equal value is not computed again


def test_a_value_that_was_given_before_is_newer_all_the_same():
    opened = stream()
    opened.push_tensor(speed(1), 0)
    opened.push_tensor(speed(1), NS // 10)
    assert [(p.age_ms, p.fresh) for p in opened.poll()] == [({"speed": 0.0}, {"speed": True})] * 2


def test_tensors_of_a_faster_sensor_and_late_ones_are_left_out_and_counted():
    opened = stream()
    for t_ms in (0, 50, 100, 90, 100, 200):
        opened.push_tensor(speed(1), t_ms * 1_000_000)
    assert len(opened.poll()) == 3
    assert opened.counters == {"speed": {"skipped": 1, "late": 2, "gaps": 0, "jumps": 0}}


def test_values_are_not_kept():
    opened, values = stream("20hz"), speed(1)
    opened.push_tensor(values, 1)
    values[...] = 100
    opened.push_tensor(speed(1), NS // 10)
    assert outs(opened)[0] == 1


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (np.ones(3, np.float32), r"^speed: the tensor is \[2\] float32, not \[3\] float32"),
        (np.ones(2), "^speed: .*float64"),
        (speed(np.nan), "^speed: NaN"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused_and_the_stream_goes_on(values, text):
    opened = stream()
    with pytest.raises(mmedge.InputError, match=text):
        opened.push_tensor(values, 0)
    opened.push_tensor(speed(1), 0)
    assert outs(opened) == [1]


def test_a_packet_for_a_port_that_is_not_there_is_refused():
    opened = stream()
    with pytest.raises(mmedge.InputError, match="no text port; expected data of tensor"):
        opened.push_text("go", 0)
    with pytest.raises(mmedge.InputError, match="tensor data needs the port 'h'; the model has speed"):
        opened.push(mmedge.TensorReading(values=speed(1), t_ns=0), port="h")


@pytest.mark.parametrize(("tick", "text"), [("audio", "no audio port"), ("camera", "no camera port")])
def test_a_tick_of_a_sensor_that_is_not_there_is_refused(tick, text):
    with pytest.raises(mmedge.InputError, match=text):
        stream(tick)


def test_a_manifest_with_a_state_survives_writing_and_reading():
    assert read_manifest(manifest().to_json(), "copy") == manifest()


def other(name, **change):
    return {"tensors": {**manifest().tensors, name: replace(PAIR, **change)}}


def fed_from(source):
    return {"ports": {**manifest().ports, "h": Port(state=StateSettings(shape=(2,), source=source))}}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (other("h", dtype="int64"), "port h gives float32, its tensor is int64"),
        (other("h_next", shape=(1, 3)), r"state h is \[1, 2\] float32, h_next is \[1, 3\] float32"),
        (other("h_next", dtype="int64"), r"h_next is \[1, 2\] int64"),
        (fed_from("x"), "state h is fed from 'x', which no stage makes"),
        (fed_from("h"), "state h is fed from 'h', which no stage makes"),
    ],
)
def test_a_manifest_whose_state_does_not_fit_is_refused(change, text):
    with pytest.raises(mmedge.BundleError, match=text):
        replace(manifest(), **change)


def test_a_tokenizer_that_is_not_listed_is_refused():
    text = Port(text=TextSettings(tokenizer="../secret.json", length=2))
    ports, tensors = {**manifest().ports, "speed": text}, {**manifest().tensors, "speed": replace(PAIR, dtype="int64")}
    with pytest.raises(mmedge.BundleError, match=r"secret\.json is used but not listed"):
        replace(manifest(), ports=ports, tensors=tensors)


def test_a_port_of_two_kinds_is_refused():
    with pytest.raises(mmedge.BundleError, match="exactly one of camera, audio, text, tensor, state"):
        Port(tensor=TensorSettings(shape=(2,)), state=StateSettings(shape=(2,), source="x"))
    with pytest.raises(mmedge.BundleError, match="exactly one"):
        Port()
