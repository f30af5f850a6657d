"""``mmedge bench``."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmedge.console import Steps, as_json, table
from mmedge.errors import InputError
from mmedge_bench.scenarios import SCENARIOS, Scenario

if TYPE_CHECKING:
    from mmedge_bench.result import Result
    from mmedge_bench.summary import Row

__all__ = ["bench_command"]

NAMES = [scenario.name for scenario in SCENARIOS]
REGRESSED = 2


class _BundleOrCommand(click.Group):
    """``mmedge bench BUNDLE`` runs; ``mmedge bench compare`` is a command of its own."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return "run", self.commands["run"], args

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in {"-h", "--help"}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(
    "bench",
    cls=_BundleOrCommand,
    short_help="Measure a bundle against its peers, paced like its sensors.",
    subcommand_metavar="BUNDLE [OPTIONS] | compare A.json B.json | page RESULT.json",
)
def bench_command() -> None:
    """Measure a bundle on this machine, or compare two results.

    mmedge bench run --help says what a run can be told.
    """


@bench_command.command("run", short_help="Measure BUNDLE; the same as mmedge bench BUNDLE.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--checkpoint", type=click.Path(exists=True, path_type=Path),
              help="What the bundle was made of, for the peers that run the original.")  # fmt: skip
@click.option("--spec", type=click.Path(exists=True, path_type=Path), help="Its SPEC.toml, if not inside or beside.")
@click.option("--scenario", "scenarios", multiple=True, type=click.Choice(NAMES), help="Only these; may be repeated.")
@click.option("--peer", "peers", multiple=True, help="Only these peers, by name; may be repeated.")
@click.option("--tick", help="When to decide, e.g. 50hz.")
@click.option("--rates", help="Packets per second by port, e.g. image=15.")
@click.option("--seconds", type=click.FloatRange(min=1), help="Of stream in each round, for scenarios with a stream.")
@click.option("--rounds", type=click.IntRange(min=1), help="Rounds of every scenario.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of one operator, for all.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write every sample as JSON; .json.gz compresses it.",
)
@click.option("--page", type=click.Path(dir_okay=False, path_type=Path), help="Write the page to look at.")
@click.option("--trtexec", is_flag=True, help="Also print what an engine-only benchmark would say, and why it differs.")
@click.option("--json", "json_output", is_flag=True, help="Print the table as JSON.")
def run_command(
    bundle: Path,
    checkpoint: Path | None,
    spec: Path | None,
    output: Path | None,
    page: Path | None,
    *,
    json_output: bool,
    **told: Any,
) -> None:
    """Measure BUNDLE: its stages, whole runs paced like its sensors, process starts, and its peers in the same run."""
    from mmedge.bundle import open_bundle
    from mmedge.cost import parse_rates
    from mmedge_bench.page.report import render_page
    from mmedge_bench.remembered import remember
    from mmedge_bench.result import write_result, write_whole
    from mmedge_bench.suite import Plan, run_suite
    from mmedge_bench.summary import summarize

    _can_be_written(output, ".json", ".json.gz")
    _can_be_written(page, ".html")
    rates = parse_rates(told["rates"], open_bundle(bundle).manifest) if told["rates"] else {}
    scenarios = _scenarios(told["scenarios"], told["seconds"], told["rounds"])
    plan = Plan(
        bundle=bundle,
        checkpoint=checkpoint,
        spec=spec,
        tick=told["tick"],
        rates_hz=rates,
        threads=told["threads"],
        scenarios=scenarios,
        peers=told["peers"],
    )
    with Steps(quiet=json_output) as steps:
        result = run_suite(plan, steps)
        if output:
            write_result(result, output)
        if page:
            steps("drawing the page")
            write_whole(page, render_page(result).encode())
    summary = summarize(result)
    if any(scenario.name == "paced" and scenario.rounds > 1 for scenario in scenarios):  # one round is no measurement
        remember(open_bundle(bundle), summary, told["threads"])
    if json_output:
        click.echo(as_json(summary))
        return
    for line in _told(result, summary, engine=told["trtexec"]):
        click.echo(line)
    for path in filter(None, (output, page)):
        click.echo(f"written: {path}")


def _told(result: "Result", summary: "Sequence[Row]", *, engine: bool) -> Iterator[str]:
    """What a person reads of a result."""
    from mmedge_bench.summary import COLUMNS, engine_only, skipped, soaks, to_rows

    yield "\n" + table(COLUMNS, to_rows(summary), left=(0,))
    yield from (f"skipped: {', '.join(names)}: {why}" for why, names in skipped(result).items())
    yield from (soaked.text for soaked in soaks(result))
    if engine:
        yield engine_only(result)
    yield from (f"warning: {warning}" for warning in result.warnings)


def _scenarios(names: tuple[str, ...], seconds: float | None, rounds: int | None) -> tuple[Scenario, ...]:
    """Those that were named, or those that are run by default, with what is to be otherwise."""
    chosen = [scenario for scenario in SCENARIOS if (scenario.name in names if names else scenario.by_default)]
    return tuple(
        replace(each, seconds=(seconds or each.seconds) if each.seconds else 0, rounds=rounds or each.rounds)
        for each in chosen
    )


@bench_command.command("page", short_help="Draw the page of a result again.")
@click.argument("result", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Where to.")
def page_command(result: Path, output: Path) -> None:
    """Draw the page of RESULT, from nothing but its samples."""
    from mmedge_bench.page.report import render_page
    from mmedge_bench.result import read_result, write_whole

    _can_be_written(output, ".html")
    write_whole(output, render_page(read_result(result)).encode())
    click.echo(f"written: {output}")


@bench_command.command("compare", short_help="Say what changed between two results, beyond noise.")
@click.argument("before", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("after", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--fail-if", "limits", multiple=True, help="End with status 2 if so, e.g. 'p99 > 5%'; may be repeated.")
@click.option("--json", "json_output", is_flag=True, help="Print the changes as JSON.")
def compare_command(before: Path, after: Path, limits: tuple[str, ...], *, json_output: bool) -> int:
    """Compare the results BEFORE and AFTER of mmedge bench."""
    from mmedge_bench.compare import (
        CHANGE_COLUMNS,
        compare_results,
        exceeded,
        parse_limit,
        require_verdict,
        to_change_rows,
    )
    from mmedge_bench.result import read_result

    parsed = [parse_limit(text) for text in limits]
    changes = compare_results(read_result(before), read_result(after))
    for limit in parsed:
        require_verdict(limit, changes)
    broken = [(limit, change) for limit in parsed for change in exceeded(limit, changes)]
    if json_output:
        click.echo(as_json({"changes": changes, "exceeded": [change.name for _, change in broken]}))
    else:
        click.echo(table(CHANGE_COLUMNS, to_change_rows(changes), left=(0, 1, 5)))
        for limit, change in broken:
            click.echo(f"exceeded: {limit.text}: {change.contestant} {change.name} {change.ratio.value - 1:+.1%}")
    return REGRESSED if broken else 0


def _can_be_written(path: Path | None, *suffixes: str) -> None:
    """Said before minutes of measuring; a name that ends otherwise is likely a file of another kind, to be kept."""
    if path is None:
        return
    if not path.name.endswith(suffixes):
        raise InputError(f"{path} is to be written, and does not end in {suffixes[0]}; choose another name")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is not a folder; make it first, or choose another name")
