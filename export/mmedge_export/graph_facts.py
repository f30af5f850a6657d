"""What must be known of a graph where it is built, read from its bytes without onnx, which a Jetson does not have.

Source: onnx.proto3 of ONNX 1.19, field numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mmedge.backends.external_data import fields
from mmedge.errors import BundleError

__all__ = ["MODULE", "GraphFacts", "NodeFacts", "read_facts"]

MODULE = "module"  # the only metadata of a node that export keeps: where in the user's model it came from


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """One node: its name, operator, and the module of the original model that it came from, or ""."""

    name: str
    operator: str
    module: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFacts:
    """A graph.

    Attributes:
        open_inputs: Inputs with an axis of no fixed size.
        nodes: In the order of the file.
        opset: Version of the standard operators.
    """

    open_inputs: tuple[str, ...]
    nodes: tuple[NodeFacts, ...]
    opset: int


def read_facts(model: bytes, name: str) -> GraphFacts:
    """Read the bytes of an ONNX file.

    Args:
        model: The bytes.
        name: The stage, for messages.

    Raises:
        BundleError: It is no ONNX graph.
    """
    try:
        message = memoryview(model)
        graph = next(_messages(message, 7))
        opsets = [dict(fields(opset)) for opset in _messages(message, 8)]
        weights = {_text(tensor, 8) for tensor in _messages(graph, 5)}
        inputs = [value for value in _messages(graph, 11) if _text(value, 1) not in weights]
        return GraphFacts(
            open_inputs=tuple(_text(value, 1) for value in inputs if _is_open(value)),
            nodes=tuple(_node(node) for node in _messages(graph, 1)),
            opset=max((int(o.get(2, 0)) for o in opsets if bytes(o.get(1, b"")) in {b"", b"ai.onnx"}), default=0),
        )
    except (IndexError, StopIteration, TypeError, ValueError) as error:
        raise BundleError(f"stage {name} is not an ONNX graph; export the bundle again") from error


def _messages(message: memoryview, number: int) -> Iterator[memoryview]:
    return (value for found, value in fields(message) if found == number and isinstance(value, memoryview))


def _text(message: memoryview, number: int) -> str:
    return bytes(next(_messages(message, number), b"")).decode()


def _is_open(value: memoryview) -> bool:
    """A dimension of a ValueInfo's tensor type has no dim_value."""
    dimensions = (
        dimension
        for kind in _messages(value, 2)
        for tensor in _messages(kind, 1)
        for shape in _messages(tensor, 2)
        for dimension in _messages(shape, 1)
    )
    return any(1 not in dict(fields(dimension)) for dimension in dimensions)


def _node(node: memoryview) -> NodeFacts:
    notes = {_text(entry, 1): _text(entry, 2) for entry in _messages(node, 9)}
    return NodeFacts(name=_text(node, 3), operator=_text(node, 4), module=notes.get(MODULE, ""))
