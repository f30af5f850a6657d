"""From the names of sensors or recordings to decisions."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from mmedge.errors import InputError
from mmedge.live import LiveRun
from mmedge.model import Model, load
from mmedge.replay import Run
from mmedge.sources import Given, LiveSource, Modality, Replay, TapeReader, TapeWriter, Track, open_sources
from mmedge.stream import Stream
from mmedge.sync import SYNC_NAME, Sync, read_sync, write_sync
from mmedge.types import Packet, Prediction

__all__ = ["open_run", "run"]

CHUNK_MS = 10  # what a microphone gives at a time; decisions do not depend on it


def open_run(  # noqa: PLR0913 - these are the options of mmedge run
    model: Model,
    *,
    camera: Given | None = None,
    audio: Given | None = None,
    recording: str | Path | None = None,
    tick: str | None = None,
    allow_short: bool = False,
    record: str | Path | None = None,
    compress: bool = False,
    sync: str | Path | None = None,
    stream: Mapping[str, Any] | None = None,
) -> Run | LiveRun:
    """Open sensors or recordings for a loaded model.

    Args:
        model: With at most one camera and one audio port, and states; what else it needs cannot come from here.
        camera: A path, a URI, packets or a source; see :func:`mmedge.sources.open_source`.
        audio: The same; by default the WAV beside the video, or the video's own sound.
        recording: Instead of both, a folder that ``mmedge record`` has made; its packets are pushed as they came.
        tick: See :meth:`mmedge.Model.stream`.
        allow_short: Stop where the shorter recording ends, instead of raising.
        record: A new folder to write down what live sensors give.
        compress: Record pictures as PNG: smaller without loss, for some milliseconds of work each.
        sync: What ``mmedge sync`` has written. A folder of a recording holds its own, which is used by default.
        stream: What else :meth:`mmedge.Model.stream` shall be told, such as policies.

    Raises:
        InputError: The model needs a sensor that was not given, or has several of a kind; or the options do not fit.
        SourceError: A recording cannot be read.
    """
    ports = _sensor_ports(model)
    if compress and record is None:
        raise InputError("compress is about a recording, and none is made; give record, e.g. --record FOLDER")
    open_stream = partial(model.stream, tick, **(stream or {}))
    if recording is not None:
        if not isinstance(recording, str | Path):
            raise InputError(f"a recording is given by its folder, not by {type(recording).__name__}")
        if camera is not None or audio is not None or record is not None:
            raise InputError("a recording holds what every sensor gave; leave out camera, audio and record")
        return _open_tape(model, ports, Path(recording), open_stream, sync, allow_short=allow_short)
    if "camera" in ports and camera is None:
        raise InputError(f"the model sees (port {ports['camera']}); give camera, e.g. clip.mp4 or camera://0")
    if "camera" not in ports and camera is not None:
        raise InputError(f"the model has no camera port, but {camera} was given; leave it out")
    rate_hz = next((port.audio.rate_hz for port in model.manifest.ports.values() if port.audio), None)
    apart = None if sync is None else read_sync(sync)
    sources = open_sources(camera, audio, audio_rate_hz=rate_hz, chunk_ms=CHUNK_MS)
    with ExitStack() as undo:
        for source in sources.values():
            undo.callback(source.close)
        live = {ports[kind]: source for kind, source in sources.items() if isinstance(source, LiveSource)}
        still = {ports[kind]: source for kind, source in sources.items() if not isinstance(source, LiveSource)}
        if live:
            apart = apart and apart.of_live_sensors()
            opened = open_stream(live=True)
            undo.callback(opened.close)
            tape = None if record is None else undo.enter_context(_new_tape(record, live, apart, compress=compress))
            run: Run | LiveRun = LiveRun(model, opened, live, tape=tape, sync=apart)
        else:
            if record is not None:
                raise InputError("what is given is a recording already; play it in real time to record it: paced:...")
            run = Run(model, open_stream(), Replay(still, allow_short=allow_short), sync=apart)
        undo.pop_all()
    return run


def run(  # noqa: PLR0913 - these are the options of mmedge run
    bundle: str | Path,
    *,
    camera: Given | None = None,
    audio: Given | None = None,
    recording: str | Path | None = None,
    tick: str | None = None,
    allow_short: bool = False,
    record: str | Path | None = None,
    compress: bool = False,
    sync: str | Path | None = None,
) -> Iterator[Prediction]:
    """Load a bundle and yield its predictions: on live sensors as they happen, on recordings as fast as they come.

    Args:
        bundle: The folder that ``mmedge export`` made.
        camera: See :func:`open_run`, as the others.
        audio: What is heard.
        recording: A folder that ``mmedge record`` has made.
        tick: When to decide.
        allow_short: Stop where the shorter recording ends.
        record: A new folder to write down what live sensors give.
        compress: Record pictures as PNG: smaller without loss, for some milliseconds of work each.
        sync: What ``mmedge sync`` has written.

    Raises:
        BundleError: The bundle cannot be used.
        InputError: The model needs a sensor that was not given.
        SourceError: A recording cannot be read, or ends early (after the predictions up to there).
    """
    with (
        load(bundle) as model,
        open_run(
            model,
            camera=camera,
            audio=audio,
            recording=recording,
            tick=tick,
            allow_short=allow_short,
            record=record,
            compress=compress,
            sync=sync,
        ) as opened,
    ):
        yield from opened


def _sensor_ports(model: Model) -> dict[Modality, str]:
    """The port of each kind of sensor."""
    found: dict[Modality, str] = {}
    for name, port in model.manifest.ports.items():
        if port.state:
            continue
        if port.tensor or port.text:
            raise InputError(f"no recording gives {name} ({port.modality}); push to the model's stream() instead")
        modality: Modality = "camera" if port.camera else "audio"
        if modality in found:
            raise InputError(f"the model has several {modality} ports; push to its stream() port by port instead")
        found[modality] = name
    return found


def _new_tape(folder: str | Path, live: Mapping[str, LiveSource], apart: Sync | None, *, compress: bool) -> TapeWriter:
    tracks = {port: Track(modality=source.modality, source=source.name) for port, source in live.items()}
    tape = TapeWriter(folder, tracks, compress=compress)
    if apart is not None:
        write_sync(apart, tape.folder / SYNC_NAME)
    return tape


def _open_tape(
    model: Model,
    ports: dict[Modality, str],
    folder: Path,
    open_stream: Callable[[], Stream],
    sync: str | Path | None,
    *,
    allow_short: bool,
) -> Run:
    """A run on what was recorded, its tracks given to the ports of their kind."""
    own = folder / SYNC_NAME
    apart = read_sync(sync) if sync is not None else read_sync(own) if own.exists() else None
    tape = TapeReader(folder, allow_short=allow_short)
    renamed: dict[str, str] = {}
    for name, track in tape.tracks.items():
        if track.modality in ports and ports[track.modality] not in renamed.values():
            renamed[name] = ports[track.modality]
    missing = [kind for kind, port in ports.items() if port not in renamed.values()]
    if missing:
        tape.close()
        held = ", ".join(track.modality for track in tape.tracks.values())
        raise InputError(f"the model needs {missing[0]} (port {ports[missing[0]]}); {folder} holds {held}")
    return Run(model, open_stream(), _Renamed(tape, renamed), sync=apart, as_it_came=True)


class _Renamed:
    """A tape whose tracks are called as the ports of a model are; tracks that the model does not need are left out."""

    def __init__(self, tape: TapeReader, names: dict[str, str]) -> None:
        self._tape, self._names = tape, names

    @property
    def notes(self) -> list[str]:
        return self._tape.notes

    def __iter__(self) -> Iterator[tuple[str, Packet]]:
        return ((self._names[name], packet) for name, packet in self._tape if name in self._names)

    def close(self) -> None:
        self._tape.close()
