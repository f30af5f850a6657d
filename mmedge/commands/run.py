"""``mmedge run``."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import click

from mmedge.decode import to_plain_outputs
from mmedge.manifest import Manifest
from mmedge.model import load
from mmedge.replay import Run, open_run
from mmedge.types import NS, Prediction

__all__ = ["run_command", "to_json_line"]


@click.command("run", short_help="Decisions on a recording.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--camera", type=click.Path(path_type=Path), help="A video file.")
@click.option(
    "--audio", type=click.Path(path_type=Path), help="A sound file; else the WAV beside the video, or its sound."
)
@click.option("--tick", help="audio, camera, tensor, any, or a rate such as 50hz; by default audio.")
@click.option(
    "--jsonl", type=click.Path(path_type=Path), help="Write every decision here as a JSON line; - for stdout."
)
@click.option("--allow-short", is_flag=True, help="Stop where the shorter recording ends.")
def run_command(
    bundle: Path, camera: Path | None, audio: Path | None, tick: str | None, jsonl: Path | None, *, allow_short: bool
) -> None:
    """Run BUNDLE on a recording in the recording's own time, and print what it decides."""
    with ExitStack() as stack:
        model = stack.enter_context(load(bundle))
        run = stack.enter_context(open_run(model, camera=camera, audio=audio, tick=tick, allow_short=allow_short))
        if jsonl is None:
            _print_changes(run)
        else:
            lines = stack.enter_context(click.open_file(str(jsonl), "w"))
            _write_lines(run, lines)
        _print_end(run)


def to_json_line(prediction: Prediction, manifest: Manifest) -> str:
    """One prediction as one line of JSON."""
    return json.dumps(
        {
            "t_ns": prediction.t_ns,
            "outputs": to_plain_outputs(prediction.outputs, manifest.outputs),
            "labels": prediction.labels,
            "age_ms": prediction.age_ms,
            "fresh": prediction.fresh,
            "latency_ns": prediction.latency_ns,
        }
    )


def _write_lines(run: Run, lines: IO[str]) -> None:
    for prediction in run:
        lines.write(to_json_line(prediction, run.model.manifest) + "\n")


def _print_changes(run: Run) -> None:
    """A line whenever a label changes, and at least one a second."""
    described = run.model.manifest.outputs
    shown: tuple[object, int] = (None, -NS)
    for prediction in run:
        if prediction.labels == shown[0] and prediction.t_ns - shown[1] < NS:
            continue
        shown = (prediction.labels, prediction.t_ns)
        values = []
        for name, output in described.items():
            array = prediction.outputs[name].reshape(-1)
            if name in prediction.labels:
                values.append(f"{name}: {prediction.labels[name]} ({array.max():.2f})")
            elif array.size == 1:
                values.append(f"{name}: {array[0]:.1f} {output.unit}".rstrip())
        ages = ", ".join(f"{port} {age:.0f} ms" for port, age in prediction.age_ms.items())
        click.echo(f"{prediction.t_ns / NS:8.2f} s  {'  '.join(values)}  [age {ages}]")


def _print_end(run: Run) -> None:
    graph = run.stream.graph
    work = sum(graph.work_ns.values()) / 1e6
    runs = ", ".join(f"{stage} {count}" for stage, count in graph.runs.items())
    click.echo(f"runs: {runs}; {work:.0f} ms of model work", err=True)
    for port, counts in run.stream.counters.items():
        if any(counts.values()):
            click.echo(f"{port}: " + ", ".join(f"{count} {what}" for what, count in counts.items() if count), err=True)
    for note in run.notes:
        click.echo(f"note: {note}", err=True)
