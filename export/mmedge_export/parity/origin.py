"""Where a node of an exported graph comes from: the module it belongs to, and the line of the user's code."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path

import onnx

from mmedge_export.parity.comparison import Divergence
from mmedge_export.user_code import library_folders

__all__ = ["divergence_at", "users_line"]

PREFIX = "pkg.torch.onnx."  # under which torch's exporter notes what a node was made from
FRAME = re.compile(r'File "(?P<file>.+?)", line (?P<line>\d+), in (?P<function>\S+)')


def divergence_at(node: onnx.NodeProto, tensor: str) -> Divergence:
    """A divergence at one node of an ONNX graph.

    Args:
        node: With the exporter's notes on it, if there are any.
        tensor: Which of its outputs.
    """
    notes = {entry.key.removeprefix(PREFIX): entry.value for entry in node.metadata_props}
    scopes, classes = _listed(notes, "name_scopes"), _listed(notes, "class_hierarchy")
    return Divergence(
        operator=node.op_type,
        tensor=tensor,
        module=".".join(scopes[-2].split(".")[1:]) if len(scopes) > 1 else "",  # the first is our own wrapper
        line=users_line(notes.get("stack_trace", ""), classes[:-1]),
    )


def users_line(stack_trace: str, classes: list[str]) -> str:
    """The innermost line of a stack trace that the user wrote, as "model.py:41 in Encoder.forward".

    Args:
        stack_trace: As Python prints it.
        classes: Of the modules around the line, outermost first, with the modules that they are defined in.
    """
    frames = [match.groupdict() for match in FRAME.finditer(stack_trace)]
    own = [frame for frame in frames if not frame["file"].startswith(library_folders())]
    if not own:
        return ""
    file, function = Path(own[-1]["file"]), own[-1]["function"]
    around = [name for name in classes if name.rpartition(".")[0].rpartition(".")[2] == file.stem]
    where = f"{around[-1].rpartition('.')[2]}.{function}" if around else function
    return f"{file.name}:{own[-1]['line']} in {where}"


def _listed(notes: Mapping[str, str], key: str) -> list[str]:
    try:
        found = ast.literal_eval(notes.get(key, "[]"))
    except (SyntaxError, ValueError):  # an exporter of another version
        return []
    return [str(each) for each in found] if isinstance(found, list) else []
