"""Writes a bundle aside and puts it under its name when it is whole."""

import os
import platform
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from json import dumps
from pathlib import Path
from signal import SIGINT, SIGTERM
from threading import current_thread, main_thread

import numpy as np
import onnx

import mmedge
from mmedge.bundle import MANIFEST, file_record
from mmedge.engine_file import ENGINES
from mmedge.errors import ExportError
from mmedge.manifest import SCHEMA, FileRecord, Manifest, Port, Variant
from mmedge.policies import PolicyScore
from mmedge.records import to_plain
from mmedge.types import Array
from mmedge_export.cut import CutGraph
from mmedge_export.isolate import write_arrays
from mmedge_export.samples import Sample, stack
from mmedge_export.source import Source
from mmedge_export.swap import exchange
from mmedge_export.weights import write_whole

__all__ = ["make_golden", "new_folder", "refuse_to_replace", "seal", "uninterrupted", "write_bundle", "write_report"]

GOLDEN = "golden.npz"
KEPT_SAMPLES = 4
BACKENDS = ("onnxruntime-cpu", "onnxruntime-cuda", "onnxruntime-rtx", "tensorrt", "tensorrt-rtx")


def refuse_to_replace(out: Path, *, force: bool) -> None:
    """Check the place of a new bundle before any work is done.

    Raises:
        ExportError: Something is there, and it is not a bundle that may be replaced.
    """
    if not out.parent.is_dir():
        raise ExportError(f"{out.parent} is not a folder; make it first, or choose another -o")
    if out.exists() and not (out / MANIFEST).is_file():
        raise ExportError(f"{out} exists and is not a bundle; choose another -o")
    if out.exists() and not force:
        raise ExportError(f"{out} exists; give --force to replace it, or choose another -o")


@contextmanager
def new_folder(out: Path, *, force: bool) -> Iterator[Path]:
    """A folder beside ``out`` that takes its name at the end, or vanishes when anything fails.

    Raises:
        ExportError: Something has taken the name meanwhile, and it may not be replaced.
    """
    out = out.resolve()
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        draft.chmod(0o755)
        yield draft
        refuse_to_replace(out, force=force)
        with uninterrupted():
            _swap(draft, out)
    finally:
        with uninterrupted():
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put Ctrl-C and a signal to end off until what must be done in one piece is done."""
    if current_thread() is not main_thread():  # only that one is interrupted
        yield
        return
    came: list[int] = []
    handlers = {number: signal.signal(number, lambda n, _: came.append(n)) for number in (SIGINT, SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for earlier in came:
            signal.raise_signal(earlier)


def _swap(draft: Path, out: Path) -> None:
    if out.exists() and exchange(draft, out):  # what was there vanishes with the draft's name
        return
    old = draft.with_name(f"{draft.name}.old")
    replaced = out.exists()
    if replaced:
        out.rename(old)
    try:
        draft.rename(out)
    except OSError as error:
        if replaced:
            old.rename(out)
        raise ExportError(
            f"{out} could not be put in place ({error.strerror}); what was there is there still"
        ) from error
    if replaced:
        shutil.rmtree(old)


def make_golden(
    samples: Sequence[Sample],
    outputs: Mapping[str, Array],
    inside: Mapping[str, Array],
    tolerances: Mapping[str, float],
) -> dict[str, Array]:
    """What ``mmedge check`` replays.

    Args:
        samples: Raw sensor data; the first few are kept.
        outputs: The original model's outputs, [S, ...].
        inside: Tensors of the unsplit graph where it is cut, [S, 1, ...].
        tolerances: Allowed differences of the outputs.
    """
    samples = samples[:KEPT_SAMPLES]
    golden = {f"sensor/{port}": stack(samples, port) for port in samples[0]}
    golden |= {f"output/{name}": array[:KEPT_SAMPLES].astype(np.float32) for name, array in outputs.items()}
    golden |= {f"tolerance/{name}": np.array(value) for name, value in tolerances.items()}
    return golden | {f"tensor/{name}": array[:KEPT_SAMPLES] for name, array in inside.items() if name not in outputs}


def write_bundle(
    draft: Path, source: Source, ports: Mapping[str, Port], cut: CutGraph, golden: Mapping[str, Array]
) -> Manifest:
    """Write graphs, golden data and manifest into an empty folder.

    Args:
        draft: The folder.
        source: What is exported.
        ports: The inputs of the graphs.
        cut: The graphs.
        golden: Of :func:`make_golden`.
    """
    graphs = draft / "onnx" / "fp32"
    graphs.mkdir(parents=True)
    files = {}
    for name, graph in cut.graphs.items():
        files[name] = f"onnx/fp32/{name}.onnx"
        write_whole(graph, draft / files[name])
    for name in source.spec.files:
        (draft / name).parent.mkdir(exist_ok=True)
        (draft / name).write_bytes(source.spec.read(name))
    write_arrays(draft / GOLDEN, golden)
    manifest = Manifest(
        schema=SCHEMA,
        name=source.spec.name,
        made_with={
            "mmedge": mmedge.__version__,
            **source.made_with,
            "onnx": onnx.__version__,
            "python": platform.python_version(),
            "checkpoint_sha256": source.sha256,
        },
        ports=dict(ports),
        tensors=cut.tensors,
        stages=tuple(planned.stage for planned in cut.stages),
        macs={planned.stage.name: planned.macs for planned in cut.stages},
        outputs=source.spec.outputs,
        variants={"fp32": Variant(files=files, backends=BACKENDS)},
        golden=GOLDEN,
        files=_records(draft),
        kept_whole=cut.kept_whole,
        notes=cut.notes,
        policies=source.spec.policies,
        gates=cut.gates,
    )
    (draft / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def write_report(draft: Path, name: str, report: object) -> None:
    """Write a dataclass as ``reports/NAME.json``."""
    folder = draft / "reports"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(dumps(to_plain(report), indent=1) + "\n", encoding="utf-8")


def seal(draft: Path, manifest: Manifest, calibration: str = "", scores: tuple[PolicyScore, ...] = ()) -> Manifest:
    """Record the hash of every file that is there now, and make sure that all of it is on the disk.

    Args:
        draft: The folder.
        manifest: What is known of it.
        calibration: Its file with statistics, if there is one by now.
        scores: What is left of its outputs while a sensor is missing.
    """
    sealed = replace(manifest, files=_records(draft), calibration=calibration, scores=scores)
    (draft / MANIFEST).write_text(sealed.to_json(), encoding="utf-8")
    for path in draft.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    return sealed


def _records(draft: Path) -> dict[str, FileRecord]:
    """Everything but the manifest itself and the engines, which come and go with the device."""
    found = sorted(path for path in draft.rglob("*") if path.is_file() and path.name != MANIFEST)
    names = {path.relative_to(draft).as_posix(): path for path in found}
    return {name: file_record(path) for name, path in names.items() if not name.startswith(f"{ENGINES}/")}
