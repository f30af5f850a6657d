"""Which backend computes with which variant, and why; opening the sessions of all stages."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import inf
from typing import cast

from mmedge.backends.base import Session
from mmedge.backends.cuda import find_device
from mmedge.backends.device import CudaMemory
from mmedge.backends.ort import PROVIDERS, OrtMemory, OrtSession, ort_version, provider_problem
from mmedge.backends.trt import TrtSession, library_version
from mmedge.bundle import Bundle
from mmedge.engine_file import ENGINES, EngineRecord, Host, Library, find_engine, read_plan, read_records
from mmedge.errors import BackendError, EngineError, InputError, MissingLibraryError
from mmedge.local import cache_folder
from mmedge.measured import read_measured

__all__ = ["BACKENDS", "Choice", "Opened", "backend_problem", "fits", "open_sessions", "variant_problem"]

ENGINE_LIBRARIES = ("tensorrt", "tensorrt-rtx")
Records = tuple[EngineRecord | EngineError, ...]
Pair = tuple[str, str]  # backend, variant
BACKENDS = ("tensorrt", "tensorrt-rtx", "onnxruntime-cuda", "onnxruntime-rtx", "onnxruntime-cpu")  # best first


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A backend and a variant, and why these."""

    backend: str
    variant: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The sessions of all stages.

    Attributes:
        choice: What computes, and why.
        sessions: One for each stage.
        library: What computes, and its version.
        rejected: What else was looked at, and why it was not taken.
    """

    choice: Choice
    sessions: Mapping[str, Session]
    library: str
    rejected: Mapping[str, str]


def fits(backend: str, backends: tuple[str, ...]) -> bool:
    """Whether a variant that is made for some backends is made for this one; "tensorrt" means both of that name."""
    return backend in backends or (backend.startswith("tensorrt") and "tensorrt" in backends)


def open_sessions(bundle: Bundle, *, backend: str, variant: str, require: str, threads: int) -> Opened:
    """Choose, and open.

    Args:
        bundle: The bundle.
        backend: One of :data:`BACKENDS`, or "auto".
        variant: One of the bundle's, or "auto".
        require: "", or what the backend's name must begin with.
        threads: Threads of one operator on the CPU.

    Raises:
        InputError: There is no such backend or variant.
        BackendError: What was asked for, or required, cannot compute here.
        MissingLibraryError: Its library is not installed.
        BundleError: A graph cannot be loaded.
    """
    variants = bundle.manifest.variants
    if backend not in {"auto", *BACKENDS}:
        raise InputError(f"backend = {backend!r} is not known; expected auto, {', '.join(BACKENDS)}")
    if variant != "auto" and variant not in variants:
        raise InputError(f"{bundle.path} has no variant {variant!r}; expected {', '.join(variants)}")
    wanted = [each for each in BACKENDS if backend in {"auto", each} and each.startswith(require)]
    if not wanted:
        among = backend if backend != "auto" else ", ".join(BACKENDS)
        raise InputError(f"require = {require!r} fits none of {among}")
    pairs = [
        (each, name)
        for each in wanted
        for name in variants
        if (name == variant) or (variant == "auto" and fits(each, variants[name].backends))
    ]
    if backend != "auto" and len(pairs) == 1:  # no choice, and no second best
        choice = Choice(backend=backend, variant=pairs[0][1], reason="asked for")
        return _open(bundle, choice, threads, {}, _records(bundle, wanted))
    return _open_best(bundle, pairs, threads, backend if backend != "auto" else require or "any backend")


def _open_best(bundle: Bundle, pairs: list[Pair], threads: int, wanted: str) -> Opened:
    records = _records(bundle, [backend for backend, _ in pairs])
    obstacles = {pair: _obstacle(bundle, *pair, records) for pair in pairs}
    rejected = {" with ".join(pair): text for pair, text in obstacles.items() if text}
    for choice in _by_merit(bundle, [pair for pair in pairs if not obstacles[pair]], threads):
        opened = _open_or_reason(bundle, choice, threads, rejected, records)
        if isinstance(opened, Opened):
            return opened
        rejected[f"{choice.backend} with {choice.variant}"] = opened
    reasons = dict.fromkeys(rejected.values()) or {f"no variant of {bundle.path} is made for it": None}
    raise BackendError(f"{wanted} cannot compute here: {'; '.join(reasons)}")


def backend_problem(backend: str) -> str:
    """Why a backend cannot compute on this machine, whatever the bundle, or ""; nothing large is loaded for it."""
    try:
        if backend not in ENGINE_LIBRARIES:
            return provider_problem(backend)
        find_device()
        library_version(backend)
    except (BackendError, MissingLibraryError) as error:
        return str(error)
    return ""


def variant_problem(bundle: Bundle, backend: str, variant: str) -> str:
    """Why a backend cannot compute with a variant of a bundle here, or ""; no graph and no engine is loaded for it."""
    backends = bundle.manifest.variants[variant].backends
    if not fits(backend, backends):
        return f"variant {variant} is made for {', '.join(backends)}, not for {backend}"
    return backend_problem(backend) or _obstacle(bundle, backend, variant, _records(bundle, [backend]))


def _obstacle(bundle: Bundle, backend: str, variant: str, records: Records) -> str:
    """Why a backend cannot compute with a variant, as far as it can be known before anything large is loaded."""
    if backend not in ENGINE_LIBRARIES:
        return backend_problem(backend)
    if not (bundle.path / ENGINES).is_dir():
        return "the bundle has no engines (mmedge build makes them)"
    try:
        _engines(bundle, backend, variant, CudaMemory(), records)
    except (BackendError, MissingLibraryError) as error:
        return str(error)
    return ""


def _by_merit(bundle: Bundle, able: list[Pair], threads: int) -> list[Choice]:
    """The order in which to try: the fastest first, if what would come first by itself was measured too."""
    if not able:
        return []
    found = {pair: read_measured(bundle, pair[1], threads).get(pair[0]) for pair in able}
    times = {pair: measured for pair, measured in found.items() if measured}
    first = able[0]
    if first in times:
        able = sorted(able, key=lambda pair: times[pair].ms if pair in times else inf)
        fastest = times[able[0]]
        reason = f"the fastest measured here: {fastest.ms:.3g} ms with {fastest.library}"
        reason += "" if able[0] == first else f", {' with '.join(first)} {times[first].ms:.3g} ms"
    elif len(able) == 1:
        reason = "the only one that can compute here"
    else:
        reason = f"the first of {len(able)} that can compute here; mmedge bench has not measured it"
    reasons = [reason, *["what comes before it cannot be opened"] * (len(able) - 1)]
    return [Choice(backend=pair[0], variant=pair[1], reason=why) for pair, why in zip(able, reasons, strict=True)]


def _open_or_reason(
    bundle: Bundle, choice: Choice, threads: int, rejected: Mapping[str, str], records: Records
) -> Opened | str:
    try:
        return _open(bundle, choice, threads, rejected, records)
    except (BackendError, MissingLibraryError) as error:
        return str(error)


def _open(bundle: Bundle, choice: Choice, threads: int, rejected: Mapping[str, str], records: Records) -> Opened:
    files = bundle.manifest.variants[choice.variant].files
    sessions: dict[str, OrtSession] | dict[str, TrtSession]
    if choice.backend in ENGINE_LIBRARIES:
        sessions = _open_engines(bundle, choice, records)
    else:
        provider = PROVIDERS[choice.backend]
        memory = OrtMemory(provider.device) if provider.device else None
        sessions = {
            name: OrtSession(
                bundle.read(file),
                threads=threads,
                name=name,
                weights=bundle.weights(file),
                provider=provider,
                memory=memory,
            )
            for name, file in files.items()
        }
    engines = choice.backend in ENGINE_LIBRARIES
    library = f"{choice.backend} {library_version(choice.backend)}" if engines else f"onnxruntime {ort_version()}"
    return Opened(choice=choice, sessions=dict(sessions), library=library, rejected=rejected)


def _open_engines(bundle: Bundle, choice: Choice, found: Records) -> dict[str, TrtSession]:
    memory = CudaMemory()
    compiled = cache_folder() / "compiled"
    records = _engines(bundle, choice.backend, choice.variant, memory, found)
    plans = {name: read_plan(bundle, record) for name, record in records.items()}  # all, before one of them is loaded
    return {
        name: TrtSession(
            plan,
            library=choice.backend,
            name=name,
            memory=memory,
            runtime_cache=compiled / f"{records[name].plan.sha256[:32]}.bin",
        )
        for name, plan in plans.items()
    }


def _records(bundle: Bundle, backends: Collection[str]) -> Records:
    """The sidecars of all engines, read once, and only if they are needed."""
    if not set(backends) & set(ENGINE_LIBRARIES):
        return ()
    try:
        return tuple(read_records(bundle))
    except EngineError as error:
        return (error,)


def _engines(
    bundle: Bundle, backend: str, variant: str, memory: CudaMemory, records: Records
) -> dict[str, EngineRecord]:
    """The record of every stage's engine for this device."""
    device = memory.device
    host = Host(
        library=cast("Library", backend),
        version=library_version(backend),
        capability=device.capability,
        device=device.name,
    )
    return {stage.name: find_engine(bundle, variant, stage.name, host, records) for stage in bundle.manifest.stages}
