"""``mmedge export``."""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmedge.console import Steps, as_json, table
from mmedge.errors import needs

if TYPE_CHECKING:
    from mmedge_export.parity.comparison import ParityReport

__all__ = ["export_command"]


@click.command("export", short_help="Make a bundle from a PyTorch checkpoint or an ONNX graph.")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The bundle to make: NAME.mmedge")
@click.option("--spec", type=click.Path(path_type=Path), help="SPEC.toml; by default inside or beside the checkpoint.")
@click.option(
    "--samples", type=click.Path(path_type=Path), help=".npz of raw sensor data by port, to prove parity with."
)
@click.option("--random-samples", is_flag=True, help="Prove parity with random data: better than nothing, no more.")
@click.option("--keep-whole", type=click.Path(path_type=Path), help="Also keep the unsplit ONNX graph here.")
@click.option(
    "--trust-pickle",
    is_flag=True,
    help="Let a pickled module or a .pt2 archive run its code. Only for files that you made.",
)
@click.option("--force", is_flag=True, help="Replace the bundle if it exists.")
@click.option("--json", "json_output", is_flag=True, help="Print the result as JSON.")
def export_command(  # noqa: PLR0913 - one parameter for each option
    checkpoint: Path,
    output: Path,
    spec: Path | None,
    samples: Path | None,
    *,
    random_samples: bool,
    keep_whole: Path | None,
    trust_pickle: bool,
    force: bool,
    json_output: bool,
) -> None:
    """Make a bundle from CHECKPOINT, and prove that it computes what the checkpoint computes.

    CHECKPOINT is a .safetensors or .pt state dict, a pickled module or a .pt2 archive of torch.export that you trust,
    or an .onnx graph, which needs no torch. It becomes one ONNX graph, split by sensor and by time.
    """
    needs("onnx", fix="pip install 'mmedge[export]', or for an .onnx file: pip install onnx 'mmedge[cpu]'")
    from mmedge_export.pipeline import PARITY_PAGE, ExportOptions, export

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is half-written is removed
    sys.path.insert(0, str(Path.cwd()))  # where the user's own code is; a console script does not look there
    options = ExportOptions(
        spec=spec,
        samples=samples,
        random_samples=random_samples,
        keep_whole=keep_whole,
        force=force,
        trust_pickle=trust_pickle,
    )
    with Steps(quiet=json_output) as steps:
        exported = export(checkpoint, output, options, steps)
    if json_output:
        click.echo(as_json({"bundle": str(output), "manifest": exported.manifest, "parity": exported.parity}))
        return
    manifest = exported.manifest
    click.echo(
        f"{output}: {manifest.name}, {len(manifest.stages)} stages: {', '.join(s.name for s in manifest.stages)}"
    )
    for note in filter(None, [manifest.kept_whole and f"kept whole: {manifest.kept_whole}", *manifest.notes]):
        click.echo(f"  {note}")
    report = exported.parity
    for note in report.notes:
        click.echo(f"  {note}")
    click.echo(table(["compared", "worst tensor", "on", "difference", "allowed"], _worst(report), left=(0, 1, 2)))
    kind = "real" if report.real else "RANDOM"
    click.echo(f"{len(report.comparisons)} comparisons hold, on {report.samples} {kind} samples")
    click.echo(f"look at {output / PARITY_PAGE}")
    click.echo(f"next: mmedge inspect {output}")


def _worst(report: "ParityReport") -> list[list[str]]:
    """For each pair of ways the comparison that is nearest to what is allowed."""
    rows = {}
    for row in sorted(report.comparisons, key=lambda row: row.share):
        rows[row.what] = [row.what, row.tensor, row.case, f"{row.difference:.2g}", f"{row.tolerance:.2g}"]
    return list(rows.values())
