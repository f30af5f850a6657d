"""A model on recordings, from opening to the last prediction."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmedge.errors import InputError
from mmedge.model import Model, load
from mmedge.sources import Replay, open_file_sources
from mmedge.stream import Stream
from mmedge.types import NS, AudioChunk, Packet, Prediction

__all__ = ["Run", "open_run", "run"]

CHUNK_MS = 10  # what a microphone gives at a time; decisions do not depend on it


class Run:
    """Predictions of a model on recordings; an iterator and a context manager.

    Attributes:
        model: The model.
        stream: Its stream, with counters and stage times.
    """

    def __init__(self, model: Model, stream: Stream, replay: Replay) -> None:
        self.model = model
        self.stream = stream
        self._replay = replay

    @property
    def notes(self) -> list[str]:
        """What was resampled, skipped or short; complete when the end is reached."""
        return self._replay.notes

    def __iter__(self) -> Iterator[Prediction]:
        hears = any(port.audio for port in self.model.manifest.ports.values())
        for port, packet in cut_at_pictures(self._replay) if hears else self._replay:
            self.stream.push(packet, port=port)
            yield from self.stream.poll()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close stream and recordings."""
        self.stream.close()
        self._replay.close()


def cut_at_pictures(pairs: Iterable[tuple[str, Packet]]) -> Iterator[tuple[str, Packet]]:
    """Cut chunks of sound where pictures come, so that no decision sees a picture from its future.

    Args:
        pairs: Packets of one microphone and any number of other sensors, ordered by ``available_ns``.
    """
    waiting: list[tuple[str, Packet]] = []
    for port, packet in pairs:
        if not isinstance(packet, AudioChunk):
            waiting.append((port, packet))
            continue
        samples, t_ns, rate_hz = packet.samples, packet.t_ns, packet.rate_hz
        done = 0
        for other in waiting:
            before = (other[1].available_ns - t_ns - 1) * rate_hz // NS  # a tick at its very time shall see it
            count = min(len(samples), max(done, before))
            if count > done:
                yield port, AudioChunk(samples=samples[done:count], t_ns=t_ns + done * NS // rate_hz, rate_hz=rate_hz)
            done = count
            yield other
        waiting.clear()
        if done < len(samples):
            yield port, AudioChunk(samples=samples[done:], t_ns=t_ns + done * NS // rate_hz, rate_hz=rate_hz)
    yield from waiting


def open_run(
    model: Model,
    *,
    camera: str | Path | None = None,
    audio: str | Path | None = None,
    tick: str | None = None,
    allow_short: bool = False,
    stream: Mapping[str, Any] | None = None,
) -> Run:
    """Open recordings for a loaded model.

    Args:
        model: With at most one camera and one audio port, and states; what else it needs cannot come from a recording.
        camera: A video file.
        audio: A sound file; by default the WAV beside the video, or the video's own sound.
        tick: See :meth:`mmedge.Model.stream`.
        allow_short: Stop where the shorter recording ends, instead of raising.
        stream: What else :meth:`mmedge.Model.stream` shall be told, such as policies.

    Raises:
        InputError: The model needs a sensor that was not given, or has several of a kind.
        SourceError: A recording cannot be read.
    """
    ports = model.manifest.ports
    by_modality: dict[str, str] = {}
    for name, port in ports.items():
        if port.state:
            continue
        if port.tensor or port.text:
            raise InputError(f"no recording gives {name} ({port.modality}); push to the model's stream() instead")
        if port.modality in by_modality:
            raise InputError(f"the model has several {port.modality} ports; push to its stream() port by port instead")
        by_modality[port.modality] = name
    if "camera" in by_modality and camera is None:
        raise InputError(f"the model sees (port {by_modality['camera']}); give camera, e.g. clip.mp4")
    if "camera" not in by_modality and camera is not None:
        raise InputError(f"the model has no camera port, but {camera} was given; leave it out")
    rate_hz = next((port.audio.rate_hz for port in ports.values() if port.audio), None)
    opened = model.stream(tick, **(stream or {}))
    sources = open_file_sources(camera, audio, audio_rate_hz=rate_hz, chunk_ms=CHUNK_MS)
    replay = Replay({by_modality[kind]: source for kind, source in sources.items()}, allow_short=allow_short)
    return Run(model, opened, replay)


def run(
    bundle: str | Path,
    *,
    camera: str | Path | None = None,
    audio: str | Path | None = None,
    tick: str | None = None,
    allow_short: bool = False,
) -> Iterator[Prediction]:
    """Load a bundle and yield its predictions on recordings, in media time, as fast as they come.

    Args:
        bundle: The folder that ``mmedge export`` made.
        camera: See :func:`open_run`, as the others.
        audio: A sound file.
        tick: When to decide.
        allow_short: Stop where the shorter recording ends.

    Raises:
        BundleError: The bundle cannot be used.
        InputError: The model needs a sensor that was not given.
        SourceError: A recording cannot be read, or ends early (after the predictions up to there).
    """
    with (
        load(bundle) as model,
        open_run(model, camera=camera, audio=audio, tick=tick, allow_short=allow_short) as opened,
    ):
        yield from opened
