from pathlib import Path

import pytest

from mmedge.errors import InputError
from mmedge.sources.uri import parse_uri


@pytest.mark.parametrize(
    ("text", "scheme", "target", "options"),
    [
        ("clip.mp4", "file", "clip.mp4", {}),
        ("a b?.mp4", "file", "a b?.mp4", {}),
        (Path("clip.mp4"), "file", "clip.mp4", {}),
        ("file:///tmp/clip.mp4", "file", "/tmp/clip.mp4", {}),
        ("/dev/video0", "camera", "/dev/video0", {}),
        (Path("/dev/v4l/by-id/usb-cam"), "camera", "/dev/v4l/by-id/usb-cam", {}),
        ("camera://0", "camera", "0", {}),
        ("camera:///dev/video2?width=640&height=480", "camera", "/dev/video2", {"width": "640", "height": "480"}),
        ("mic://", "mic", "", {}),
        ("mic://USB Audio", "mic", "USB Audio", {}),
        ("images:shots?rate_hz=10", "images", "shots", {"rate_hz": "10"}),
        ("synthetic://?seconds=3", "synthetic", "", {"seconds": "3"}),
        ("paced:synthetic://?seconds=3", "paced", "synthetic://?seconds=3", {}),
        ("gst:videotestsrc ! video/x-raw,width=64", "gst", "videotestsrc ! video/x-raw,width=64", {}),
        ("rtsp://u:p@host/a?b=c", "rtsp", "rtsp://u:p@host/a?b=c", {}),
    ],
)
def test_a_name_is_taken_apart(text, scheme, target, options):
    uri = parse_uri(text)
    assert (uri.scheme, uri.target, dict(uri.options)) == (scheme, target, options)


@pytest.mark.parametrize("text", ["", "  ", "ftp://host/clip.mp4", "camera://0?width"])
def test_a_name_that_means_nothing_is_refused(text):
    with pytest.raises(InputError, match="expected"):
        parse_uri(text)


def test_options_have_to_be_numbers_above_zero():
    uri = parse_uri("camera://0?width=0&rate_hz=x&height=480")
    assert uri.integer("height") == 480
    assert uri.number("seconds", 3.5) == 3.5
    with pytest.raises(InputError, match="width = '0'"):
        uri.integer("width")
    with pytest.raises(InputError, match="rate_hz = 'x'"):
        uri.number("rate_hz", 1)
    with pytest.raises(InputError, match="the option width is not known; expected height, rate_hz"):
        uri.only("height", "rate_hz")
