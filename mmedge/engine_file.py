"""Engines beside a bundle: what each was built from, and whether it may be loaded here.

An engine is a program: whoever wrote it decides what the process does that loads it. So one is only taken when this
user built it on this machine (or vouched for it), when it was built from this very graph for this library and device,
and when every byte is the one that was built. Plans are stored under the hash of their content, so that two builders
at once only ever add files; the sidecar that names a plan is put in place last.
"""

import hashlib
import json
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from mmedge.bundle import Bundle
from mmedge.errors import EngineError
from mmedge.local import is_sealed, seal, write_atomic
from mmedge.manifest import FileRecord
from mmedge.records import from_plain, to_plain

__all__ = [
    "ENGINES",
    "HEADER_BYTES",
    "EngineKey",
    "EngineRecord",
    "Host",
    "Library",
    "PlanHeader",
    "Profile",
    "engines_folder",
    "find_engine",
    "read_header",
    "read_plan",
    "read_records",
    "write_engine",
]

Library = Literal["tensorrt", "tensorrt-rtx"]

ENGINES = "engines"
RECIPE = 1  # how engines are built; a change makes all older ones stale
MAX_SIDECAR_BYTES = 1 << 20
HEADER_BYTES = 64
TARGET_BITS = {1: "sm75", 2: "sm80", 4: "sm86", 8: "sm89", 16: "sm120", 32: "sm121"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Shapes of one input that an engine takes, and the one that it is made fast for."""

    smallest: tuple[int, ...]
    usual: tuple[int, ...]
    largest: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKey:
    """All that decides what an engine computes and where it runs.

    Attributes:
        onnx_sha256: Of the graph's bytes, and of weights that it keeps outside.
        library: What built it, and the only thing that can load it.
        version: Of the library; engines fit no other.
        targets: Devices: compute capabilities such as ``sm86``; for TensorRT, the one that it was built on.
        device: Name of the device that it was built on; "" where it was built for others.
        profiles: For each input with axes that the graph leaves open.
        workspace_mib: Most scratch memory of a layer that was allowed, 0 for all there is.
        level: Optimisation level of the builder, 0 to 5.
        recipe: How mmedge builds.
    """

    onnx_sha256: str
    library: Library
    version: str
    targets: tuple[str, ...]
    device: str = ""
    profiles: dict[str, Profile] = field(default_factory=dict)
    workspace_mib: int = 0
    level: int = 3
    recipe: int = RECIPE

    @property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        return hashlib.sha256(_canonical(self)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """The sidecar of one engine.

    Attributes:
        stage: The stage that it computes.
        key: What it was built from and for.
        plan: Size and hash of the plan file.
        weights_bytes: Of the weights in it, as the builder says; 0 if it does not.
        workspace_mib: What the builder was given in the end, 0 for all there is.
        build_s: Wall time of the build.
        notes: What the builder warned of.
        seal: Shows who built it; see :func:`mmedge.local.seal`.
    """

    stage: str
    key: EngineKey
    plan: FileRecord
    weights_bytes: int = 0
    workspace_mib: int = 0
    build_s: float = 0.0
    notes: tuple[str, ...] = ()
    seal: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{64}", self.plan.sha256):
            raise EngineError(f"{self.plan.sha256[:80]!r} is no SHA-256 of a plan")
        if not re.fullmatch(r"\w[^/\\\0]*", self.stage):
            raise EngineError(f"stage {self.stage[:80]!r} cannot be part of a file's name; do not trust this bundle")

    @property
    def plan_name(self) -> str:
        """The plan's file in ``engines/``: named after its content."""
        return f"{self.stage}-{self.plan.sha256[:16]}.plan"

    @property
    def sidecar_name(self) -> str:
        """The sidecar's file in ``engines/``: named after what decides what is in the plan."""
        return f"{self.stage}-{self.key.digest[:16]}.json"

    @property
    def is_ours(self) -> bool:
        """Whether this user built it on this machine, or vouched for it."""
        return is_sealed(_canonical(replace(self, seal="")), self.seal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What would load an engine.

    Attributes:
        library: The library.
        version: Its version.
        capability: Compute capability of the device.
        device: Its name.
    """

    library: Library
    version: str
    capability: str
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanHeader:
    """What the first bytes of a plan say.

    Attributes:
        version: Four numbers of the library that wrote it, or () where it cannot be told.
        bytes: Size of the whole plan, 0 where it cannot be told.
        targets: Compute capabilities that it was built for, () where it cannot be told.
    """

    version: tuple[int, ...]
    bytes: int
    targets: tuple[str, ...]


def engines_folder(bundle: Bundle) -> Path:
    """Where the engines of a bundle are; the folder need not exist.

    Raises:
        EngineError: It is a link to somewhere else.
    """
    folder = bundle.path / ENGINES
    if not folder.resolve().is_relative_to(bundle.path.resolve()):
        raise EngineError(f"{folder} is a link that leaves the bundle; do not trust it")
    return folder


def read_header(plan: bytes, library: Library, where: str) -> PlanHeader:
    """Read the header of a plan without any library.

    Args:
        plan: The plan, or its first 64 bytes.
        library: What it is said to be written by.
        where: The file, for messages.

    Raises:
        EngineError: It is cut off, or no plan of this library.

    Source: the version bytes, github.com/NVIDIA/TensorRT/issues/3073; the rest was read off plans of TensorRT-RTX 1.7
        for all targets, is not documented, and is only relied on for that library.
    """
    if len(plan) < HEADER_BYTES:
        raise EngineError(f"{where} has {len(plan)} bytes, less than the header of a plan; {REBUILD}")
    magic, size, *version, again, mask = struct.unpack_from("<4s12xQ4B4sI", plan)
    if library == "tensorrt":
        return PlanHeader(version=tuple(version) if magic[1:] == b"trt" else (), bytes=0, targets=())
    if magic != b"vtrt" or again != b"vtrt":
        raise EngineError(f"{where} begins with {magic!r}, which no plan of TensorRT-RTX does; {REBUILD}")
    targets = tuple(name for bit, name in TARGET_BITS.items() if mask & bit)
    return PlanHeader(version=tuple(version), bytes=size, targets=targets)


def read_records(bundle: Bundle) -> Iterator[EngineRecord | EngineError]:
    """Every engine's sidecar that lies beside a bundle, or why it cannot be read.

    Raises:
        EngineError: The folder is a link to somewhere else.
    """
    for path in sorted(engines_folder(bundle).glob("*.json")):
        yield _record_or_error(path)


def find_engine(
    bundle: Bundle, variant: str, stage: str, host: Host, records: Iterable[EngineRecord | EngineError]
) -> EngineRecord:
    """The engine of a stage that may be loaded here.

    Args:
        bundle: The bundle.
        variant: Which graphs.
        stage: The stage.
        host: What would load it.
        records: What :func:`read_records` gave.

    Raises:
        EngineError: There is none; the text says what is there instead and why it does not fit.
    """
    wanted = bundle.graph_sha256(bundle.manifest.variants[variant].files[stage])
    reasons = []
    for record in records:
        if isinstance(record, EngineError):
            reasons.append(str(record))
        elif record.stage != stage or record.key.library != host.library:
            continue
        elif record.key.onnx_sha256 != wanted:
            reasons.append("one was built from another graph")
        elif problem := _misfit(record, host):
            reasons.append(problem)
        else:
            return record
    why = f": {reasons[-1]}" if reasons else ""
    target = f"rtx:{host.capability}" if host.library == "tensorrt-rtx" else "tensorrt"
    raise EngineError(
        f"stage {stage} of variant {variant} has no {host.library} engine that may be loaded here{why}; "
        f"try: mmedge build {bundle.path} --target {target} --variant {variant}"
    )


def read_plan(bundle: Bundle, record: EngineRecord) -> bytes:
    """The plan of a record, checked byte for byte before anything is done with it.

    Raises:
        EngineError: It is missing, was changed, or is not for what the record says.
    """
    path = engines_folder(bundle) / record.plan_name
    try:
        size = path.stat().st_size
        if size != record.plan.bytes:
            raise EngineError(f"{path} has {size} bytes, {record.plan.bytes} were built; {REBUILD}")
        plan = path.read_bytes()
    except OSError as error:
        raise EngineError(f"{path} cannot be read ({error.strerror}); {REBUILD}") from error
    header = read_header(plan, record.key.library, str(path))
    version = tuple(int(part) for part in record.key.version.split(".")[:3] if part.isdecimal())
    if header.version and header.version[:3] != version:
        found = ".".join(map(str, header.version))
        raise EngineError(f"{path} was written by {record.key.library} {found}, not {record.key.version}; {REBUILD}")
    if header.bytes not in {0, len(plan)}:
        raise EngineError(f"{path} says that it has {header.bytes} bytes, it has {len(plan)}; {REBUILD}")
    if header.targets and set(header.targets) != set(record.key.targets):
        raise EngineError(
            f"{path} is for {', '.join(header.targets)}, not for {', '.join(record.key.targets)}; {REBUILD}"
        )
    if hashlib.sha256(plan).hexdigest() != record.plan.sha256:
        raise EngineError(f"{path} is not the plan that was built (its SHA-256 differs); {REBUILD}")
    return plan


def write_engine(bundle: Bundle, record: EngineRecord, plan: bytes) -> EngineRecord:
    """Store a plan and then its sidecar, sealed.

    Raises:
        EngineError: The folder is a link to somewhere else.
        OSError: It cannot be written.
    """
    folder = engines_folder(bundle)
    sealed = replace(record, seal=seal(_canonical(replace(record, seal=""))))
    write_atomic(folder / record.plan_name, plan)
    write_atomic(folder / record.sidecar_name, _canonical(sealed))
    return sealed


REBUILD = "build it again with mmedge build"


def _canonical(value: EngineKey | EngineRecord) -> bytes:
    return json.dumps(to_plain(value), indent=1, sort_keys=True).encode() + b"\n"


def _record_or_error(path: Path) -> EngineRecord | EngineError:
    try:
        return _read_record(path)
    except EngineError as error:
        return error


def _read_record(path: Path) -> EngineRecord:
    try:
        if path.stat().st_size > MAX_SIDECAR_BYTES:
            raise EngineError(f"{path} is larger than {MAX_SIDECAR_BYTES >> 20} MiB, so no sidecar; {REBUILD}")
        record = from_plain(EngineRecord, json.loads(path.read_bytes()))
    except OSError as error:
        raise EngineError(f"{path} cannot be read ({error.strerror}); {REBUILD}") from error
    except (ValueError, RecursionError) as error:
        raise EngineError(
            f"{path} is no sidecar of an engine ({' '.join(str(error).split())[:200]}); {REBUILD}"
        ) from error
    if path.name != record.sidecar_name:
        raise EngineError(f"{path} belongs under the name {record.sidecar_name}; {REBUILD}")
    return record


def _misfit(record: EngineRecord, host: Host) -> str:
    """Why an engine of the right graph may not be loaded, or ""."""
    key = record.key
    if key.version != host.version:
        return f"one was built by {key.library} {key.version}, here is {host.version}, and it loads only its own"
    if key.recipe != RECIPE:
        return "one was built by another mmedge"
    if host.capability not in key.targets:
        return f"one was built for {', '.join(key.targets)}, this device is {host.capability}"
    if key.device not in {"", host.device}:
        return f"one was built on {key.device}, this device is {host.device}"
    if not record.is_ours:
        return "one was built by someone else, and engines are programs (see mmedge build --trust-engines)"
    return ""
