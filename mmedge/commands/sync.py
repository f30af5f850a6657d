"""``mmedge sync``."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Timer

import click

from mmedge.claps import measure_sync
from mmedge.commands.live_console import stopped_by_signals, telling
from mmedge.console import as_json
from mmedge.errors import InputError
from mmedge.sources import Arrivals, LiveSource, Replay, TapeReader, is_tape, open_sources
from mmedge.sync import SYNC_NAME, Sync, write_sync
from mmedge.types import Packet

__all__ = ["sync_command"]

OWN_RATE = 0


@click.command("sync", short_help="How far camera and microphone are apart, from claps or flashes.")
@click.argument("recording", required=False)
@click.option("--camera", metavar="SRC", help="Instead of RECORDING, a live camera or a file of its own.")
@click.option("--audio", metavar="SRC", help="Instead of RECORDING, a live microphone or a file of its own.")
@click.option("--seconds", type=click.FloatRange(min=1), default=30, help="How long to listen to live sensors.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write it, for mmedge run --sync.")
@click.option("--json", "json_output", is_flag=True, help="Print it as JSON.")
def sync_command(
    recording: str | None,
    camera: str | None,
    audio: str | None,
    seconds: float,
    output: Path | None,
    *,
    json_output: bool,
) -> None:
    """Measure the offset and drift of the microphone's times against the camera's.

    RECORDING is a video with sound, or a folder of mmedge record, where the result is kept for mmedge run. In it,
    somebody claps or flashes a lamp with a beep, at least three times, at uneven intervals.
    """
    if recording is not None and is_tape(recording) and output is None:
        output = Path(recording) / SYNC_NAME
    with _opened(recording, camera, audio, seconds) as pairs:
        sync = measure_sync(pairs)
    if output is not None:
        write_sync(sync, output)
    click.echo(as_json(sync) if json_output else "\n".join(_told(sync)))
    if output is not None and not json_output:
        click.echo(f"wrote {output}")


@contextmanager
def _opened(
    recording: str | None, camera: str | None, audio: str | None, seconds: float
) -> Iterator[Iterator[tuple[str, Packet]]]:
    if (recording is None) == (camera is None):
        raise InputError("give a recording with pictures and sound, or --camera and --audio")
    if recording is not None and is_tape(recording):
        with TapeReader(recording) as tape:
            yield tape
        return
    sources = open_sources(recording or camera, audio, audio_rate_hz=OWN_RATE)
    live = {str(kind): source for kind, source in sources.items() if isinstance(source, LiveSource)}
    still = {str(kind): source for kind, source in sources.items() if not isinstance(source, LiveSource)}
    if still:
        with Replay(still, allow_short=True) as replay:
            yield replay
        return
    with ExitStack() as stack:
        arrivals = stack.enter_context(Arrivals(live))
        stack.enter_context(stopped_by_signals(arrivals.stop))
        stack.enter_context(telling(arrivals))
        timer = Timer(seconds, arrivals.stop)
        timer.start()
        stack.callback(timer.cancel)
        yield arrivals


def _told(sync: Sync) -> list[str]:
    side = "later" if sync.offset_ms >= 0 else "earlier"
    within = f"within {2 * sync.offset_error_ms:.1f} ms, from {sync.claps} claps"
    lines = [f"sound is stamped {abs(sync.offset_ms):.1f} ms {side} than its picture, {within}"]
    if sync.drift_ppm is None:
        lines.append("drift: the claps are too few or too close together to tell")
    else:
        lines.append(f"drift: {sync.drift_ppm:+.1f} ppm, within {2 * (sync.drift_error_ppm or 0):.1f} ppm")
    return lines
