"""What names a source: a path, or ``scheme://target?option=value``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from mmedge.errors import InputError

__all__ = ["SCHEMES", "SourceUri", "parse_uri"]

SCHEMES = {
    "file": "a recording: file://PATH, or the path alone",
    "paced": "a recording played in real time: paced:clip.mp4",
    "images": "a folder of pictures: images:FOLDER?rate_hz=10",
    "synthetic": "a scene that is made up: synthetic://?seconds=10",
    "camera": "a camera: camera://0, camera:///dev/video0?width=640&height=480&rate_hz=30",
    "mic": "a microphone: mic://default, mic://2, mic://USB",
    "gst": "a GStreamer pipeline: gst:nvarguscamerasrc ! nvvidconv",
    "rtsp": "a network camera: rtsp://HOST/PATH",
    "rtsps": "a network camera: rtsps://HOST/PATH",
    "http": "a network stream: http://HOST/PATH",
    "https": "a network stream: https://HOST/PATH",
}
NETWORK = {"rtsp", "rtsps", "http", "https"}  # their queries belong to the server


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceUri:
    """A source's name, taken apart.

    Attributes:
        scheme: One of `SCHEMES`.
        target: What comes after it; the whole text for network streams.
        options: What comes after the question mark.
    """

    scheme: str
    target: str
    options: Mapping[str, str]

    def integer(self, name: str, default: int | None = None) -> int | None:
        """An option that is a whole number above 0.

        Raises:
            InputError: It is something else.
        """
        text = self.options.get(name)
        if text is None:
            return default
        if not text.isdecimal() or int(text) == 0:
            raise InputError(f"{self.scheme}: {name} = {text!r}; expected a whole number above 0")
        return int(text)

    def number(self, name: str, default: float) -> float:
        """An option that is a number above 0.

        Raises:
            InputError: It is something else.
        """
        text = self.options.get(name)
        try:
            value = default if text is None else float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise InputError(f"{self.scheme}: {name} = {text!r}; expected a number above 0")
        return value

    def only(self, *known: str) -> None:
        """Refuse options that the source does not have.

        Raises:
            InputError: One of them is given.
        """
        if unknown := sorted(self.options.keys() - set(known)):
            raise InputError(
                f"{self.scheme}: the option {unknown[0]} is not known; expected {', '.join(known) or 'none'}"
            )


def parse_uri(text: str | Path) -> SourceUri:
    """Take the name of a source apart.

    >>> parse_uri("camera://0?width=640")
    SourceUri(scheme='camera', target='0', options={'width': '640'})
    >>> parse_uri("clips/one.mp4").target
    'clips/one.mp4'
    >>> parse_uri("/dev/video2").scheme
    'camera'

    Raises:
        InputError: It has a scheme that is not known, or is empty.
    """
    if isinstance(text, Path):
        return _path(str(text))
    scheme, colon, rest = text.partition(":")
    if not text.strip():
        raise InputError("the name of a source is empty; expected a file, or e.g. camera://0")
    if scheme in NETWORK and rest.startswith("//"):
        return SourceUri(scheme=scheme, target=text, options={})
    if colon and scheme in SCHEMES and scheme not in NETWORK:
        rest = rest.removeprefix("//")
        if scheme in {"gst", "paced"}:  # a pipeline may hold question marks; what is paced has options of its own
            return SourceUri(scheme=scheme, target=rest, options={})
        target, _, query = rest.partition("?")
        return SourceUri(scheme=scheme, target=target, options=_options(scheme, query))
    if "://" in text:
        raise InputError(f"{text}: the scheme {scheme} is not known; expected {', '.join(SCHEMES)}, or a path")
    return _path(text)


def _path(text: str) -> SourceUri:
    scheme = "camera" if text.startswith(("/dev/video", "/dev/v4l/")) else "file"
    return SourceUri(scheme=scheme, target=text, options={})


def _options(scheme: str, query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError as error:
        raise InputError(f"{scheme}: {query!r} are no options; expected e.g. ?width=640&height=480") from error
