"""Writes variants and calibration into a bundle: a whole new folder is made beside it and takes its name at the end."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mmedge.bundle import MANIFEST, Bundle, file_record
from mmedge.errors import ExportError
from mmedge.manifest import Manifest, Variant
from mmedge.policies import PolicyScore
from mmedge_export.swap import exchange

__all__ = ["alone", "rewrite"]


@contextmanager
def alone(bundle: Path) -> Iterator[None]:
    """Keep other commands from changing a bundle, and clear away what a killed one left beside it.

    Raises:
        ExportError: Another command is changing it, or it cannot be read.
    """
    bundle = bundle.resolve()
    _restore(bundle)
    try:
        folder = os.open(bundle, os.O_RDONLY)
    except OSError as error:
        raise ExportError(
            f"{bundle}: {error.strerror}; expected a bundle, the folder that mmedge export makes"
        ) from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in bundle.parent.glob(f"{_prefix(bundle)}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    except BlockingIOError as error:
        raise ExportError(f"{bundle} is being changed by another command; wait for it to end") from error
    finally:
        os.close(folder)


def _restore(bundle: Path) -> None:
    """Where two names cannot be exchanged at once, a killed command may have left none."""
    if not bundle.exists():
        for old in bundle.parent.glob(f"{_prefix(bundle)}*.old"):
            old.rename(bundle)
            return


def rewrite(
    bundle: Bundle,
    variants: Mapping[str, Variant],
    calibration: str,
    new: Mapping[str, bytes],
    scores: tuple[PolicyScore, ...] | None = None,
) -> Manifest:
    """Put a changed bundle in the place of the one that was opened; call it inside :func:`alone`.

    Args:
        bundle: The old one.
        variants: All that the new one has; graphs that none of them uses are left out.
        calibration: Its calibration file.
        new: Content of files that are new or changed.
        scores: What is left while a sensor is missing; None keeps what the old one says.

    Returns:
        The manifest as written.

    Raises:
        ExportError: It cannot be written; the old bundle is as it was.
    """
    used = {path for variant in variants.values() for path in variant.files.values()}
    used |= {f"{path}.data" for path in used}  # where a graph may keep its weights
    old = bundle.manifest.files
    unused = {name for name in old if name.startswith("onnx/") and name not in used}
    folder = bundle.path.resolve()
    draft = folder
    try:
        draft = Path(tempfile.mkdtemp(prefix=_prefix(folder), dir=folder.parent))
        _link(folder, draft, {*new, MANIFEST, *unused})
        for name, content in new.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            _write(draft / name, content)
        records = {name: record for name, record in old.items() if name not in unused}
        records |= {name: file_record(draft / name) for name in new}
        files = dict(sorted(records.items()))
        kept = bundle.manifest.scores if scores is None else scores
        sealed = replace(bundle.manifest, variants=dict(variants), calibration=calibration, scores=kept, files=files)
        _write(draft / MANIFEST, sealed.to_json().encode())
        _swap(draft, folder)
    except OSError as error:
        raise ExportError(f"{folder} cannot be changed ({error.strerror or error}); it is as it was") from error
    finally:
        if draft != folder:
            shutil.rmtree(draft, ignore_errors=True)
    return sealed


def _prefix(bundle: Path) -> str:
    return f".{bundle.name}.quantize."


def _link(source: Path, target: Path, leave: set[str]) -> None:
    """The same files under another folder, without copying where the file system allows; they are never written to."""
    for path in source.rglob("*"):
        name = path.relative_to(source)
        if path.is_dir():
            (target / name).mkdir(parents=True, exist_ok=True)
        elif name.as_posix() not in leave:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, target / name)
            except OSError:
                shutil.copy2(path, target / name)


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _swap(draft: Path, folder: Path) -> None:
    shutil.copymode(folder, draft)
    if exchange(draft, folder):
        return
    old = draft.with_name(f"{draft.name}.old")
    folder.rename(old)
    try:
        draft.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old)
