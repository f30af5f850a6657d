"""Would the comparison notice? ``python -m mmedge_bench.sensitivity BUNDLE``.

Runs the stages of a bundle again and again: unchanged, and with one stage made 10 % slower by computing. Counts how
often ``mmedge bench compare`` calls the slower one slower, and two unchanged ones within noise.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from mmedge.bundle import open_bundle
from mmedge.console import Steps
from mmedge_bench.compare import Change, compare_results
from mmedge_bench.injection import Injection
from mmedge_bench.machine import describe_machine
from mmedge_bench.result import Result
from mmedge_bench.scenarios import SCENARIOS
from mmedge_bench.suite import Plan, run_suite

__all__ = ["Sensitivity", "main", "measure_sensitivity"]

SLOWER = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """What was counted.

    Attributes:
        stage: The one that was made slower.
        slower: By which share of its time.
        runs: Comparisons of each kind.
        found: Comparisons in which the stage was called slower.
        quiet: Comparisons of unchanged code in which nothing was called slower or faster.
        changes: What each comparison said of the slowed stage, as a ratio.
        machine: Where.
    """

    stage: str
    slower: float
    runs: int
    found: int
    quiet: int
    changes: tuple[float, ...]
    machine: dict[str, str]


def measure_sensitivity(bundle: Path, runs: int, progress: Steps) -> Sensitivity:
    """Compare pairs of runs, unchanged with unchanged and unchanged with slowed, in turns.

    Raises:
        BundleError: The bundle cannot be used.
    """
    manifest = open_bundle(bundle).manifest
    stage = max(manifest.stages, key=lambda each: manifest.macs[each.name]).name
    found = quiet = 0
    ratios = []
    for number in range(runs):
        progress(f"pair {number + 1} of {runs}")
        before, again = _run(bundle, None), _run(bundle, None)
        slowed = _run(bundle, Injection(stage=stage, slower=SLOWER))
        changes = compare_results(before, again)
        quiet += all(change.verdict not in {"slower", "faster"} for change in changes)
        mine = _of(compare_results(before, slowed), stage)
        found += mine.verdict == "slower"
        ratios.append(round(mine.ratio.value, 4))
    return Sensitivity(
        stage=stage, slower=SLOWER, runs=runs, found=found, quiet=quiet, changes=tuple(ratios),
        machine=describe_machine(),
    )  # fmt: skip


def _run(bundle: Path, injection: Injection | None) -> Result:
    scenarios = tuple(scenario for scenario in SCENARIOS if scenario.name == "stages")
    plan = Plan(
        bundle=bundle, checkpoint=None, spec=None, tick=None, rates_hz={}, threads=1, scenarios=scenarios,
        peers=("mmedge",), injection=injection,
    )  # fmt: skip
    return run_suite(plan, lambda _: None)


def _of(changes: list[Change], stage: str) -> Change:
    return next(change for change in changes if change.name == f"{stage}, alone")


@click.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path))
@click.option("--runs", default=10, show_default=True, help="Comparisons of each kind.")
@click.option("--output", type=click.Path(path_type=Path), help="Also write the counts here, as JSON.")
def main(bundle: Path, runs: int, output: Path | None) -> None:
    """Count what the comparison notices on BUNDLE."""
    with Steps() as steps:
        counted = measure_sensitivity(bundle, runs, steps)
    click.echo(f"{counted.slower:.0%} slower in stage {counted.stage}: found {counted.found} of {counted.runs} times")
    click.echo(f"unchanged code: within noise {counted.quiet} of {counted.runs} times")
    if output:
        output.write_text(json.dumps(asdict(counted), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
