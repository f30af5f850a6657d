"""Finds weights that a graph keeps outside its own bytes, and lets it do so only in files that were hashed.

ONNX Runtime follows such references relative to the current directory or to a folder that it is told, 1.23 follows
absolute ones, and one form is an address in memory. None of its options refuses all of them in all versions, so the
graph is read before it is loaded.

Source: onnx.proto3 of ONNX 1.19, field numbers; protobuf.dev/programming-guides/encoding, wire types.
"""

from collections.abc import Iterator, Mapping
from math import prod

from mmedge.errors import BundleError

__all__ = ["check_external_data", "fields"]

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
WEIGHT = ("model", "graph", TENSOR)  # the only place from which a reference is followed
DIMS, DATA_TYPE, EXTERNAL_DATA, DATA_LOCATION = 1, 2, 13, 14
EXTERNAL = 1
KEYS = {"location", "offset", "length"}
MAX_DIGITS = 15
BYTES = {1: (2, 3, 9), 2: (4, 5, 10, 16), 4: (1, 6, 12), 8: (7, 11, 13)}  # TensorProto.DataType by bytes of a value
ITEM_BYTES = {kind: size for size, kinds in BYTES.items() for kind in kinds}
VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5


def check_external_data(model: bytes, name: str, files: Mapping[str, int]) -> bool:
    """Check that a graph has all of its weights inside, or in files that may be used.

    Args:
        model: Bytes of an ONNX file.
        name: The stage, for messages.
        files: Sizes of these files in bytes, by plain names.

    Returns:
        Whether it has weights outside.

    Raises:
        BundleError: It refers to other data outside, or is no protobuf message.
    """
    if b"location" not in model:  # the key that every such reference has; most graphs end here
        return False
    try:
        found = list(_external(("model",), memoryview(model)))
        wrong = any(place != WEIGHT or not _fits(tensor, files) for place, tensor in found)
    except (IndexError, RecursionError) as error:
        raise BundleError(f"stage {name} is not an ONNX graph; export the bundle again") from error
    if wrong:
        raise BundleError(f"stage {name} keeps weights outside its file, where no hash covers them; export it again")
    return bool(found)


def _external(place: tuple[str, ...], message: memoryview) -> Iterator[tuple[tuple[str, ...], memoryview]]:
    """Every tensor that refers to data outside, with the kinds of the messages that it is in."""
    inside = INSIDE[place[-1]]
    for number, value in fields(message):
        if place[-1] == TENSOR and (number == EXTERNAL_DATA or (number == DATA_LOCATION and value != 0)):
            yield place, message
            return
        if number in inside and isinstance(value, memoryview):
            yield from _external((*place, inside[number]), value)


def _fits(tensor: memoryview, files: Mapping[str, int]) -> bool:
    """Whether a tensor refers to a part of one of the files, of the size that its shape needs."""
    reference: dict[str, str] = {}
    dims: list[int] = []
    kind = location = 0
    for number, value in fields(tensor):
        if number == EXTERNAL_DATA and isinstance(value, memoryview):
            entry = [(n, bytes(v).decode("utf-8", "replace")) for n, v in fields(value) if isinstance(v, memoryview)]
            if [n for n, _ in entry] != [1, 2] or entry[0][1] in reference:
                return False
            reference[entry[0][1]] = entry[1][1]
        elif number == DIMS:
            dims += [value] if isinstance(value, int) else _packed(value)
        elif number == DATA_TYPE and isinstance(value, int):
            kind = value
        elif number == DATA_LOCATION and isinstance(value, int):
            location = value
    numbers = [reference.get(key, "") for key in ("offset", "length")]
    if reference.keys() != KEYS or location != EXTERNAL or reference["location"] not in files:
        return False
    if not all(text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS for text in numbers):
        return False
    offset, length = map(int, numbers)
    return offset + length <= files[reference["location"]] and length == prod(dims) * ITEM_BYTES.get(kind, -1)


def _packed(message: memoryview) -> list[int]:
    numbers, at = [], 0
    while at < len(message):
        number, at = _varint(message, at)
        numbers.append(number)
    return numbers


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
