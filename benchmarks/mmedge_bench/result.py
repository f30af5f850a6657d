"""What one run of the suite wrote down: raw samples and the machine, nothing that was computed from them."""

import gzip
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from mmedge.errors import InputError
from mmedge.records import from_plain, to_plain

__all__ = [
    "SCHEMA",
    "Contestant",
    "MachineState",
    "Result",
    "Segment",
    "StageBlock",
    "Start",
    "read_result",
    "write_result",
    "write_whole",
]

SCHEMA = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One way of running the model.

    Attributes:
        name: Unique in a result.
        kind: "staged" is mmedge; the others are its peers.
        what: One sentence: what computes, with which settings.
        variant: The bundle's variant, for contestants that run its stages.
        backend: What computes, as :func:`mmedge.load` names it; "" for what is no backend of mmedge.
        skipped: Why it did not take part; empty if it did.
        difference: Largest absolute difference of any output to the reference, before anything was timed.
        tolerance: What was allowed.
        size_bytes: Of its graph files, 0 where there are none.
        accuracy_drop: Loss of the task metric against fp32, as the bundle says; None where it does not.
        score: Of its first output that has one, larger is better, as the bundle's report says; None where it does not.
        scored_on: What that score is of.
    """

    name: str
    kind: str
    what: str
    variant: str = ""
    backend: str = ""
    skipped: str = ""
    difference: float = 0.0
    tolerance: float = 0.0
    size_bytes: int = 0
    accuracy_drop: float | None = None
    score: float | None = None
    scored_on: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One stretch of stream in one process: every decision, none left out.

    Attributes:
        scenario: "paced", "closed-loop" or "soak".
        contestant: Its name.
        round: Number of the round; all contestants take turns within one.
        t_ns: [N] the tick of each decision, in stream time.
        latency_ns: [N] from when the data that completed the tick should have been there to the decision.
        age_ms: [N] for each port, how old its data was at the tick.
        fresh: [N] for each port, whether it was newer than at the decision before.
        expected: Ticks that the stream had.
        stream_ns: Length of the stream that was counted.
        wall_ns: How long it took.
        cpu_ns: Processor time of the process, all threads.
        stage_ns: Time inside each stage's session.
        stage_runs: How often each stage ran.
        reference_ns: Time of a fixed piece of work beside it, which tells a slow machine from slow code.
        joules: Energy by source, whole machine; empty where nothing can be read.
        others: Share of one core that other processes used meanwhile.
        peak_kib: Largest resident memory of the process so far.
        rss_kib: Resident memory at every second of a run in real time.
    """

    scenario: str
    contestant: str
    round: int
    t_ns: tuple[int, ...]
    latency_ns: tuple[int, ...]
    age_ms: dict[str, tuple[float, ...]]
    fresh: dict[str, tuple[bool, ...]]
    expected: int
    stream_ns: int
    wall_ns: int
    cpu_ns: int
    stage_ns: dict[str, int]
    stage_runs: dict[str, int]
    reference_ns: int
    joules: dict[str, float]
    others: float
    peak_kib: int
    rss_kib: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StageBlock:
    """Runs of one part alone, warm, on fixed data, in a process of its own.

    Attributes:
        contestant: Its name.
        part: A stage of the graph, or ``front end: PORT``.
        round: Number of the process.
        wall_ns: [N] each run.
        cpu_ns: [N] processor time of the thread.
        reference_ns: [N] the fixed piece of work, right after each run.
    """

    contestant: str
    part: str
    round: int
    wall_ns: tuple[int, ...]
    cpu_ns: tuple[int, ...]
    reference_ns: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One process from its start to its first decision.

    Attributes:
        contestant: Its name.
        round: Number of the round.
        first_ns: From the start of the process to the decision.
        peak_kib: Largest resident memory then.
    """

    contestant: str
    round: int
    first_ns: int
    peak_kib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineState:
    """What may change while a benchmark runs.

    Attributes:
        mhz: Clock of each core, where it can be read.
        governor: Frequency governor or power mode.
        celsius: By thermal zone.
        throttled: How often the processor has slowed itself down since it was started, where it says.
        load: Load average of the last minute.
    """

    mhz: tuple[float, ...]
    governor: str
    celsius: dict[str, float]
    throttled: int | None
    load: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run of the suite.

    Attributes:
        schema: Version of this structure.
        machine: What does not change: processor, cores, system, versions.
        before: State of the machine before.
        after: State of the machine after.
        bundle: Name, and SHA-256 of its manifest.
        data: Where the packets come from, and their SHA-256.
        settings: Scenarios and their values, as they were used.
        contestants: All, also those who were skipped.
        segments: Stretches of stream.
        blocks: Parts alone.
        starts: Process starts.
        warnings: What makes these numbers doubtful: a busy machine, one that throttled.
    """

    schema: int
    machine: dict[str, str]
    before: MachineState
    after: MachineState
    bundle: dict[str, str]
    data: dict[str, str]
    settings: dict[str, str]
    contestants: tuple[Contestant, ...]
    segments: tuple[Segment, ...] = ()
    blocks: tuple[StageBlock, ...] = ()
    starts: tuple[Start, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    @property
    def took_part(self) -> tuple[Contestant, ...]:
        """Contestants who were not skipped."""
        return tuple(contestant for contestant in self.contestants if not contestant.skipped)

    @property
    def ours(self) -> Contestant:
        """The first contestant that runs the bundle's stages."""
        return next(contestant for contestant in self.took_part if contestant.kind == "staged")


def write_result(result: Result, path: Path) -> None:
    """Write a result as JSON, whole or not at all; compressed where the name ends in ``.gz``."""
    text = json.dumps(to_plain(result), separators=(",", ":")) + "\n"
    write_whole(path, gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_result(path: Path) -> Result:
    """Read what :func:`write_result` wrote.

    Raises:
        InputError: It is no result, or a newer mmedge wrote it.
    """
    try:
        content = path.read_bytes()
        document = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
        schema = document["schema"]
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a result of mmedge bench ({error}); give the file of --output") from error
    if schema != SCHEMA:
        raise InputError(f"{path} has schema {schema}, this mmedge reads {SCHEMA}; run the benchmark again")
    try:
        return from_plain(Result, document)
    except ValueError as error:
        raise InputError(f"{path}: {error}; run the benchmark again") from error
