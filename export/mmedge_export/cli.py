"""``mmedge export``."""

from pathlib import Path
from time import perf_counter

import click

from mmedge.console import Steps, as_json

__all__ = ["export_command"]


@click.command("export", short_help="Make a bundle from a PyTorch checkpoint.")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The bundle to make: NAME.mmedge")
@click.option("--spec", type=click.Path(path_type=Path), help="SPEC.toml; by default inside or beside the checkpoint.")
@click.option("--samples", type=click.Path(path_type=Path), help=".npz of raw sensor data by port, to prove parity with.")
@click.option("--random-samples", is_flag=True, help="Prove parity with random data: better than nothing, no more.")
@click.option("--keep-whole", type=click.Path(path_type=Path), help="Also keep the unsplit ONNX graph here.")
@click.option("--force", is_flag=True, help="Replace the bundle if it exists.")
@click.option("--json", "json_output", is_flag=True, help="Print the result as JSON.")
def export_command(
    checkpoint: Path,
    output: Path,
    spec: Path | None,
    samples: Path | None,
    *,
    random_samples: bool,
    keep_whole: Path | None,
    force: bool,
    json_output: bool,
) -> None:
    """Trace CHECKPOINT to ONNX, prove that nothing changed, split it by sensor, prove it again, and pack a bundle."""
    from mmedge_export.pipeline import ExportOptions, export

    options = ExportOptions(
        spec=spec, samples=samples, random_samples=random_samples, keep_whole=keep_whole, force=force
    )
    begin = perf_counter()
    with Steps(quiet=json_output) as steps:
        result = export(checkpoint, output, options, steps)
    seconds = perf_counter() - begin
    if json_output:
        click.echo(as_json({"bundle": str(output), "seconds": seconds, "parity": result.report, "stages": result.stages}))
        return
    click.echo(result.summary(output, seconds))
