"""The recorded samples of a bundle: read within bounds, and checked against the manifest before anyone uses them."""

import io
import struct
import zipfile
import zlib

import numpy as np

from mmedge.errors import BundleError
from mmedge.manifest import Manifest, Port
from mmedge.types import Array

__all__ = ["UNREADABLE", "read_golden"]

MAX_BYTES = 1 << 30  # unpacked; a few windows of raw sensor data are some MiB
COMPRESSIONS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
ENCRYPTED = 1
# what reading an .npz that is damaged or made up can raise
UNREADABLE = (zipfile.BadZipFile, zlib.error, struct.error, ValueError, TypeError, OSError, EOFError, MemoryError)


def read_golden(content: bytes, manifest: Manifest, where: str) -> dict[str, Array]:
    """Recorded inputs and outputs of one or more samples, axis 0 the samples.

    Args:
        content: Bytes of the .npz file.
        manifest: Of the same bundle.
        where: The file's name, for messages.

    Returns:
        ``sensor/PORT`` for every port, ``output/NAME`` [S, ...] and ``tolerance/NAME`` [] for everything that the model
        returns, and ``tensor/NAME`` [S, 1, ...] for what was recorded between stages.

    Raises:
        BundleError: It is no such file, it is too large, or it does not fit the manifest.
    """
    try:
        arrays = _unpack(content, _expected(manifest))
        _check(arrays, manifest)
    except UNREADABLE as error:
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise BundleError(f"{where} cannot be read ({told}); export the bundle again") from error
    return arrays


def _expected(manifest: Manifest) -> dict[str, bool]:
    """Every key that may be there, and whether it must."""
    made = manifest.tensors.keys() - manifest.ports.keys()
    keys = {f"tensor/{name}": False for name in made}
    keys |= {f"{kind}/{name}": True for kind in ("output", "tolerance") for name in manifest.results}
    return keys | {f"sensor/{name}": True for name in manifest.ports}


def _unpack(content: bytes, expected: dict[str, bool]) -> dict[str, Array]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
    if sum(member.file_size for member in members) > MAX_BYTES:
        raise ValueError(f"it unpacks to more than {MAX_BYTES >> 20} MiB")
    if any(member.compress_type not in COMPRESSIONS or member.flag_bits & ENCRYPTED for member in members):
        raise ValueError("it is packed in another way than numpy's")
    names = [member.filename.removesuffix(".npy") for member in members]
    if unknown := [name for name in names if name not in expected]:
        raise ValueError(f"it holds {unknown[0]!r}, which the manifest does not name")
    if missing := [name for name, needed in expected.items() if needed and name not in names]:
        raise ValueError(f"it holds no {missing[0]!r}")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in names}


def _check(arrays: dict[str, Array], manifest: Manifest) -> None:
    first = next(iter(manifest.ports))
    count = len(np.atleast_1d(arrays[f"sensor/{first}"]))
    if count < 1:
        raise ValueError("it holds no sample")
    for key, array in arrays.items():
        kind, _, name = key.partition("/")
        if kind == "sensor":
            _fits(key, array, *_raw(manifest.ports[name], array), count=count)
        elif kind == "tensor":
            spec = manifest.tensors[name]
            _fits(key, array, spec.shape, spec.dtype, count=count)
        elif kind == "output":
            spec = manifest.tensors[manifest.results[name]]
            _fits(key, array, spec.shape[1:], "float32", count=count)
        elif array.shape != () or array.dtype.kind != "f":
            raise ValueError(f"{key} is {list(array.shape)} {array.dtype}, expected one float")


def _raw(port: Port, array: Array) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of one sample of raw sensor data; pictures may have any size, texts any length."""
    if port.camera is not None:
        window = (port.camera.frames,) if port.camera.frames > 1 or array.ndim == 5 else ()
        height, width = (*array.shape[-3:-1], 0, 0)[:2]
        return (*window, max(1, height), max(1, width), 3), "uint8"
    if port.audio is not None:
        return (port.audio.window_samples,), "float32"
    if port.text is not None:
        return (), array.dtype.name if array.dtype.kind == "U" else "str"
    return port.shape, port.dtype


def _fits(key: str, array: Array, shape: tuple[int, ...], dtype: str, *, count: int) -> None:
    if array.shape != (count, *shape) or array.dtype.name != dtype:
        raise ValueError(f"{key} is {list(array.shape)} {array.dtype}, expected {[count, *shape]} {dtype}")
