"""Calibration data in .npz files: raw sensor arrays by port, one row for each moment."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mmedge.bundle import Bundle
from mmedge.errors import InputError
from mmedge.feeds import FrontEnd, front_end
from mmedge.types import Array
from mmedge_export.quantize.windows import Moment
from mmedge_export.samples import LABEL

__all__ = ["front_ends", "read_arrays", "sensor_moments"]

UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


def front_ends(bundle: Bundle) -> dict[str, FrontEnd]:
    """What makes each port's tensor from raw sensor data."""
    return {name: front_end(port, bundle.read) for name, port in bundle.manifest.ports.items()}


def read_arrays(path: Path, bundle: Bundle, limit: int) -> list[Moment]:
    """The first moments of one file.

    Args:
        path: For each port an array [S, ...] of raw sensor data as ``model.infer`` takes it; optionally
            ``label/OUTPUT``, or OUTPUT where no port has its name, [S] (labels or their numbers) or [S, ...] (values).
            Rows of a recurrent model follow one another in time, unless the file gives its states.
        bundle: Whose ports.
        limit: How many at most, evenly spread; a recurrent model's are the first ones.

    Raises:
        InputError: The file cannot be read, or does not fit the ports; NaN is refused.
    """
    ports, outputs = bundle.manifest.ports, bundle.manifest.outputs
    arrays = {LABEL + name if name in outputs and name not in ports else name: a for name, a in _load(path).items()}
    needed = [name for name, port in ports.items() if port.state is None]
    if missing := [name for name in needed if name not in arrays]:
        raise InputError(f"{path} has no array named {missing[0]}; expected {', '.join(needed)}")
    known = {*ports, *(LABEL + name for name in outputs)}
    if unknown := sorted(arrays.keys() - known):
        raise InputError(f"{path} has an array named {unknown[0]!r}; expected {', '.join(sorted(known))}")
    counts = {name: len(np.atleast_1d(array)) for name, array in arrays.items()}
    if len(set(counts.values())) != 1:
        raise InputError(f"{path} has arrays of {', '.join(f'{n} {c}' for n, c in counts.items())} rows; expected one")
    count = next(iter(counts.values()))
    states = frozenset(bundle.manifest.states)
    given = states & arrays.keys()
    if states - given:
        rows = np.arange(min(count, limit))
    else:
        rows = np.unique(np.linspace(0, count - 1, min(count, limit)).round().astype(int))
    return list(sensor_moments(bundle, arrays, rows, str(path)))


def sensor_moments(bundle: Bundle, arrays: Mapping[str, Array], rows: Array, where: str) -> Iterator[Moment]:
    """Moments from raw sensor arrays, through the front ends.

    Args:
        bundle: Whose ports.
        arrays: As :func:`read_arrays` reads them.
        rows: Which of their rows.
        where: The file's name, for messages.

    Raises:
        InputError: A row does not fit its port.
    """
    fronts, ports = front_ends(bundle), bundle.manifest.ports
    states = frozenset(bundle.manifest.states)
    given = states & arrays.keys()
    labels = {name.removeprefix(LABEL): array for name, array in arrays.items() if name.startswith(LABEL)}
    for place, row in enumerate(rows):
        tensors = {}
        for name, port in ports.items():
            raw = arrays[name][row] if name in arrays else np.zeros(port.shape, port.dtype)
            try:
                tensors[name] = np.array(fronts[name].window(raw))[np.newaxis]
            except InputError as error:
                raise InputError(f"{where}: {name}, row {row}: {error}") from error
        yield Moment(
            ports=tensors,
            labels={name: _label(array[row]) for name, array in labels.items()},
            begins=place == 0 or not states - given,
            given=given,
        )


def _label(value: Array) -> object:
    return str(value) if value.dtype.kind == "U" else value


def _load(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except UNREADABLE as error:
        told = " ".join(str(error).split())[:150] or type(error).__name__
        raise InputError(f"{path} is not a whole .npz of plain arrays ({told}); write it again") from error
