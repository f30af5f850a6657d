"""Finds weights that a graph keeps outside its own bytes, where no hash covers them.

ONNX Runtime follows such references relative to the current directory, 1.23 follows absolute ones, and one form is an
address in memory. None of its options refuses all of them in all versions, so the graph is read before it is loaded.

Source: onnx.proto3 of ONNX 1.19, field numbers; protobuf.dev/programming-guides/encoding, wire types.
"""

from collections.abc import Iterator

from mmedge.errors import BundleError

__all__ = ["fields", "refuse_external_data"]

TENSOR = "tensor"
INSIDE = {  # field number -> the message that it holds, for all messages on a way to a tensor
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: TENSOR, 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: TENSOR, 6: "graph", 10: TENSOR, 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: TENSOR, 2: TENSOR},
    TENSOR: {},
}
EXTERNAL_DATA, DATA_LOCATION = 13, 14
VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5


def refuse_external_data(model: bytes, name: str) -> None:
    """Check that a graph has all of its weights inside.

    Args:
        model: Bytes of an ONNX file.
        name: The stage, for messages.

    Raises:
        BundleError: It refers to data outside, or is no protobuf message.
    """
    if b"location" not in model:  # the key that every such reference has; most graphs end here
        return
    try:
        external = _is_external("model", memoryview(model))
    except (IndexError, RecursionError) as error:
        raise BundleError(f"stage {name} is not an ONNX graph; export the bundle again") from error
    if external:
        raise BundleError(f"stage {name} keeps weights outside its file, where no hash covers them; export it again")


def _is_external(kind: str, message: memoryview) -> bool:
    inside = INSIDE[kind]
    for number, value in fields(message):
        if kind == TENSOR and (number == EXTERNAL_DATA or (number == DATA_LOCATION and value != 0)):
            return True
        if number in inside and isinstance(value, memoryview) and _is_external(inside[number], value):
            return True
    return False


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a protobuf message; values of bytes are views of it.

    Raises:
        IndexError: The message is cut off, or has an unknown wire type.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire = key & 7
        if wire == VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if wire == LENGTH:
            size, at = _varint(message, at)
        else:
            size = {EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(wire, len(message))
        if at + size > len(message):
            raise IndexError(at)
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise IndexError(at)
