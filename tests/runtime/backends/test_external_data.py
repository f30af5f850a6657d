"""Graphs written byte by byte, so that what no library would write can be tested too."""

import numpy as np
import pytest

import mmedge
from mmedge.backends.external_data import check_external_data
from mmedge.backends.ort import OrtSession


def varint(value):
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def entry(key, value):
    return field(13, field(1, key.encode()) + field(2, value.encode()))


def weight(*, external_data=b"", location=1):
    return field(1, 2) + field(2, 1) + field(8, b"w") + external_data + (field(14, location) if location else b"")


def tensor(name):
    kind = field(1, field(1, 1) + field(2, field(1, field(1, 2))))  # float32, one axis of two
    return field(1, name.encode()) + field(2, kind)


def graph(*initializers, name=b"x"):
    node = field(1, name) + field(1, b"w") + field(2, b"y") + field(4, b"Add")
    held = b"".join(field(5, each) for each in initializers)
    return field(1, node) + field(2, b"g") + held + field(11, tensor(name.decode())) + field(12, tensor("y"))


def model(body):
    return field(1, 8) + field(7, body) + field(8, field(2, 17))


SECRET = entry("location", "secret.bin")


@pytest.mark.parametrize("location", ["secret.bin", "/etc/passwd", "../secret.bin", "*/_ORT_MEM_ADDR_/*"])
def test_weights_outside_the_file_are_refused(tmp_path, monkeypatch, location):
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    monkeypatch.chdir(tmp_path)
    where = entry("location", location) + entry("offset", "0") + entry("length", "8")
    with pytest.raises(mmedge.BundleError, match="^stage head keeps weights outside its file") as refused:
        OrtSession(model(graph(weight(external_data=where))), threads=1, name="head")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "hidden",
    [
        field(7, graph(field(1, 1), weight(external_data=SECRET, location=0))),
        field(7, field(1, field(5, field(5, weight(external_data=SECRET))))),
        field(7, field(1, field(5, field(6, graph(weight(external_data=SECRET)))))),
        field(7, field(15, field(1, weight(external_data=SECRET)))),
        field(25, field(7, field(5, field(10, weight(external_data=SECRET))))),
        field(20, field(1, graph(weight(external_data=SECRET)))),
        field(7, b"") + field(7, graph(weight(external_data=SECRET))),
        b"\xba\x00" + field(7, graph(weight(external_data=SECRET)))[1:],  # the key 7 << 3 | 2 in two bytes
    ],
    ids=["no location", "constant", "subgraph", "sparse", "function", "training", "second graph", "long varint"],
)
def test_weights_outside_are_found_wherever_a_graph_can_hide_them(hidden):
    with pytest.raises(mmedge.BundleError, match="outside its file"):
        check_external_data(hidden, "head", {"secret.bin": 64})


def outside(location="w.data", offset="8", length="8", *, more=b""):
    return entry("location", location) + entry("offset", offset) + entry("length", length) + more


def test_weights_in_a_file_that_may_be_used_are_mapped_from_there(tmp_path):
    np.array([1, 2, 3, 4], np.float32).tofile(tmp_path / "w.data")
    content = model(graph(weight(external_data=outside())))
    session = OrtSession(content, threads=1, name="head", weights=[tmp_path / "w.data"])
    np.testing.assert_array_equal(session.run({"x": np.zeros(2, np.float32)})["y"], [3, 4])


@pytest.mark.parametrize(
    "reference",
    [
        outside(offset="12"),
        outside(offset="-8"),
        outside(offset=" 8"),
        outside(offset="\u0668"),  # a digit, and not an ASCII one
        outside(offset="9" * 40),
        outside(length="4"),
        outside(length="16", offset="0"),
        outside(location="other.data"),
        outside(location="./w.data"),
        outside(location="sub/../w.data"),
        outside(location="w.data\0"),
        outside(more=entry("location", "/etc/passwd")),
        outside(more=entry("checksum", "0")),
        outside(more=field(13, field(1, b"location"))),
        outside()[:-12],
        field(13, field(1, b"location") + field(2, b"w.data") + field(2, b"/etc/passwd")),
    ],
)
def test_what_is_not_a_part_of_that_file_of_the_right_size_is_refused(tmp_path, reference):
    (tmp_path / "w.data").write_bytes(bytes(16))
    with pytest.raises(mmedge.BundleError, match="outside its file|not an ONNX graph"):
        OrtSession(model(graph(weight(external_data=reference))), threads=1, name="head", weights=[tmp_path / "w.data"])


def test_a_tensor_that_is_called_location_is_no_reference():
    inside = weight(external_data=field(9, bytes(8)), location=0)
    assert OrtSession(model(graph(inside, name=b"location")), threads=1, name="head").inputs == ("location",)


@pytest.mark.parametrize("start", [b"", b"\x3a\xff\xff\x03", b"\x3b", b"\xff" * 20])
def test_what_is_no_graph_is_refused_in_one_line(start):
    with pytest.raises(mmedge.BundleError) as refused:
        OrtSession(start + b"location", threads=1, name="head")
    assert "\n" not in str(refused.value)
