"""``mmedge run``."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from math import isfinite
from pathlib import Path
from typing import Any

import click

from mmedge.commands.decision_lines import lines_to, refuse_to_overwrite, to_json_line
from mmedge.commands.live_console import counted, stopped_by_signals, telling
from mmedge.commands.policy_options import parse_numbers, parse_policies
from mmedge.commands.shadowing import Shadow, shadow_options
from mmedge.commands.watching import logged, metered, tell_sensor, viewed, watch_options
from mmedge.errors import InputError, ShortSourceError
from mmedge.live import LiveRun
from mmedge.manifest import Output
from mmedge.model import load
from mmedge.replay import Run
from mmedge.running import open_run
from mmedge.sources import LiveSource, open_sources
from mmedge.types import NS, Array, Prediction

__all__ = ["describe", "run_command"]

LARGE = 1e6
SHOWN_VALUES = 3  # of a vector, on a line for people


@click.command("run", short_help="Decisions on live sensors or on a recording.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--camera", metavar="SRC", help="A video file, camera://0, rtsp://..., gst:..., synthetic:// ...")
@click.option(
    "--audio", metavar="SRC", help="A sound file, mic://default ...; else the WAV beside the video, or its sound."
)
@click.option("--recording", type=click.Path(path_type=Path), help="A folder that mmedge record has made, instead.")
@click.option("--record", type=click.Path(path_type=Path), help="Write down what live sensors give, in a new folder.")
@click.option("--compress", is_flag=True, help="Record pictures as PNG, without loss; some milliseconds of work each.")
@click.option(
    "--sync", type=click.Path(path_type=Path), help="What mmedge sync has written about camera and microphone."
)
@click.option("--tick", help="audio, camera, tensor, any, or a rate such as 50hz; by default audio.")
@click.option(
    "--jsonl", type=click.Path(path_type=Path), help="Write every decision here as a JSON line; - for stdout."
)
@click.option("--variant", default="auto", show_default=True, help="Which set of graphs; mmedge inspect lists them.")
@click.option("--policy", multiple=True, help="While a sensor is missing: sound=hold,mean,abstain; may be repeated.")
@click.option("--max-age", multiple=True, help="When it is missing: sound=300, in milliseconds; may be repeated.")
@click.option("--weight", multiple=True, help="Turn a sensor down, in a head with gates: sound=0.5; may be repeated.")
@click.option("--attribution", type=int, help="Say of every n-th decision how much each sensor contributed (JSON).")
@click.option("--allow-short", is_flag=True, help="Stop where the shorter recording ends.")
@shadow_options
@watch_options
def run_command(bundle: Path, jsonl: Path | None, variant: str, **options: Any) -> None:
    """Run BUNDLE on sensors in real time, or on a recording in its own, and print what it decides.

    Live sensors run until Ctrl-C; docs/sensors.md lists what SRC can be.
    """
    given = [options["camera"], options["audio"]]
    if jsonl is not None:
        refuse_to_overwrite(jsonl, [Path(p.removeprefix("paced:")) for p in given if p and "://" not in p])
    stream = {
        "policies": parse_policies(options.pop("policy")),
        "max_age_ms": parse_numbers(options.pop("max_age"), "--max-age", "sound=300, in milliseconds") or None,
        "attribution": options.pop("attribution"),
    }
    weights = parse_numbers(options.pop("weight"), "--weight", "sound=0.5")
    shadow, shadow_variant, switch_at = (options.pop(name) for name in ("shadow", "shadow_variant", "switch_at"))
    if shadow is None and (switch_at is not None or shadow_variant != "auto"):
        raise InputError("--switch-at and --shadow-variant are of a second bundle; give it too: --shadow NEW.mmedge")
    log, metrics, view, view_host = (options.pop(name) for name in ("log", "metrics", "view", "view_host"))
    with ExitStack() as stack:
        stack.enter_context(logged(log))
        model = stack.enter_context(load(bundle, variant=variant))
        other = None if shadow is None else stack.enter_context(load(shadow, variant=shadow_variant))
        run: Run | LiveRun = open_run(model, stream=stream, **options)
        stack.callback(run.close)
        if weights:
            run.stream.reweight(weights)
        beside = None if other is None else stack.enter_context(Shadow(run, other, switch_at))
        if isinstance(run, LiveRun):
            stack.enter_context(stopped_by_signals(run.stop))
            stack.enter_context(telling(run.arrivals, tell_sensor if log else None))
        stack.enter_context(metered(run, metrics))
        stack.enter_context(viewed(run, view, view_host))
        predictions = _one_or_more(beside.watch(run) if beside else run, run, *given)
        outputs = {each.id: each.manifest.outputs for each in (model, other or model)}
        if jsonl is None:
            _print_changes(predictions, outputs, run)
        else:
            with lines_to(jsonl, live=isinstance(run, LiveRun)) as write:
                for prediction in predictions:
                    write(to_json_line(prediction, outputs[prediction.model]))
        run.close()
        _print_end(run)
        if beside is not None:
            beside.tell()


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


def _one_or_more(
    predictions: Iterable[Prediction], run: Run | LiveRun, camera: str | None, audio: str | None
) -> Iterator[Prediction]:
    none = True
    for prediction in predictions:
        none = False
        yield prediction
    if none:
        raise InputError(_why_none(run, camera, audio))


def _why_none(run: Run | LiveRun, camera: str | None, audio: str | None) -> str:
    """What was missing; recordings are read once more for their lengths."""
    needed, rate_hz = [], None
    for name, port in run.model.manifest.ports.items():
        if port.audio:
            rate_hz = port.audio.rate_hz
            needed.append(f"{port.audio.window_samples / rate_hz:.2f} s of sound ({name})")
        if port.camera:
            needed.append(f"{port.camera.frames} picture(s) ({name})")
    if isinstance(run, LiveRun):
        given = [f"{port} {s.state}, {s.counts.get('packets', 0)} packets" for port, s in run.status.items()]
    elif camera is None and audio is None:
        given = ["the recording is too short"]
    else:
        given = _lengths(camera, audio, rate_hz)
    return f"no decision: {', '.join(given)}; the first one needs {', '.join(needed)} and then a tick"


def _lengths(camera: str | None, audio: str | None, rate_hz: int | None) -> list[str]:
    lengths = []
    for kind, source in open_sources(camera, audio, audio_rate_hz=rate_hz).items():
        end_ns = 0
        with closing(source), suppress(ShortSourceError):
            for packet in source if not isinstance(source, LiveSource) else ():
                end_ns = packet.available_ns
        lengths.append(f"{kind} until {end_ns / NS:.2f} s")
    return lengths


def _print_changes(
    predictions: Iterable[Prediction], described: Mapping[str, Mapping[str, Output]], run: Run | LiveRun
) -> None:
    """A line whenever a label changes, and at least one a second; times begin with the first packet."""
    shown: tuple[object, int] = (None, -NS)
    for prediction in predictions:
        if prediction.labels == shown[0] and prediction.t_ns - shown[1] < NS:
            continue
        shown = (prediction.labels, prediction.t_ns)
        values = [
            describe(name, prediction.outputs[name], output, prediction.labels.get(name))
            for name, output in described[prediction.model].items()
            if name in prediction.outputs
        ]
        ages = ", ".join(f"{port} {age:.0f} ms" for port, age in prediction.age_ms.items() if isfinite(age))
        wrong = f"  [{'; '.join(prediction.degraded)}]" if prediction.degraded else ""
        at_s = (prediction.t_ns - run.begin_ns) / NS
        click.echo(f"{at_s:8.2f} s  {'  '.join(values) or 'no answer'}  [age {ages}]{wrong}")


def _print_end(run: Run | LiveRun) -> None:
    work = sum(run.stream.work_ns.values()) / 1e6
    runs = ", ".join(f"{stage} {count}" for stage, count in run.stream.runs.items())
    click.echo(f"runs: {runs}; {work:.0f} ms of model work", err=True)
    counters = run.counters if isinstance(run, LiveRun) else run.stream.counters
    for line in counted(counters):
        click.echo(line, err=True)
    for note in run.notes:
        click.echo(f"note: {note}", err=True)
