"""``mmedge quantize``."""

import signal
import sys
from pathlib import Path

import click

from mmedge.console import Steps, as_json, table
from mmedge.errors import InputError, needs

__all__ = ["quantize_command"]


@click.command("quantize", short_help="Smaller and faster variants of a bundle, held to an accuracy budget.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="Folder of recordings or of .npz files, or one file; without it, what the bundle was calibrated with.",
)
@click.option(
    "--variant", "variants", multiple=True, help="int8-cpu, int8-trt, fp16, bf16, fp8, int4; may be repeated."
)
@click.option("--max-drop", default="0.5%", show_default=True, help="How much of a score may be lost.")
@click.option("--max-error", default="5%", show_default=True, help="For outputs that are no decisions.")
@click.option("--precision", multiple=True, help="Of one part: camera=int8, audio=fp16, head=fp32; may be repeated.")
@click.option("--windows", default=256, show_default=True, help="Calibrate and measure with at most so many windows.")
@click.option("--random-calibration", is_flag=True, help="Calibrate with noise: only to try things out.")
@click.option("--ship-slower", is_flag=True, help="Also keep variants that are not faster here than fp32.")
@click.option("--json", "json_output", is_flag=True, help="Print the report as JSON.")
def quantize_command(  # noqa: PLR0913, PLR0917 - one parameter for each option
    bundle: Path,
    calibration: Path | None,
    variants: tuple[str, ...],
    max_drop: str,
    max_error: str,
    precision: tuple[str, ...],
    windows: int,
    *,
    random_calibration: bool,
    ship_slower: bool,
    json_output: bool,
) -> int:
    """Add quantized variants to BUNDLE, each held to an accuracy budget.

    A labels.json in the folder of recordings, or label/OUTPUT arrays in .npz files, say what is true; without
    them a variant is compared with the fp32 graphs. What misses its budget is not kept; then the exit status is 1.
    """
    needs("onnx", fix="pip install onnx 'mmedge[cpu]'")
    from mmedge_export.quantize.make import QuantizeOptions, quantize
    from mmedge_export.quantize.page import HEADER, summary
    from mmedge_export.quantize.produce import Choice
    from mmedge_export.quantize.score import Budget

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is half-written is removed
    if calibration is not None and random_calibration:
        raise InputError("--calibration and --random-calibration were both given; choose one")
    if windows < 1:
        raise InputError(f"--windows {windows}; expected 1 or more")
    options = QuantizeOptions(
        calibration=calibration,
        random=random_calibration,
        variants=tuple(dict.fromkeys(variants)),
        choice=Choice(
            budget=Budget(drop=_share(max_drop, "--max-drop"), error=_share(max_error, "--max-error")),
            precision=tuple(part for text in precision for part in text.split()),
            ship_slower=ship_slower,
        ),
        windows=windows,
    )
    with Steps(quiet=json_output) as steps:
        report = quantize(bundle, options, steps)
    if json_output:
        click.echo(as_json(report))
    else:
        click.echo(table(list(HEADER), summary(report), left=(0, 1, 7)))
        for note in report.notes:
            click.echo(f"  {note}")
        click.echo(f"all of it: {bundle / 'reports' / 'quantize.md'}")
    return 0 if all(variant.shipped for variant in report.variants) else 1


def _share(text: str, option: str) -> float:
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise InputError(f"{option} {text}: expected a share such as 0.5%") from error
    if not 0 <= value <= 1:
        raise InputError(f"{option} {text}: expected between 0% and 100%")
    return value
