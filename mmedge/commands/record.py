"""``mmedge record``."""

from contextlib import ExitStack
from pathlib import Path
from threading import Timer
from typing import Any

import click

from mmedge.bundle import open_bundle
from mmedge.commands.live_console import counted, stopped_by_signals, telling
from mmedge.errors import InputError
from mmedge.sources import Arrivals, LiveSource, Recorder, TapeWriter, Track, open_sources

__all__ = ["record_command"]

RATE_HZ = 16000


@click.command("record", short_help="Write down what live sensors give, to be run again bit for bit.")
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option("--camera", metavar="SRC", help="camera://0, rtsp://..., gst:..., paced:clip.mp4 ...")
@click.option("--audio", metavar="SRC", help="mic://default, paced:clip.wav ...")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="A new folder.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Stop by itself; else by Ctrl-C.")
@click.option("--audio-rate", type=click.IntRange(min=1), help="Samples per second; else BUNDLE's, else 16000.")
@click.option("--compress", is_flag=True, help="Pictures as PNG, without loss; some milliseconds of work each.")
def record_command(bundle: Path | None, output: Path, seconds: float | None, **options: Any) -> int:
    """Record live sensors into a folder; then: mmedge run BUNDLE --recording FOLDER.

    BUNDLE is only asked for the rate of its sound. Ends with status 1 if a sensor never gave anything.
    """
    if options["camera"] is None and options["audio"] is None:
        raise InputError("nothing to record; give --camera, --audio or both, e.g. --camera camera://0")
    rate_hz = _rate(bundle, options["audio"], options["audio_rate"])
    sources = open_sources(options["camera"], options["audio"], audio_rate_hz=rate_hz)
    with ExitStack() as stack:
        for source in sources.values():
            stack.callback(source.close)
        live = {str(kind): source for kind, source in sources.items() if isinstance(source, LiveSource)}
        if not live:
            raise InputError("what is given is a recording already; play it in real time to record it: paced:...")
        tracks = {port: Track(modality=source.modality, source=source.name) for port, source in live.items()}
        tape = stack.enter_context(TapeWriter(output, tracks, compress=options["compress"]))
        recorder = Recorder(tape)
        stack.callback(recorder.close)
        arrivals = stack.enter_context(Arrivals(live))
        stack.enter_context(stopped_by_signals(arrivals.stop))
        stack.enter_context(telling(arrivals))
        if seconds is not None:
            timer = Timer(seconds, arrivals.stop)
            timer.start()
            stack.callback(timer.cancel)
        for port, packet in arrivals:
            recorder.write_events(arrivals.events)
            recorder.write(port, packet)
        arrivals.close()
        recorder.close(arrivals.counters)
    click.echo(f"{output}: {tape.written / 1e6:.1f} MB", err=True)
    for line in (*counted(arrivals.counters), *(f"note: {note}" for note in arrivals.notes)):
        click.echo(line, err=True)
    for port, left_out in recorder.unrecorded.items():
        click.echo(f"note: {port}: {left_out} packets were left out, as the recorder was too slow", err=True)
    return 0 if all(counts.get("packets") for counts in arrivals.counters.values()) else 1


def _rate(bundle: Path | None, audio: str | None, given_hz: int | None) -> int | None:
    """The rate of the sound, None where none is wanted."""
    if given_hz is not None:
        return given_hz
    if bundle is not None:
        ports = open_bundle(bundle).manifest.ports.values()
        return next((port.audio.rate_hz for port in ports if port.audio), None)
    return None if audio is None else RATE_HZ
