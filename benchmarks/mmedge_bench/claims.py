"""What is claimed of this machine: ratios, and where another run is expected: ``python -m mmedge_bench.claims RUNS``.

One run cannot say how much the next one differs: memory is laid out anew, other machines share the same processor. So a
claim is made from several runs, and its interval is one of prediction: of the logarithms of their ratios, by Student's
t. With ``--again RESULT.json`` it is looked up, claim by claim, whether another run lies within.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
import numpy as np

from mmedge.console import as_json, table
from mmedge.errors import InputError
from mmedge_bench.result import Contestant, Result, read_result
from mmedge_bench.statistics import percentile, predict
from mmedge_bench.summary import latencies_ms, segments_of, work_ms_per_s

__all__ = ["Checked", "Claim", "check_claims", "claims_of", "main", "ratio_of", "read_runs"]

CONFIDENCE = 0.99  # of each claim: a table has tens of them, and all shall hold
FEWEST = 3  # runs
WIDEST = 3.0  # upper over lower end of an interval; beyond, the runs differ too much to claim anything
MISSED = 2
COLUMNS = ("claim", "runs", "times", "another run is expected within", "again", "")
Figure = Literal["work", "latency"]
WORDS: dict[Figure, str] = {"work": "less work", "latency": "sooner at the median"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """How many times better one contestant is than another one.

    Attributes:
        ours: The better one.
        theirs: The other one.
        figure: "work", processor time per second of stream, or "latency", the median from sensor to decision.
        ratios: Theirs over ours, of each run.
        value: Their geometric mean.
        low: Where the ratio of another run is expected, lower end.
        high: Upper end.
    """

    ours: str
    theirs: str
    figure: Figure
    ratios: tuple[float, ...]
    value: float
    low: float
    high: float

    @property
    def says_something(self) -> bool:
        """Whether its interval is narrow enough that another run could contradict it."""
        return self.high <= WIDEST * self.low

    @property
    def text(self) -> str:
        """In words."""
        return f"{self.ours} against {self.theirs}: {WORDS[self.figure]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A claim and what another run says.

    Attributes:
        claim: The claim.
        again: The ratio of the other run.
        holds: Whether it lies within the interval.
    """

    claim: Claim
    again: float
    holds: bool


def claims_of(runs: Sequence[Result]) -> list[Claim]:
    """Every peer against the bundle's fp32 stages, and every further variant against the same unsplit graph.

    Raises:
        InputError: There are too few runs, or they are of different settings or machines.
    """
    if len(runs) < FEWEST:
        raise InputError(f"{len(runs)} runs cannot say how far another one differs; give {FEWEST} or more")
    for run in runs[1:]:
        _require_same(runs[0], run)
    return [claim for ours, theirs in _pairs(runs) for claim in _claims(runs, ours, theirs)]


def check_claims(claims: Sequence[Claim], again: Result) -> list[Checked]:
    """Look every claim up in another run.

    Raises:
        InputError: A contestant or a scenario is missing in it.
    """
    return [_checked(claim, again) for claim in claims]


def ratio_of(result: Result, ours: str, theirs: str, figure: Figure) -> float | None:
    """Theirs over ours in one run, of medians over all rounds; None if it was not measured."""
    a, b = (_median(result, name, figure) for name in (ours, theirs))
    return b / a if a and b else None


def read_runs(folder: Path) -> list[Result]:
    """All ``run-*.json.gz`` of a folder, in order.

    Raises:
        InputError: One of them is no result.
    """
    return [read_result(path) for path in sorted(folder.glob("run-*.json.gz"))]


def _median(result: Result, name: str, figure: Figure) -> float:
    if figure == "work":
        work = work_ms_per_s(segments_of(result, name, "closed-loop"))
        return float(np.median(work)) if work else 0.0
    latency = latencies_ms(segments_of(result, name, "paced"))
    return percentile(np.concatenate(latency), 50) if latency else 0.0


def _pairs(runs: Sequence[Result]) -> Iterator[tuple[str, str]]:
    everywhere = set.intersection(*({contestant.name for contestant in run.took_part} for run in runs))
    known = [contestant for contestant in runs[0].took_part if contestant.name in everywhere]
    peers = [contestant.name for contestant in known if contestant.kind not in {"staged", "live"}]
    whole = next((contestant.name for contestant in known if contestant.kind == "whole"), None)
    yield from ((runs[0].ours.name, peer) for peer in peers)
    if whole:
        yield from ((contestant.name, whole) for contestant in known if _is_variant(contestant, runs[0]))


def _is_variant(contestant: Contestant, run: Result) -> bool:
    return contestant.kind == "staged" and contestant.name != run.ours.name


def _claims(runs: Sequence[Result], ours: str, theirs: str) -> Iterator[Claim]:
    for figure in WORDS:
        ratios = [ratio_of(run, ours, theirs, figure) for run in runs]
        known = tuple(ratio for ratio in ratios if ratio is not None)
        if len(known) == len(runs):
            value, low, high = predict(known, CONFIDENCE)
            yield Claim(ours=ours, theirs=theirs, figure=figure, ratios=known, value=value, low=low, high=high)


def _checked(claim: Claim, again: Result) -> Checked:
    ratio = ratio_of(again, claim.ours, claim.theirs, claim.figure)
    if ratio is None:
        raise InputError(f"{claim.text}: the other run did not measure it; run it with the same contestants")
    return Checked(claim=claim, again=ratio, holds=claim.low <= ratio <= claim.high)


def _require_same(one: Result, other: Result) -> None:
    for what, a, b in (
        ("processors", one.machine.get("processor"), other.machine.get("processor")),
        *((what, one.settings.get(what), other.settings.get(what)) for what in ("tick", "rates", "threads")),
    ):
        if a != b:
            raise InputError(f"the runs are of different {what}, {a} and {b}; take runs of one machine and one setting")


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--again", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Another run to look into.")
@click.option("--json", "json_output", is_flag=True, help="Print the claims as JSON.")
def main(runs: tuple[Path, ...], again: Path | None, *, json_output: bool) -> None:
    """Print what RUNS claim, results of mmedge bench or folders of them; status 2 if another run is not as claimed."""
    results = [result for path in runs for result in (read_runs(path) if path.is_dir() else [read_result(path)])]
    claims = claims_of(results)
    other = read_result(again) if again else None
    if other:
        _require_same(results[0], other)
    checked = check_claims(claims, other) if other else []
    missed = [each for each in checked if not each.holds]
    empty = [claim for claim in claims if not claim.says_something]
    if json_output:
        click.echo(as_json(checked or claims))
    else:
        click.echo(table(COLUMNS, [_row(claim, each) for claim, each in _both(claims, checked)], left=(0, 5)))
        for name, result in (*((f"run {i + 1}", run) for i, run in enumerate(results)), ("again", other)):
            for warning in result.warnings if result else ():
                click.echo(f"doubtful: {name}: {warning}")
        if checked:
            held = sum(each.holds and each.claim.says_something for each in checked)
            click.echo(f"{held} of {len(claims) - len(empty)} claims are reproduced")
        if empty:
            click.echo(
                f"{len(empty)} intervals are too wide to claim anything: measure on a quiet machine, or more runs"
            )
    if missed:
        raise SystemExit(MISSED)


def _both(claims: Sequence[Claim], checked: Sequence[Checked]) -> Iterator[tuple[Claim, Checked | None]]:
    for i, claim in enumerate(claims):
        yield claim, checked[i] if checked else None


def _row(claim: Claim, checked: Checked | None) -> list[str]:
    again = f"{checked.again:.2f}" if checked else ""
    verdict = ("holds" if checked.holds else "MISSED") if checked else ""
    verdict = verdict if claim.says_something or verdict == "MISSED" else "says nothing"
    interval = f"{claim.low:.2f} to {claim.high:.2f}"
    return [claim.text, str(len(claim.ratios)), f"{claim.value:.2f}", interval, again, verdict]


if __name__ == "__main__":
    main()
