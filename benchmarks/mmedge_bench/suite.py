"""Runs the scenarios: contestants take turns, outputs are compared before anything is timed."""

import fcntl
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic_ns

import numpy as np

from mmedge.bundle import Bundle, file_record, open_bundle
from mmedge.cost import default_rates
from mmedge.errors import InputError, MmedgeError
from mmedge.records import from_plain, to_plain
from mmedge.types import Array
from mmedge_bench.contestants import Candidate, candidates, prepare
from mmedge_bench.injection import Injection
from mmedge_bench.machine import describe_machine, read_state
from mmedge_bench.pool import Process
from mmedge_bench.result import SCHEMA, Contestant, MachineState, Result, Segment, StageBlock, Start
from mmedge_bench.scenarios import Scenario
from mmedge_bench.setup import Setup
from mmedge_bench.workload import data_hash

__all__ = ["Plan", "run_suite"]

VERIFY_S = 3.0
BLOCKS = 3
BUSY = 0.25  # of one core, used by other processes
LOCK = "mmedge-bench.lock"
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run.

    Attributes:
        bundle: The bundle.
        checkpoint: What it was made of, for the peers that need the original; None leaves them out.
        spec: Of the checkpoint.
        tick: When to decide; None for the bundle's default.
        rates_hz: Packets per second, for ports that differ from the bundle's default.
        threads: Of one operator, for everyone.
        scenarios: In this order.
        peers: Names of contestants; empty for all.
        injection: What is done to a stage, to see whether the suite notices.
    """

    bundle: Path
    checkpoint: Path | None
    spec: Path | None
    tick: str | None
    rates_hz: dict[str, float]
    threads: int
    scenarios: tuple[Scenario, ...]
    peers: tuple[str, ...] = ()
    injection: Injection | None = None


def run_suite(plan: Plan, progress: Progress) -> Result:
    """Run a plan.

    Raises:
        InputError: Another benchmark is running, or a name is not known.
        BundleError: The bundle cannot be used.
    """
    bundle = open_bundle(plan.bundle)
    invited = _candidates(plan, bundle)
    with _alone(), tempfile.TemporaryDirectory(prefix="mmedge-bench-") as folder, ExitStack() as stack:
        setups, skipped = _setups(plan, bundle, invited, Path(folder), progress)
        before = read_state()
        processes, contestants = _open(setups, skipped, bundle, Path(folder), stack, progress)
        segments: list[Segment] = []
        blocks: list[StageBlock] = []
        starts: list[Start] = []
        for scenario in plan.scenarios:
            for number in range(scenario.rounds):
                progress(f"{scenario.name}, round {number + 1} of {scenario.rounds}")
                for contestant in contestants:
                    name = contestant.name
                    if scenario.name == "stages":
                        if contestant.kind == "staged":
                            blocks += _parts(name, setups[name], number)
                    elif contestant.kind == "live" and not scenario.real_time:
                        continue
                    elif scenario.name == "cold":
                        starts.append(_start(name, setups[name], number))
                    else:
                        made = processes[name].ask("segment", scenario=to_plain(scenario), number=number)
                        segments.append(from_plain(Segment, made))
        after = read_state()
    return Result(
        schema=SCHEMA,
        machine=describe_machine(),
        before=before,
        after=after,
        bundle={"name": bundle.manifest.name, "manifest_sha256": file_record(plan.bundle / "manifest.json").sha256},
        data=data_hash(bundle),
        settings=_settings(plan, next(iter(setups.values()))),
        contestants=(*contestants, *skipped),
        segments=tuple(segments),
        blocks=tuple(blocks),
        starts=tuple(starts),
        warnings=tuple(_warnings(before, after, segments)),
    )


@contextmanager
def _alone() -> Iterator[None]:
    """Two benchmarks at once would measure one another."""
    with (Path(tempfile.gettempdir()) / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                "another mmedge bench is running here; wait for it, two would measure one another"
            ) from error
        yield


def _setups(
    plan: Plan, bundle: Bundle, invited: Sequence[Candidate], folder: Path, progress: Progress
) -> tuple[dict[str, Setup], list[Contestant]]:
    progress("preparing the contestants")
    tick = plan.tick or _default_tick(bundle)
    rates = default_rates(bundle.manifest) | plan.rates_hz
    setups, skipped = {}, []
    ready = prepare(invited, bundle, plan.checkpoint, plan.spec, folder / "whole.onnx")
    for candidate, reason in ready:
        if reason:
            skipped.append(replace(candidate.contestant, skipped=reason))
            continue
        setups[candidate.contestant.name] = Setup(
            kind=candidate.contestant.kind,
            bundle=str(plan.bundle),
            variant=candidate.contestant.variant,
            backend=candidate.contestant.backend,
            whole=str(folder / "whole.onnx"),
            checkpoint=str(plan.checkpoint or ""),
            spec=str(plan.spec or ""),
            tick=tick,
            threads=plan.threads,
            rates_hz=rates,
            injection=plan.injection,
        )
    return setups, skipped


def _candidates(plan: Plan, bundle: Bundle) -> list[Candidate]:
    known = candidates(bundle)
    names = [candidate.contestant.name for candidate in known]
    if unknown := [name for name in plan.peers if name not in names]:
        raise InputError(f"--peer {unknown[0]!r} is not known; expected {', '.join(names)}")
    reference, *others = known
    return [reference, *(c for c in others if not plan.peers or c.contestant.name in plan.peers)]


def _default_tick(bundle: Bundle) -> str:
    hears = any(port.audio for port in bundle.manifest.ports.values())
    return "50hz" if hears else "any"


def _open(
    setups: dict[str, Setup],
    skipped: list[Contestant],
    bundle: Bundle,
    folder: Path,
    stack: ExitStack,
    progress: Progress,
) -> tuple[dict[str, Process], list[Contestant]]:
    """Start everyone, and compare what they make before anything is timed."""
    processes: dict[str, Process] = {}
    contestants: list[Contestant] = []
    known = {candidate.contestant.name: candidate.contestant for candidate in candidates(bundle)}
    expected: dict[str, Array] = {}
    for name, setup in setups.items():
        progress(f"comparing the outputs of {name}")
        process = stack.enter_context(Process(name, setup))
        try:
            process.ask("verify", seconds=VERIFY_S, out=str(folder / f"{len(processes)}.npz"))
        except MmedgeError as error:
            skipped.append(replace(known[name], skipped=str(error).removeprefix(f"{name}: ")))
            continue
        with np.load(folder / f"{len(processes)}.npz", allow_pickle=False) as archive:
            made = {key: archive[key] for key in archive.files}
        expected = expected or made
        contestant = _compared(known[name], made, expected, bundle)
        (skipped if contestant.skipped else contestants).append(contestant)
        processes[name] = process
    return processes, contestants


def _compared(contestant: Contestant, made: dict[str, Array], expected: dict[str, Array], bundle: Bundle) -> Contestant:
    """With the largest difference of its outputs; skipped where it computes something else."""
    common, ours, theirs = np.intersect1d(made["t_ns"], expected["t_ns"], return_indices=True)
    if len(common) < len(expected["t_ns"]) // 2:
        return replace(contestant, skipped=f"it made {len(common)} of {len(expected['t_ns'])} decisions")
    worst = tolerance = 0.0
    golden = bundle.read_golden()
    for name in bundle.manifest.outputs:
        difference = float(np.abs(made[name][ours].astype(float) - expected[name][theirs]).max())
        scale = float(np.abs(expected[name]).max())
        allowed = float(golden[f"tolerance/{name}"]) + 1e-4 * scale
        worst, tolerance = max((worst, tolerance), (difference, allowed))
        if not contestant.accuracy_drop and contestant.variant in {"", "fp32"} and not difference <= allowed:
            text = f"its {name} differs by {difference:.2g}, allowed {allowed:.2g}"
            return replace(contestant, skipped=text, difference=difference, tolerance=allowed)
    return replace(contestant, difference=worst, tolerance=tolerance)


def _parts(name: str, setup: Setup, number: int) -> list[StageBlock]:
    with Process(name, setup) as process:
        return [from_plain(StageBlock, row) for row in process.ask("parts", number=number, blocks=BLOCKS)]


def _start(name: str, setup: Setup, number: int) -> Start:
    begin_ns = monotonic_ns()
    with Process(name, setup) as process:
        return from_plain(Start, process.ask("start", number=number, begin_ns=begin_ns))


def _settings(plan: Plan, setup: Setup) -> dict[str, str]:
    rates = ", ".join(f"{name} {rate:g}/s" for name, rate in setup.rates_hz.items())
    told = {"tick": setup.tick, "rates": rates, "threads": str(plan.threads)}
    return told | {s.name: f"{s.rounds} x {s.seconds:g} s. {s.what}" if s.seconds else f"{s.rounds} rounds. {s.what}"
                   for s in plan.scenarios}  # fmt: skip


def _warnings(before: MachineState, after: MachineState, segments: Sequence[Segment]) -> Iterator[str]:
    busy = [segment.others for segment in segments]
    if busy and (share := float(np.median(busy))) > BUSY:
        yield f"other processes used {share:.0%} of a core meanwhile: latencies contain waiting for them"
    if before.throttled is not None and after.throttled is not None and after.throttled > before.throttled:
        yield f"the processor slowed itself down {after.throttled - before.throttled} times (thermal throttling)"
    speeds = [segment.reference_ns for segment in segments]
    if speeds and max(speeds) > 1.25 * min(speeds):
        yield (
            f"a fixed piece of work took between {min(speeds) / 1e3:.0f} and {max(speeds) / 1e3:.0f} microseconds: "
            "the machine's speed was not steady"
        )
