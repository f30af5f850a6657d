"""Decisions as lines of JSON, in a file or on standard output."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import isfinite
from pathlib import Path

from mmedge.decode import to_plain_outputs
from mmedge.errors import InputError, MmedgeError, ShortSourceError
from mmedge.manifest import Output
from mmedge.types import Prediction

__all__ = ["lines_to", "refuse_to_overwrite", "refuse_to_spoil", "to_json_line"]

BEGIN = '{"t_ns": '


def to_json_line(prediction: Prediction, described: Mapping[str, Output]) -> str:
    """One prediction as one line of JSON: all that it says, see docs/observing.md.

    Args:
        prediction: It.
        described: The outputs of the model that made it.
    """
    return json.dumps(
        {
            "t_ns": prediction.t_ns,
            "outputs": to_plain_outputs(prediction.outputs, described),
            "labels": prediction.labels,
            "abstained": prediction.abstained,
            "age_ms": {port: age if isfinite(age) else None for port, age in prediction.age_ms.items()},
            "fresh": prediction.fresh,
            "degraded": prediction.degraded,
            "attribution": prediction.attribution,
            "gates": prediction.gates,
            "weights": prediction.weights,
            "latency_ns": prediction.latency_ns,
            "model": prediction.model,
        },
        allow_nan=False,
    )


def refuse_to_overwrite(out: Path, sources: Sequence[Path]) -> None:
    """Do not write where a recording is.

    Args:
        out: Where lines shall go.
        sources: Recordings; the sound that is found beside them is one too.

    Raises:
        InputError: It is one of them.
    """
    beside = [path.with_suffix(".wav") for path in sources]
    for source in (*sources, *beside):
        if out.exists() and source.exists() and out.samefile(source):
            raise InputError(f"--jsonl {out} would overwrite a recording; choose another file")


def refuse_to_spoil(option: str, path: Path, begin: str, what: str) -> None:
    """What is continued must be of its own kind, or empty, or not there.

    Args:
        option: That gave it.
        path: The file.
        begin: How its first line begins.
        what: It holds.

    Raises:
        InputError: It holds something else.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        found = file.read(len(begin))
    if found and found != begin.encode():
        raise InputError(f"{option} {path} holds something else than {what}; choose another file")


@contextmanager
def lines_to(path: Path, *, live: bool) -> Iterator[Callable[[str], object]]:
    """What writes a line: into a file, to standard output, a pipe or a device.

    Of a recording, the file takes its name at the end, also when the recording broke off. Of live sensors, every line
    is there at once, behind those of the run before.

    Args:
        path: The file, or - for standard output.
        live: Whether the sensors are.

    Raises:
        InputError: The file of a live run holds something else.
        OSError: It cannot be written.
    """
    if str(path) == "-":
        yield partial(_say, flush=live)
    elif live or (path.exists() and not path.is_file()):
        refuse_to_spoil("--jsonl", path, BEGIN, "decisions")
        with _named(path, path), path.open("a", encoding="utf-8", buffering=1) as lines:
            yield lambda line: lines.write(line + "\n")
    else:
        with _draft(path) as write:
            yield write


def _say(line: str, *, flush: bool) -> None:
    sys.stdout.write(line + "\n")
    if flush:
        sys.stdout.flush()


@contextmanager
def _draft(path: Path) -> Iterator[Callable[[str], object]]:
    """A file beside it, which takes its name at the end, or where a recording broke off."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with _named(path, draft):
            with draft.open("x", encoding="utf-8") as lines:
                try:
                    yield lambda line: lines.write(line + "\n")
                except ShortSourceError:
                    lines.close()
                    draft.replace(path)
                    raise
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _named(path: Path, written: Path) -> Iterator[None]:
    """Call the file by the name that was given, whatever is written."""
    try:
        yield
    except OSError as error:
        if isinstance(error, MmedgeError) or error.filename not in {None, str(written)}:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
