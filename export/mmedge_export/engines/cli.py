"""``mmedge build``."""

from pathlib import Path

import click

from mmedge.bundle import open_bundle
from mmedge.console import Steps, as_json, table
from mmedge_export.engines.build import (
    BuildOptions,
    BuiltEngine,
    build_engines,
    sweep,
    variants_for,
)
from mmedge_export.engines.build import trust_engines as vouch
from mmedge_export.engines.target import no_dla, parse_target

__all__ = ["build_command"]


@click.command("build", short_help="Make TensorRT engines; for TensorRT-RTX on any machine, without a GPU.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--target",
    "targets",
    multiple=True,
    help="rtx:sm86,sm89 for these GPUs, rtx for the one in this machine, tensorrt on the device itself. Repeatable.",
)
@click.option("--variant", "variants", multiple=True, help="Only this one; by default all that fit. Repeatable.")
@click.option("--workspace", type=click.IntRange(0), default=0, help="Most scratch memory of a layer in MiB; 0: all.")
@click.option("--level", type=click.IntRange(0, 5), default=3, help="How long the builder searches, 0 to 5.")
@click.option("--dla", "dla_core", type=int, help="Not there: says where deep-learning accelerators are, and ends.")
@click.option("--force", is_flag=True, help="Build also what is there.")
@click.option(
    "--trust-engines",
    is_flag=True,
    help="Take over engines that came with the bundle. They are programs: only if you know who built them.",
)
@click.option("--json", "json_output", is_flag=True, help="Print the result as JSON.")
def build_command(  # noqa: PLR0913 - one parameter for each option
    bundle: Path,
    targets: tuple[str, ...],
    variants: tuple[str, ...],
    *,
    workspace: int,
    level: int,
    dla_core: int | None,
    force: bool,
    trust_engines: bool,
    json_output: bool,
) -> int:
    """Build an engine for every stage of BUNDLE, into its folder engines/.

    What is there and fits is kept: an engine is known by its graph, the library's version, the targets and the options.
    Ends with status 1 when a stage got no engine.
    """
    if dla_core is not None:
        raise no_dla(f"--dla {dla_core}")
    if not targets and not trust_engines:
        raise click.UsageError("--target is missing, e.g. --target rtx:sm86,sm89 or --target tensorrt")
    opened = open_bundle(bundle)
    parsed = [parse_target(text) for text in targets]
    options = BuildOptions(workspace_mib=workspace, level=level, force=force)
    trusted = vouch(opened) if trust_engines else []
    rows: list[BuiltEngine] = []
    with Steps(quiet=json_output) as steps:
        for target in parsed:
            rows += build_engines(opened, target, variants_for(opened, target, variants), options, steps)
    removed = sweep(opened) if rows else []
    if json_output:
        click.echo(as_json({"bundle": str(bundle), "engines": rows, "trusted": trusted, "removed": removed}))
    else:
        for name in trusted:
            click.echo(f"trusted {name}")
        click.echo(_text(rows) if rows else "")
    return 1 if any(row.how == "failed" for row in rows) else 0


def _text(rows: list[BuiltEngine]) -> str:
    cells = [
        [
            row.variant,
            row.stage,
            row.how.upper() if row.how == "failed" else row.how,
            "+".join(row.capabilities),
            f"{row.plan_bytes / 1024:.0f}" if row.plan_bytes else "",
            f"{row.weights_bytes / 1024:.0f}" if row.weights_bytes else "",
            f"{row.build_s:.1f}" if row.how == "built" else "",
        ]
        for row in rows
    ]
    header = ["variant", "stage", "", "for", "plan KiB", "weights KiB", "s"]
    stages: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.text:
            stages.setdefault((row.variant, row.text), []).append(row.stage)
    notes = [f"{variant}/{', '.join(names)}: {text}" for (variant, text), names in stages.items()]
    return "\n".join([table(header, cells, left=(0, 1, 2, 3)), *notes])
