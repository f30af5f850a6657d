"""``mmedge run``."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from math import isfinite
from pathlib import Path
from typing import IO, Any

import click

from mmedge.commands.policy_options import parse_ages, parse_policies
from mmedge.decode import to_plain_outputs
from mmedge.errors import InputError, MmedgeError, ShortSourceError
from mmedge.manifest import Manifest, Output
from mmedge.model import load
from mmedge.replay import Run, open_run
from mmedge.sources import open_file_sources
from mmedge.types import NS, Array, Prediction

__all__ = ["describe", "run_command", "to_json_line"]

LARGE = 1e6
SHOWN_VALUES = 3  # of a vector, on a line for people


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
@click.option("--variant", default="fp32", show_default=True, help="Which set of graphs; mmedge inspect lists them.")
@click.option("--policy", multiple=True, help="While a sensor is missing: sound=hold,mean,abstain; may be repeated.")
@click.option("--max-age", multiple=True, help="When it is missing: sound=300, in milliseconds; may be repeated.")
@click.option("--attribution", type=int, help="Say of every n-th decision how much each sensor contributed (JSON).")
@click.option("--allow-short", is_flag=True, help="Stop where the shorter recording ends.")
def run_command(  # noqa: PLR0913, PLR0917 - one parameter for each option
    bundle: Path,
    camera: Path | None,
    audio: Path | None,
    tick: str | None,
    jsonl: Path | None,
    variant: str,
    policy: tuple[str, ...],
    max_age: tuple[str, ...],
    attribution: int | None,
    *,
    allow_short: bool,
) -> None:
    """Run BUNDLE on a recording in the recording's own time, and print what it decides."""
    if jsonl is not None:
        _refuse_to_overwrite(jsonl, [path for path in (camera, audio) if path])
    stream = {
        "policies": parse_policies(policy),
        "max_age_ms": parse_ages(max_age) or None,
        "attribution": attribution,
    }
    with ExitStack() as stack:
        model = stack.enter_context(load(bundle, variant=variant))
        sensors: dict[str, Any] = {"camera": camera, "audio": audio, "allow_short": allow_short}
        run = stack.enter_context(open_run(model, **sensors, tick=tick, stream=stream))
        predictions = _one_or_more(run, camera, audio)
        if jsonl is None:
            _print_changes(predictions, model.manifest)
        else:
            with _lines_to(jsonl) as lines:
                for prediction in predictions:
                    lines.write(to_json_line(prediction, model.manifest) + "\n")
        _print_end(run)


def to_json_line(prediction: Prediction, manifest: Manifest) -> str:
    """One prediction as one line of JSON."""
    return json.dumps(
        {
            "t_ns": prediction.t_ns,
            "outputs": to_plain_outputs(prediction.outputs, manifest.outputs),
            "labels": prediction.labels,
            "age_ms": {port: age if isfinite(age) else None for port, age in prediction.age_ms.items()},
            "fresh": prediction.fresh,
            "latency_ns": prediction.latency_ns,
            "degraded": prediction.degraded,
            **({} if prediction.attribution is None else {"attribution": prediction.attribution}),
        }
    )


def describe(name: str, values: Array, output: Output, label: str | tuple[str, ...] | None) -> str:
    """One output for people to read.

    Args:
        name: Of the output.
        values: It.
        output: Its description.
        label: What was decided, None for an output without labels.
    """
    flat = values.reshape(-1) + 0.0  # which makes -0.0 a 0.0
    if isinstance(label, tuple):
        sure = ", ".join(f"{value:.2f}" for each, value in zip(output.labels, flat, strict=True) if each in label)
        return f"{name}: {', '.join(label)} ({sure})" if label else f"{name}: none"
    if label is not None:
        return f"{name}: {label} ({flat.max():.2f})"
    shown = " ".join(map(_short, flat[:SHOWN_VALUES]))
    if flat.size > SHOWN_VALUES:
        shown += f" ... ({'x'.join(map(str, values.shape))})"
    return f"{name}: {shown} {output.unit}".rstrip()


def _short(value: float) -> str:
    """One decimal for what is large enough, three digits otherwise."""
    return f"{value:.1f}" if 10 <= abs(value) < LARGE or value == 0 else f"{value:.3g}"


def _refuse_to_overwrite(out: Path, sources: Sequence[Path]) -> None:
    beside = [path.with_suffix(".wav") for path in sources]  # the sound that is found by itself
    for source in (*sources, *beside):
        if out.exists() and source.exists() and out.samefile(source):
            raise InputError(f"--jsonl {out} would overwrite a recording; choose another file")


def _one_or_more(run: Run, camera: Path | None, audio: Path | None) -> Iterator[Prediction]:
    none = True
    for prediction in run:
        none = False
        yield prediction
    if none:
        raise InputError(_why_none(run.model.manifest, camera, audio))


def _why_none(manifest: Manifest, camera: Path | None, audio: Path | None) -> str:
    """What was missing; the recordings are read once more for their lengths."""
    needed, rate_hz = [], None
    for name, port in manifest.ports.items():
        if port.audio:
            rate_hz = port.audio.rate_hz
            needed.append(f"{port.audio.window_samples / rate_hz:.2f} s of sound ({name})")
        if port.camera:
            needed.append(f"{port.camera.frames} picture(s) ({name})")
    lengths = []
    for kind, source in open_file_sources(camera, audio, audio_rate_hz=rate_hz).items():
        end_ns = 0
        with closing(source), suppress(ShortSourceError):
            for packet in source:
                end_ns = packet.available_ns
        lengths.append(f"{kind} until {end_ns / NS:.2f} s")
    return f"no decision: {', '.join(lengths)}; the first one needs {', '.join(needed)} and then a tick"


@contextmanager
def _lines_to(path: Path) -> Iterator[IO[str]]:
    """A file that takes its name at the end, also when a recording broke off; or standard output, a pipe, a device."""
    if str(path) == "-":
        yield sys.stdout
        return
    aside = not path.exists() or path.is_file()
    draft = path.with_name(f".{path.name}.{os.getpid()}") if aside else path
    try:
        with draft.open("x" if aside else "w", encoding="utf-8") as lines:
            try:
                yield lines
            except ShortSourceError:
                lines.close()
                if aside:
                    draft.replace(path)
                raise
        if aside:
            draft.replace(path)
    except OSError as error:
        if isinstance(error, MmedgeError) or error.filename not in {None, str(draft)}:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        if aside:
            draft.unlink(missing_ok=True)


def _print_changes(predictions: Iterable[Prediction], manifest: Manifest) -> None:
    """A line whenever a label changes, and at least one a second."""
    shown: tuple[object, int] = (None, -NS)
    for prediction in predictions:
        if prediction.labels == shown[0] and prediction.t_ns - shown[1] < NS:
            continue
        shown = (prediction.labels, prediction.t_ns)
        values = [
            describe(name, prediction.outputs[name], output, prediction.labels.get(name))
            for name, output in manifest.outputs.items()
            if name in prediction.outputs
        ]
        ages = ", ".join(f"{port} {age:.0f} ms" for port, age in prediction.age_ms.items() if isfinite(age))
        wrong = f"  [{'; '.join(prediction.degraded)}]" if prediction.degraded else ""
        click.echo(f"{prediction.t_ns / NS:8.2f} s  {'  '.join(values) or 'no answer'}  [age {ages}]{wrong}")


def _print_end(run: Run) -> None:
    work = sum(run.stream.work_ns.values()) / 1e6
    runs = ", ".join(f"{stage} {count}" for stage, count in run.stream.runs.items())
    click.echo(f"runs: {runs}; {work:.0f} ms of model work", err=True)
    for port, counts in run.stream.counters.items():
        if any(counts.values()):
            click.echo(f"{port}: " + ", ".join(f"{count} {what}" for what, count in counts.items() if count), err=True)
    for note in run.notes:
        click.echo(f"note: {note}", err=True)
