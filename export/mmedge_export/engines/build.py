"""Builds the engines of a bundle that are not there yet, each in a process of its own."""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from mmedge.backends.external_data import check_external_data
from mmedge.bundle import Bundle, file_record
from mmedge.engine_file import (
    EngineKey,
    EngineRecord,
    Profile,
    engines_folder,
    read_header,
    read_plan,
    read_records,
    write_engine,
)
from mmedge.errors import EngineError, InputError
from mmedge.local import cache_folder, read_if_there, write_atomic
from mmedge.manifest import Stage
from mmedge.records import from_plain, to_plain
from mmedge_export.engines.build_process import GRAPH, JOB, LOG, OUTCOME, PLAN, TIMINGS
from mmedge_export.engines.diagnose import Diagnosis, diagnose
from mmedge_export.engines.job import BuildJob, BuildOutcome
from mmedge_export.engines.target import Target
from mmedge_export.engines.worker import Worker
from mmedge_export.graph_facts import GraphFacts, read_facts

__all__ = ["BuildOptions", "BuiltEngine", "build_engines", "sweep", "trust_engines", "variants_for"]

BACK_OFF_MIB = (4096, 1024, 256, 64)
STALE_S = 3600.0  # what no sidecar names and is older than this is left over, not in the making


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What a build may be told.

    Attributes:
        workspace_mib: Most scratch memory of a layer, 0 for all there is.
        level: Optimisation level of the builder, 0 to 5.
        force: Build also what is there.
        timeout_s: After that a build is given up.
    """

    workspace_mib: int = 0
    level: int = 3
    force: bool = False
    timeout_s: float = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltEngine:
    """One stage of one variant for one target.

    Attributes:
        variant: The variant.
        stage: The stage.
        target: What it is for.
        how: built, cached (it was there) or failed.
        capabilities: Devices that the engine runs on.
        plan_bytes: Its size.
        weights_bytes: Of its weights.
        build_s: Wall time of its build.
        text: Why it failed, or what is to be known of it.
    """

    variant: str
    stage: str
    target: str
    how: str
    capabilities: tuple[str, ...] = ()
    plan_bytes: int = 0
    weights_bytes: int = 0
    build_s: float = 0.0
    text: str = ""


def variants_for(bundle: Bundle, target: Target, wanted: Sequence[str]) -> tuple[str, ...]:
    """The variants to build: those that were asked for, or all that are for this library.

    Raises:
        InputError: One is not there, or there is none.
    """
    variants = bundle.manifest.variants
    if unknown := [name for name in wanted if name not in variants]:
        raise InputError(f"{bundle.path} has no variant {unknown[0]!r}; expected {', '.join(variants)}")
    for name in wanted:  # fp32 graphs of bundles from before there were engines are not listed as fit
        if variants[name].stages and not {target.library, "tensorrt"} & set(variants[name].backends):
            made_for = ", ".join(variants[name].backends)
            raise InputError(
                f"variant {name} is made for {made_for}, not for {target.library}; choose another --variant"
            )
    fitting = tuple(wanted) or tuple(
        name for name, variant in variants.items() if {target.library, "tensorrt"} & set(variant.backends)
    )
    if not fitting:
        raise InputError(f"{bundle.path} has no variant for {target.library}, only {', '.join(variants)}; name one")
    return fitting


def build_engines(
    bundle: Bundle, target: Target, variants: Sequence[str], options: BuildOptions, progress: Callable[[str], None]
) -> Iterator[BuiltEngine]:
    """Build what is missing; each engine is stored as soon as it is built.

    Raises:
        EngineError: ``engines/`` is a link to somewhere else or cannot be written, or a build takes too long.
        BundleError: A graph is not what was exported.
    """
    with Worker(timeout_s=options.timeout_s) as worker:
        for variant in variants:
            for stage in bundle.manifest.stages:
                progress(f"{variant}/{stage.name}, {target}")
                yield _Build(bundle, target, variant, stage, options, worker).run()


def trust_engines(bundle: Bundle) -> list[str]:
    """Vouch for engines that someone else built: seal every one that is whole and of a graph of this bundle."""
    graphs = set(bundle.graphs.values())
    trusted = []
    for record in read_records(bundle):
        if isinstance(record, EngineRecord) and not record.is_ours and record.key.onnx_sha256 in graphs:
            write_engine(bundle, record, read_plan(bundle, record))
            trusted.append(record.plan_name)
    return trusted


def sweep(bundle: Bundle) -> list[str]:
    """Remove what killed builds left behind, and engines of graphs that the bundle no longer has; their names.

    Raises:
        EngineError: The folder is a link to somewhere else.
    """
    folder, removed = engines_folder(bundle), []
    graphs = set(bundle.graphs.values())
    kept = set[str]()
    for record in read_records(bundle):
        if isinstance(record, EngineRecord):
            stale = record.key.onnx_sha256 not in graphs
            kept |= set() if stale else {record.sidecar_name, record.plan_name}
    with tempfile.NamedTemporaryFile(dir=folder) as probe:  # the file system's clock, not this process's
        now = Path(probe.name).stat().st_mtime
        for path in folder.iterdir():
            known = path.suffix in {".json", ".plan", ".tmp"} and path.is_file()
            if known and path.name not in kept and now - path.stat().st_mtime > STALE_S:
                path.unlink(missing_ok=True)
                removed.append(path.name)
    return removed


class _Build:
    """One engine: looked up, or built with as much memory as there is."""

    def __init__(
        self, bundle: Bundle, target: Target, variant: str, stage: Stage, options: BuildOptions, worker: Worker
    ) -> None:
        self._bundle, self._target, self._options, self._worker = bundle, target, options, worker
        self._variant, self._stage = variant, stage
        self._file = bundle.manifest.variants[variant].files[stage.name]
        self._graph, self._weights = bundle.read(self._file), bundle.weights(self._file)
        check_external_data(self._graph, stage.name, {path.name: path.stat().st_size for path in self._weights})
        self._facts: GraphFacts = read_facts(self._graph, stage.name)

    def run(self) -> BuiltEngine:
        """The engine of all targets, or of those that can have it."""
        capabilities, skipped = self._target.capabilities, ""
        while True:
            key = self._key(capabilities)
            if not self._options.force and (record := self._cached(key)):
                return self._row(record, "cached", skipped)
            record_or_diagnosis = self._attempts(key)
            if isinstance(record_or_diagnosis, EngineRecord):
                return self._row(record_or_diagnosis, "built", skipped)
            rest = record_or_diagnosis.capabilities
            if not rest or len(rest) >= len(capabilities):
                return self._failed(record_or_diagnosis.text)
            left_out = [each for each in capabilities if each not in rest]
            skipped = f"not for {', '.join(left_out)}: {record_or_diagnosis.text}"
            capabilities = rest

    def _key(self, capabilities: tuple[str, ...]) -> EngineKey:
        shapes = _input_shapes(self._bundle, self._stage)
        return EngineKey(
            onnx_sha256=self._bundle.graph_sha256(self._file),
            library=self._target.library,
            version=self._target.version,
            targets=capabilities,
            device=self._target.device,
            profiles={
                name: Profile(smallest=shapes[name], usual=shapes[name], largest=shapes[name])
                for name in self._facts.open_inputs
            },
            workspace_mib=self._options.workspace_mib,
            level=self._options.level,
        )

    def _cached(self, key: EngineKey) -> EngineRecord | None:
        """The engine of this very key, if it is there, ours and whole."""
        for record in read_records(self._bundle):
            if isinstance(record, EngineRecord) and record.stage == self._stage.name and record.key == key:
                try:
                    read_plan(self._bundle, record)
                except EngineError:
                    return None
                return record if record.is_ours else None
        return None

    def _attempts(self, key: EngineKey) -> EngineRecord | Diagnosis:
        """Build; where memory does not suffice, again with less scratch memory."""
        ladder = [mib for mib in BACK_OFF_MIB if not key.workspace_mib or mib < key.workspace_mib]
        result = self._attempt(key, key.workspace_mib)
        for workspace_mib in ladder:
            if isinstance(result, EngineRecord) or not result.memory:
                return result
            result = self._attempt(key, workspace_mib)
        if isinstance(result, EngineRecord):
            return result
        tried = f"also with {ladder[-1]} MiB of scratch memory" if ladder else "with this little scratch memory"
        return replace(result, text=f"{result.text}, {tried}; build on a larger machine, or end other programs")

    def _attempt(self, key: EngineKey, workspace_mib: int) -> EngineRecord | Diagnosis:
        job = BuildJob(
            library=key.library,
            capabilities=key.targets,
            profiles=key.profiles,
            workspace_mib=workspace_mib,
            level=key.level,
        )
        timings = cache_folder() / "timings" / f"{key.library}-{key.version}-{key.device.replace('/', '-')}.bin"
        with tempfile.TemporaryDirectory(dir=self._worker.home) as name:
            folder = Path(name)
            self._prepare(folder, job, read_if_there(timings) if key.device else b"")
            begin = perf_counter()
            status = self._worker.build(folder)
            seconds = perf_counter() - begin
            log = read_if_there(folder / LOG).decode(errors="replace").splitlines()
            outcome = _outcome(folder)
            if outcome is None or not outcome.built:
                return diagnose(job, key.version, self._facts, outcome, log, status)
            plan = (folder / PLAN).read_bytes()
            _check_header(plan, key, self._stage.name)
            record = EngineRecord(
                stage=self._stage.name,
                key=key,
                plan=file_record(folder / PLAN),
                weights_bytes=_weights_bytes(log),
                workspace_mib=workspace_mib,
                build_s=round(seconds, 3),
                notes=_warnings(log),
            )
            return self._stored(record, plan, read_if_there(folder / TIMINGS) if key.device else b"", timings)

    def _prepare(self, folder: Path, job: BuildJob, timings: bytes) -> None:
        """Put what the process reads into the folder of a job."""
        try:
            (folder / GRAPH).write_bytes(self._graph)
            for path in self._weights:
                (folder / path.name).symlink_to(path.resolve())
            (folder / JOB).write_text(json.dumps(to_plain(job)))
            (folder / TIMINGS).write_bytes(timings)
        except OSError as error:
            raise EngineError(
                f"the build of stage {self._stage.name} cannot be prepared in {folder} ({error.strerror or error}); "
                "make room there, or set TMPDIR to where there is some"
            ) from error

    def _stored(self, record: EngineRecord, plan: bytes, measured: bytes, timings: Path) -> EngineRecord:
        """The record as it was written, with what was measured on this device."""
        try:
            stored = write_engine(self._bundle, record, plan)
            if measured:
                write_atomic(timings, measured)
        except OSError as error:
            raise EngineError(
                f"the engine of stage {record.stage} cannot be kept in {engines_folder(self._bundle)} "
                f"({error.strerror or error}); what is there is whole; make room, and type the same again"
            ) from error
        return stored

    def _row(self, record: EngineRecord, how: str, skipped: str) -> BuiltEngine:
        less = f"with {record.workspace_mib} MiB of scratch memory: more did not fit"
        backed_off = less if record.workspace_mib != record.key.workspace_mib else ""
        return BuiltEngine(
            variant=self._variant,
            stage=self._stage.name,
            target=str(self._target),
            how=how,
            capabilities=record.key.targets,
            plan_bytes=record.plan.bytes,
            weights_bytes=record.weights_bytes,
            build_s=record.build_s,
            text="; ".join(filter(None, [skipped, backed_off])),
        )

    def _failed(self, text: str) -> BuiltEngine:
        return BuiltEngine(
            variant=self._variant, stage=self._stage.name, target=str(self._target), how="failed", text=text
        )


def _outcome(folder: Path) -> BuildOutcome | None:
    text = read_if_there(folder / OUTCOME)
    return from_plain(BuildOutcome, json.loads(text)) if text else None


def _check_header(plan: bytes, key: EngineKey, stage: str) -> None:
    """Prove that what was asked for is what was built."""
    header = read_header(plan, key.library, f"the plan of stage {stage}")
    if header.targets and set(header.targets) != set(key.targets):
        raise EngineError(f"stage {stage} was to be for {', '.join(key.targets)}; the plan is for {header.targets}")


def _weights_bytes(log: Sequence[str]) -> int:
    found = [line.rpartition(": ")[2] for line in log if "Total Weights Memory: " in line]
    return int(found[-1].removesuffix(" bytes")) if found else 0


def _warnings(log: Sequence[str]) -> tuple[str, ...]:
    texts = [line.partition("\t")[2] for line in log if line.startswith("WARNING\t")]
    return tuple(dict.fromkeys(text[:200] for text in texts))[:20]


def _input_shapes(bundle: Bundle, stage: Stage) -> dict[str, tuple[int, ...]]:
    """What the runtime gives this stage, whose axes an engine may leave open."""
    shapes = {}
    for name in stage.inputs:
        spec = bundle.manifest.tensors[name]
        shape, axis = spec.shape, spec.window_axis
        if stage.per_item and axis is not None:
            shape = (*shape[:axis], stage.items * spec.item_size, *shape[axis + 1 :])
        shapes[name] = shape
    return shapes
