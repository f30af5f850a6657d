"""``mmedge demo``."""

from pathlib import Path

import click

from mmedge.console import Steps, table

__all__ = ["demo_command"]


@click.command("demo", short_help="The whole way, on a scene it makes itself.")
@click.option(
    "-o", "--output", default="mmedge-demo", type=click.Path(path_type=Path), help="Folder for what it makes."
)
@click.option("--seconds", default=20.0, type=click.FloatRange(4, 600), help="Length of the clip.")
@click.option("--seed", default=0, help="Another seed is another drive.")
def demo_command(output: Path, seconds: float, seed: int) -> None:
    """Make a drive with pictures and sound, export the reference model, run it on the drive, and compare with PyTorch.

    Needs no hardware and downloads nothing.
    """
    from mmedge_export.demo.report import render_report
    from mmedge_export.demo.steps import Demo, run_demo

    demo = Demo(folder=output)
    with Steps() as steps:
        result = run_demo(demo, seed=seed, duration_s=seconds, progress=steps)
    demo.report.write_text(render_report(result), encoding="utf-8")
    saving = result.saving
    click.echo(f"\n{result.manifest.name}: {len(result.manifest.stages)} stages; predicted work per second of stream:")
    click.echo(f"  whole model at every decision {saving.unsplit_ms:7.1f} ms")
    click.echo(f"  each stage at its own rate    {saving.staged_ms:7.1f} ms, {1 / saving.ratio:.1f} times less\n")
    rows = []
    for who in result.contestants:
        latency = [f"{who.latency_percentile(p):.1f}" for p in (50, 95, 99)] if who.keeps_up else ["too slow", "", ""]
        first, memory = f"{who.first_decision_s:.2f}", f"{who.peak_mb:.0f}"
        rows.append([who.name, f"{who.work_ms_per_s:.0f}", *latency, memory, first, f"{who.worst_difference:.1g}"])
    header = ["on the same clip, one thread", "work ms/s", "p50 ms", "p95 ms", "p99 ms", "MB", "start s", "difference"]
    click.echo(table(header, rows))
    click.echo(
        "\nwork: inside the model, per second of stream. p50 to p99: from a sound to its decision, waiting included."
    )
    scored = int(result.truth.settled.sum())
    click.echo(f"decisions: {result.accuracy:.1%} right of the {scored} whose whole window lies under one label")
    click.echo(f"look at {demo.report}")
