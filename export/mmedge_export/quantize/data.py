"""Where calibration data comes from: recordings, arrays, what the bundle has recorded, or chance when asked for."""

from pathlib import Path

import numpy as np

from mmedge.bundle import Bundle
from mmedge.errors import InputError
from mmedge_export.quantize.arrays import read_arrays, sensor_moments
from mmedge_export.quantize.clips import AUDIO_SUFFIXES, LABELS, VIDEO_SUFFIXES, Clips, read_clip, read_labels
from mmedge_export.quantize.windows import Moment, Windows, stacked

__all__ = ["golden_windows", "random_windows", "read_clips", "read_windows"]

SEED = 11


def read_windows(path: Path, bundle: Bundle, limit: int) -> Windows:
    """Moments from a folder of clips or of .npz files, or from a single one of either.

    Args:
        path: The folder or file; ``labels.json`` in a folder of clips says what is true.
        bundle: The model.
        limit: How many windows at most, shared evenly by the files.

    Raises:
        InputError: There is nothing to calibrate with, or it does not fit the model.
        SourceError: A recording cannot be read.
    """
    files = _files(path, bundle)
    each = -(-limit // len(files))
    moments: list[tuple[str, Moment]] = []
    labels = read_labels((path if path.is_dir() else path.parent) / LABELS, bundle.manifest)
    if lost := sorted(labels.keys() - {file.stem for file in files}) if path.is_dir() else []:
        raise InputError(f"{path / LABELS} has labels of {lost[0]!r}, which is no clip in {path}")
    for file in files:
        if file.suffix == ".npz":
            rows = read_arrays(file, bundle, each)
        else:
            rows = read_clip(file, bundle, each, labels.get(file.stem, {}))
        moments += [(file.name, moment) for moment in rows]
    return stacked(moments, bundle.manifest, real=True)


def read_clips(path: Path, bundle: Bundle) -> Clips:
    """The recordings of calibration data and what is true in them; none where it is arrays.

    Args:
        path: As :func:`read_windows` takes it.
        bundle: The model.

    Raises:
        InputError: It is not what :func:`read_windows` takes.
    """
    labels = read_labels((path if path.is_dir() else path.parent) / LABELS, bundle.manifest)
    return {file: labels.get(file.stem, {}) for file in _files(path, bundle) if file.suffix != ".npz"}


def golden_windows(bundle: Bundle) -> Windows:
    """The few real windows that were recorded when the model was exported."""
    golden = bundle.read_golden()
    arrays = {name: golden[f"sensor/{name}"] for name in bundle.manifest.ports}
    rows = np.arange(len(next(iter(arrays.values()))))
    moments = sensor_moments(bundle, arrays, rows, bundle.manifest.golden)
    return stacked([(bundle.manifest.golden, moment) for moment in moments], bundle.manifest, real=True)


def random_windows(bundle: Bundle, limit: int) -> Windows:
    """Noise: it fills no range as real data does, and is only good to try things out."""
    random = np.random.default_rng(SEED)
    moments = []
    for _ in range(limit):
        ports = {}
        for name, port in bundle.manifest.ports.items():
            shape = (1, *port.shape)
            floats = np.dtype(port.dtype).kind == "f"
            ports[name] = (random.standard_normal(shape) if floats else random.integers(2, size=shape)).astype(
                port.dtype
            )
        moments.append(("random", Moment(ports=ports, given=frozenset(bundle.manifest.states))))
    return stacked(moments, bundle.manifest, real=False)


def _files(path: Path, bundle: Bundle) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path} does not exist; expected a folder of clips or of .npz files")
    arrays = sorted(path.glob("*.npz"))
    sees = any(port.camera for port in bundle.manifest.ports.values())
    wanted = VIDEO_SUFFIXES if sees else AUDIO_SUFFIXES
    clips = sorted(file for file in path.iterdir() if file.suffix.lower() in wanted)
    if arrays and clips:
        raise InputError(f"{path} holds both .npz files and recordings; give one kind")
    if not arrays and not clips:
        kinds = "videos" if sees else "sound files"
        raise InputError(f"{path} holds neither {kinds} nor .npz files; expected something to calibrate with")
    return arrays or clips
