"""``mmedge demo``."""

from pathlib import Path

import click

from mmedge.console import Steps, as_json, table

__all__ = ["demo_command"]


@click.command("demo", short_help="The whole way, on a scene it makes itself.")
@click.option(
    "-o", "--output", default="mmedge-demo", type=click.Path(path_type=Path), help="Folder for what it makes."
)
@click.option("--seconds", default=20.0, type=click.FloatRange(4, 600), help="Length of the clip.")
@click.option("--seed", default=0, help="Another seed is another drive.")
@click.option("--json", "json_output", is_flag=True, help="Print the numbers as JSON.")
def demo_command(output: Path, seconds: float, seed: int, *, json_output: bool) -> None:
    """Make a drive with pictures and sound, export the reference model, run it on the drive, and compare with PyTorch.

    Needs no hardware and downloads nothing.
    """
    from mmedge_export.demo.report import render_report
    from mmedge_export.demo.steps import Demo, run_demo
    from mmedge_export.demo.summary import COLUMNS, summarize, to_rows

    demo = Demo(folder=output)
    with Steps(quiet=json_output) as steps:
        result = run_demo(demo, seed=seed, duration_s=seconds, progress=steps)
    summary = summarize(result)
    demo.report.write_text(render_report(result), encoding="utf-8")
    demo.numbers.write_text(as_json(summary) + "\n", encoding="utf-8")
    if json_output:
        click.echo(as_json(summary))
        return
    saving = result.saving
    click.echo(f"\n{result.manifest.name}: {len(result.manifest.stages)} stages; predicted work per second of stream:")
    click.echo(f"  whole model at every decision {saving.unsplit_ms:7.1f} ms")
    click.echo(f"  each stage at its own rate    {saving.staged_ms:7.1f} ms, {1 / saving.ratio:.1f} times less\n")
    click.echo(table(COLUMNS, to_rows(summary)))
    click.echo(
        "\nwork: inside the model, per second of stream. p50 to p99: from a sound to its decision, waiting included."
    )
    click.echo(
        f"decisions: {result.accuracy:.1%} right of the {summary['scored']} whose whole window lies under one label"
    )
    click.echo(f"look at {demo.report}")
