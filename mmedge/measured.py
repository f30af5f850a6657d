"""How fast each backend and variant was on this machine: ``mmedge bench`` writes it down, :func:`mmedge.load` reads it.

It lies in the user's cache and not in the bundle: what was measured elsewhere says nothing about this machine.
"""

import hashlib
import json
import platform
from dataclasses import dataclass, replace
from pathlib import Path

from mmedge.bundle import Bundle
from mmedge.local import cache_folder, read_if_there, write_atomic
from mmedge.records import from_plain, to_plain

__all__ = ["Measured", "machine_name", "processor_name", "read_measured", "write_measured"]

CPU_FACTS = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One backend with one variant, from windows to outputs.

    Attributes:
        backend: What computed.
        variant: Which graphs.
        threads: Threads of one operator.
        ms: Median time of one run of all stages.
        p99_ms: 99th percentile.
        runs: How many were measured.
        library: What computed, with its version, e.g. ``onnxruntime 1.31.1``.
        machine: Where; see :func:`machine_name`.
    """

    backend: str
    variant: str
    threads: int
    ms: float
    p99_ms: float
    runs: int
    library: str
    machine: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """All measurements of one variant's graphs."""

    measured: tuple[Measured, ...] = ()


def write_measured(bundle: Bundle, measured: Measured) -> None:
    """Keep a measurement that was just made on this machine, in place of an older one of the same.

    Raises:
        OSError: The cache cannot be written.
    """
    new = replace(measured, machine=machine_name())
    key = (new.backend, new.threads, new.machine)
    kept = [old for old in _read(bundle, new.variant) if (old.backend, old.threads, old.machine) != key]
    page = json.dumps(to_plain(_Page(measured=(*kept, new))), indent=1)
    write_atomic(_path(bundle, new.variant), page.encode())


def read_measured(bundle: Bundle, variant: str, threads: int) -> dict[str, Measured]:
    """What was measured here with these very graphs, by backend; nothing if nothing was."""
    found = _read(bundle, variant)
    here = machine_name() if found else ""
    mine = [each for each in found if each.machine == here and each.threads == threads]
    return {each.backend: replace(each, variant=variant) for each in mine}


def machine_name() -> str:
    """Name of the processor: a home folder can be shared by machines."""
    return f"{platform.machine()} {_model(CPU_FACTS)}".strip()


def processor_name(facts: Path = CPU_FACTS) -> str:
    """What the processor calls itself, or its architecture where it says nothing.

    Args:
        facts: Where Linux describes it.
    """
    return _model(facts) or platform.machine()


def _model(facts: Path) -> str:
    lines = read_if_there(facts).decode(errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _path(bundle: Bundle, variant: str) -> Path:
    files = bundle.manifest.variants[variant].files
    graphs = [f"{stage} {bundle.graph_sha256(name)}" for stage, name in sorted(files.items())]
    return cache_folder() / "measured" / f"{hashlib.sha256(' '.join(graphs).encode()).hexdigest()[:32]}.json"


def _read(bundle: Bundle, variant: str) -> tuple[Measured, ...]:
    """A page that is damaged or of another mmedge counts as empty: it can be measured again."""
    try:
        return from_plain(_Page, json.loads(read_if_there(_path(bundle, variant)))).measured
    except (ValueError, RecursionError):
        return ()
