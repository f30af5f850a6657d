"""A source from its name: the same on the command line and in Python."""

from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, get_args

from mmedge.errors import InputError
from mmedge.sources.arrays import from_packets
from mmedge.sources.camera import open_camera, open_network_camera
from mmedge.sources.gstreamer import open_gstreamer
from mmedge.sources.images import open_images
from mmedge.sources.live import LiveSource, Modality
from mmedge.sources.microphone import open_microphone
from mmedge.sources.paced import paced
from mmedge.sources.pairing import open_file_sources, open_sound_file
from mmedge.sources.replay import Source
from mmedge.sources.synthetic import synthetic_camera, synthetic_sound
from mmedge.sources.uri import NETWORK, SourceUri, parse_uri
from mmedge.sources.video import open_video
from mmedge.types import whole_number

__all__ = ["Given", "open_source", "open_sources"]

SCENE = ("seconds", "seed", "rate_hz", "width", "height")  # options of what is made up
Given = str | Path | Iterable[Any] | LiveSource
"""What a sensor may be given as: a path, a URI, packets or (array, t_ns) pairs, or a source."""


def open_source(
    given: Given, modality: Modality, *, rate_hz: int | None = None, chunk_ms: int = 10
) -> Source | LiveSource:
    """Open one sensor or recording by its name.

    Args:
        given: A path, ``scheme://target?option=value``, or packets from Python; docs/sensors.md lists every scheme.
        modality: What is wanted of it: "camera" or "audio".
        rate_hz: Samples per second of sound; None or 0 keeps a recording's own, and asks a microphone for 16000.
        chunk_ms: Length of a chunk of sound.

    Raises:
        InputError: The name is not understood, or does not give what is wanted.
        MissingLibraryError: A library is missing for it.
        SourceError: A recording cannot be opened. A device that is not there is waited for instead.
    """
    if modality not in get_args(Modality):
        raise InputError(f"modality is {modality!r}; expected one of {', '.join(get_args(Modality))}")
    rate_hz = None if rate_hz is None else whole_number(rate_hz, "rate_hz", 0)
    chunk_ms = whole_number(chunk_ms, "chunk_ms", 1)
    if isinstance(given, LiveSource):
        if given.modality != modality:
            raise InputError(f"{given.name} gives {given.modality}, expected {modality}")
        return given
    if not isinstance(given, str | Path):
        return _recorded(given, modality, rate_hz)
    uri = parse_uri(given)
    if uri.scheme == "paced":
        source = open_source(uri.target, modality, rate_hz=rate_hz, chunk_ms=chunk_ms)
        if isinstance(source, LiveSource):
            raise InputError(f"{given} is live already; leave out paced:")
        return paced(source, modality)
    return _open_camera(uri) if modality == "camera" else _open_sound(uri, rate_hz, chunk_ms)


def open_sources(
    camera: Given | None, audio: Given | None, *, audio_rate_hz: int | None, chunk_ms: int = 10
) -> dict[Modality, Source] | dict[Modality, LiveSource]:
    """Open what a model needs, as ``{"camera": ..., "audio": ...}`` less what it does not need.

    Of a video file, the sound is found by itself: the WAV beside it, or its own. Either all are recordings, or all are
    live; a recording beside a live sensor is played in real time by ``paced:``.

    Args:
        camera: See `open_source`; None for a model without a camera.
        audio: See `open_source`; None for a model without sound, or to find that of the video.
        audio_rate_hz: The rate that the model expects, 0 for the source's own, None for a model without sound.
        chunk_ms: Length of a chunk of sound.

    Raises:
        InputError: As `open_source`; or sound is not wanted, or is not given; or recordings and live sensors are mixed.
        MissingLibraryError: As `open_source`.
        SourceError: As `open_source`.
    """
    if audio_rate_hz is None and audio is not None:
        raise InputError(f"the model has no audio input, but {audio} was given; leave it out")
    if audio is None and audio_rate_hz is not None and isinstance(camera, str):
        scene = camera.removeprefix("paced:").partition("?")
        audio = camera if scene[0] == "synthetic://" else None
    paths, in_real_time = _files(camera, audio)
    if paths is not None:
        files = open_file_sources(*paths, audio_rate_hz=audio_rate_hz, chunk_ms=chunk_ms)
        recorded: dict[Modality, Source] = {kind: files[kind] for kind in ("camera", "audio") if kind in files}
        if not in_real_time:
            return recorded
        return {modality: paced(source, modality) for modality, source in recorded.items()}
    if audio_rate_hz is not None and audio is None:
        raise InputError("the model hears; give audio, e.g. mic://default, or a sound file")
    opened: dict[Modality, Source | LiveSource] = {}
    with ExitStack() as undo:
        if camera is not None:
            opened["camera"] = undo.enter_context(closing(open_source(camera, "camera")))
        if audio is not None:
            opened["audio"] = undo.enter_context(
                closing(open_source(audio, "audio", rate_hz=audio_rate_hz, chunk_ms=chunk_ms))
            )
        live = {kind: source for kind, source in opened.items() if isinstance(source, LiveSource)}
        still = {kind: source for kind, source in opened.items() if not isinstance(source, LiveSource)}
        if live and still:
            (kind, source), *_ = still.items()
            raise InputError(
                f"{source.name} is a recording and {next(iter(live.values())).name} is live; "
                f"play the recording in real time: --{kind} paced:..."
            )
        undo.pop_all()
    return live or still


def _files(camera: Given | None, audio: Given | None) -> tuple[tuple[str | None, str | None], bool] | tuple[None, bool]:
    """The paths, where both are files or the one is; and whether they are played in real time."""
    paths: list[str | None] = []
    in_real_time = set()
    for given in (camera, audio):
        if given is None:
            paths.append(None)
            continue
        if not isinstance(given, str | Path):
            return None, False
        uri = parse_uri(given)
        in_real_time.add(uri.scheme == "paced")
        if uri.scheme == "paced":
            uri = parse_uri(uri.target)
        if uri.scheme != "file" or Path(uri.target).is_dir():
            return None, False
        paths.append(uri.target)
    if len(in_real_time) != 1:
        return None, False
    return (paths[0], paths[1]), in_real_time.pop()


def _open_camera(uri: SourceUri) -> Source | LiveSource:
    if uri.scheme == "camera":
        uri.only("width", "height", "rate_hz", "fourcc")
        rate_hz = uri.number("rate_hz", 0) if "rate_hz" in uri.options else None
        return open_camera(
            uri.target or 0,
            width_px=uri.integer("width"),
            height_px=uri.integer("height"),
            rate_hz=rate_hz,
            fourcc=uri.options.get("fourcc"),
        )
    if uri.scheme in NETWORK:
        return open_network_camera(uri.target)
    if uri.scheme == "gst":
        return open_gstreamer(uri.target)
    if uri.scheme == "images" or (uri.scheme == "file" and Path(uri.target).is_dir()):
        uri.only("rate_hz")
        return open_images(uri.target, rate_hz=uri.number("rate_hz", 0) if "rate_hz" in uri.options else None)
    if uri.scheme == "synthetic":
        uri.only(*SCENE)
        return synthetic_camera(
            seconds=uri.number("seconds", 10),
            seed=uri.integer("seed", 1) or 1,
            rate_hz=uri.number("rate_hz", 15),
            width_px=uri.integer("width", 320) or 320,
            height_px=uri.integer("height", 240) or 240,
        )
    if uri.scheme == "file":
        return open_video(uri.target)
    raise InputError(f"{uri.scheme}: gives no pictures; expected e.g. camera://0 or a video file")


def _open_sound(uri: SourceUri, rate_hz: int | None, chunk_ms: int) -> Source | LiveSource:
    if uri.scheme == "mic":
        uri.only("latency")
        device = None if uri.target in {"", "default"} else uri.target
        latency = uri.options.get("latency", "low")
        return open_microphone(
            int(device) if device and device.isdecimal() else device,
            rate_hz or 16000,
            latency=latency if latency in {"low", "high"} else uri.number("latency", 0.1),
        )
    if uri.scheme == "synthetic":
        uri.only(*SCENE)  # of which those of its pictures change nothing
        seconds, seed = uri.number("seconds", 10), uri.integer("seed", 1) or 1
        return synthetic_sound(seconds=seconds, seed=seed, rate_hz=rate_hz or 16000, chunk_ms=chunk_ms)
    if uri.scheme == "file":
        return open_sound_file(uri.target, rate_hz, chunk_ms)
    raise InputError(f"{uri.scheme}: gives no sound; expected e.g. mic://default or a sound file")


def _recorded(given: Any, modality: Modality, rate_hz: int | None) -> Source:
    if hasattr(given, "notes") and hasattr(given, "close"):
        source: Source = given
        return source
    if not hasattr(given, "__iter__"):
        raise InputError(f"{modality} is a {type(given).__name__}; expected a path, a URI or an iterable of packets")
    return from_packets(given, modality, rate_hz=rate_hz)
