"""The numbers of a result, each computed from its raw samples: what the table, the page and a comparison show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmedge.types import NS
from mmedge_bench.result import Contestant, Result, Segment
from mmedge_bench.statistics import PERCENTILES, Estimate, estimate, estimate_slope, percentile

__all__ = [
    "COLUMNS",
    "REST",
    "Row",
    "Soaked",
    "deadline_ms",
    "engine_only",
    "latencies_ms",
    "paced_segments",
    "segments_of",
    "shares_ms_per_s",
    "skipped",
    "soaks",
    "spread_of_ratios",
    "summarize",
    "to_rows",
    "work_ms_per_s",
]

COLUMNS = (
    "", "work ms/s", "p50 ms", "p95 ms", "p99 ms", "p99.9 ms", "max ms", "n", "missed", "start s", "MiB", "difference"
)  # fmt: skip
REST = "front ends, copies, Python"
ENOUGH = 20  # seconds to see a slope in
SHOWN = ("p50", "p95", "p99", "p99.9", "max")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One contestant.

    Attributes:
        contestant: Who.
        work_ms_per_s: Processor time per second of stream, closed loop, each round.
        throughput_hz: Decisions per second of wall time, closed loop, median; 0 where it was not run.
        latency_ms: By percentile, and "max"; paced.
        missed: Decisions after the next one was due, and decisions that never came, as a share of all; paced.
        fresh: Share of the decisions that saw something new, by port.
        age_ms: Median and largest age, by port.
        start_s: From the start of the process to its first decision, median.
        peak_mib: Resident memory, the largest seen.
        joules_per_s: Energy of the whole machine per second of stream, by source.
    """

    contestant: Contestant
    work_ms_per_s: tuple[float, ...]
    throughput_hz: float
    latency_ms: dict[str, Estimate]
    missed: float
    fresh: dict[str, float]
    age_ms: dict[str, tuple[float, float]]
    start_s: float
    peak_mib: float
    joules_per_s: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaked:
    """What a long run did to one contestant.

    Attributes:
        contestant: Its name.
        minutes: Of stream.
        ticks: That the stream had.
        lost: How many of them were not decided.
        growth_kib: Resident memory, per minute, without the first third; None if it was too short to say.
        resident_kib: At every second.
    """

    contestant: str
    minutes: float
    ticks: int
    lost: int
    growth_kib: Estimate | None
    resident_kib: tuple[int, ...]

    @property
    def text(self) -> str:
        """In a line."""
        told = f"soak: {self.contestant}: {self.minutes:g} min, {self.lost} of {self.ticks} ticks lost"
        if self.growth_kib is None:
            return f"{told}; too short to say whether memory grows"
        grown = self.growth_kib
        return f"{told}, memory {grown.value:+.1f} KiB per minute ({grown.low:+.1f} to {grown.high:+.1f})"


def summarize(result: Result) -> list[Row]:
    """A row for each contestant that took part."""
    return [_row(result, contestant) for contestant in result.took_part]


def to_rows(rows: Sequence[Row]) -> list[list[str]]:
    """Rows of text under :data:`COLUMNS`."""
    lines = []
    for row in rows:
        latency = [f"{row.latency_ms[key].value:.3g}" if row.latency_ms else "-" for key in SHOWN]
        n = str(row.latency_ms["p50"].n) if row.latency_ms else "-"
        work = f"{np.median(row.work_ms_per_s):.1f}" if row.work_ms_per_s else "-"
        start = f"{row.start_s:.2f}" if row.start_s else "-"
        missed = f"{row.missed:.1%}" if row.latency_ms else "-"
        difference = f"{row.contestant.difference:.1g}"
        lines.append([row.contestant.name, work, *latency, n, missed, start, f"{row.peak_mib:.0f}", difference])
    return lines


def segments_of(result: Result, contestant: str, scenario: str) -> list[Segment]:
    """The rounds of one contestant in one scenario, in order."""
    return [s for s in result.segments if s.contestant == contestant and s.scenario == scenario]


def paced_segments(result: Result, contestant: str) -> list[Segment]:
    """The rounds of one contestant at the sensors' pace: paced, or the long run where there are no others."""
    return segments_of(result, contestant, "paced") or segments_of(result, contestant, "soak")


def skipped(result: Result) -> dict[str, list[str]]:
    """Who did not take part, by the reason."""
    reasons: dict[str, list[str]] = {}
    for contestant in result.contestants:
        if contestant.skipped:
            reasons.setdefault(contestant.skipped, []).append(contestant.name)
    return reasons


def soaks(result: Result) -> list[Soaked]:
    """What the long run did to everyone; nothing if there was none."""
    return [_soaked(segment) for segment in result.segments if segment.scenario == "soak"]


def latencies_ms(segments: Sequence[Segment]) -> list[Floats]:
    """Latency of every decision, one array for each round."""
    return [np.array(segment.latency_ns) / 1e6 for segment in segments if segment.latency_ns]


def work_ms_per_s(segments: Sequence[Segment]) -> tuple[float, ...]:
    """Processor time per second of stream, each round."""
    return tuple(segment.cpu_ns / 1e6 / (segment.stream_ns / NS) for segment in segments)


def deadline_ms(result: Result) -> float:
    """When the next decision is due: the median distance of two ticks."""
    steps = [np.diff(s.t_ns) for s in result.segments if len(s.t_ns) > 1]
    return float(np.median(np.concatenate(steps))) / 1e6 if steps else 0.0


def shares_ms_per_s(result: Result, name: str) -> dict[str, float]:
    """Wall time per second of stream by stage, and what is outside of the sessions; medians of the rounds."""
    segments = segments_of(result, name, "closed-loop")
    stages = {
        stage: float(np.median([s.stage_ns[stage] / 1e6 / (s.stream_ns / NS) for s in segments]))
        for stage in (segments[0].stage_ns if segments else {})
    }
    walls = [segment.wall_ns / 1e6 / (segment.stream_ns / NS) for segment in segments]
    total = float(np.median(walls)) if walls else 0.0
    return stages | {REST: max(0.0, total - sum(stages.values()))}


def spread_of_ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Theirs over ours, round by round: smallest, median, largest."""
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=False) if a > 0)
    return (ratios[0], float(np.median(ratios)), ratios[-1]) if ratios else (float("nan"),) * 3


def engine_only(result: Result) -> str:
    """The number that trtexec and its like would print for one decision, and why it is not ours."""
    rows = summarize(result)
    segments = segments_of(result, result.ours.name, "paced")
    parts = {name: _stage_ms(result, name) for segment in segments[:1] for name in segment.stage_ns}
    if not parts or not all(parts.values()) or not rows[0].latency_ms:
        return "engine only: run the scenarios stages and paced for this"
    told = " + ".join(f"{name} {value:.3f}" for name, value in parts.items())
    ours = rows[0].latency_ms["p50"].value
    return (
        f"engine only: {told} = {sum(parts.values()):.3f} ms, medians of back-to-back runs on fixed input, as trtexec "
        f"prints them; from sensor to decision: {ours:.3f} ms. The first counts every stage once and leaves out front "
        "ends, copies, Python, cold caches and waiting; the second runs only the stages that have something new."
    )


def _stage_ms(result: Result, stage: str) -> float:
    blocks = [block for block in result.blocks if block.contestant == result.ours.name and block.part == stage]
    return percentile(np.concatenate([block.wall_ns for block in blocks]), 50) / 1e6 if blocks else 0.0


def _row(result: Result, contestant: Contestant) -> Row:
    paced = paced_segments(result, contestant.name)
    closed = segments_of(result, contestant.name, "closed-loop")
    latency = latencies_ms(paced)
    starts = [start for start in result.starts if start.contestant == contestant.name]
    peaks = [s.peak_kib for s in (*paced, *closed)] + [start.peak_kib for start in starts]
    estimates: dict[str, Estimate] = {}
    if latency:
        estimates = {f"p{percent:g}": estimate(latency, percent) for percent in PERCENTILES}
        estimates["max"] = estimate(latency, 100)
    return Row(
        contestant=contestant,
        work_ms_per_s=work_ms_per_s(closed),
        throughput_hz=float(np.median([len(s.t_ns) / (s.wall_ns / NS) for s in closed])) if closed else 0.0,
        latency_ms=estimates,
        missed=_missed(paced, deadline_ms(result)),
        fresh={port: float(np.mean(column)) for port, column in _columns(paced, "fresh").items()},
        age_ms={p: (percentile(column, 50), float(np.max(column))) for p, column in _columns(paced, "age_ms").items()},
        start_s=percentile([start.first_ns / NS for start in starts], 50) if starts else 0.0,
        peak_mib=max(peaks, default=0) / 1024,
        joules_per_s=_joules(paced),
    )


def _soaked(segment: Segment) -> Soaked:
    settled = segment.rss_kib[len(segment.rss_kib) // 3 :]
    minutes = np.arange(len(settled)) / 60
    ticks = max(segment.expected, len(segment.t_ns))
    return Soaked(
        contestant=segment.contestant,
        minutes=round(segment.stream_ns / NS / 60, 2),
        ticks=ticks,
        lost=ticks - len(segment.t_ns),
        growth_kib=estimate_slope(minutes, settled) if len(settled) >= ENOUGH else None,
        resident_kib=segment.rss_kib,
    )


def _missed(segments: Sequence[Segment], deadline: float) -> float:
    expected = sum(max(segment.expected, len(segment.t_ns)) for segment in segments)
    in_time = sum(int((np.array(segment.latency_ns) / 1e6 <= deadline).sum()) for segment in segments)
    return 1 - in_time / expected if expected else 0.0


def _columns(segments: Sequence[Segment], name: str) -> Mapping[str, Floats]:
    ports = dict.fromkeys(port for segment in segments for port in getattr(segment, name))
    return {p: np.concatenate([getattr(s, name)[p] for s in segments if p in getattr(s, name)]) for p in ports}


def _joules(segments: Sequence[Segment]) -> dict[str, float]:
    seconds = sum(segment.stream_ns for segment in segments) / NS
    names = dict.fromkeys(name for segment in segments for name in segment.joules)
    return {name: sum(segment.joules.get(name, 0.0) for segment in segments) / seconds for name in names}
