"""Pictures from a GStreamer pipeline, through PyGObject: what a Jetson's CSI camera and its decoders need.

The wheels of OpenCV are built without GStreamer, so the system's ``gi`` is used: Debian and Ubuntu package it as
python3-gi, and a virtual environment sees it with ``--system-site-packages``.
"""

from collections import Counter
from collections.abc import Iterator
from time import monotonic_ns
from typing import Any

import numpy as np

from mmedge.errors import InputError, MissingLibraryError, SourceError, needs
from mmedge.sources.live import LiveSource
from mmedge.sources.stamps import StampClock
from mmedge.types import NS, VideoFrame

__all__ = ["open_gstreamer"]

FIX = "apt install python3-gi gir1.2-gst-plugins-base-1.0, and make the venv with --system-site-packages"
SINK = " ! videoconvert ! video/x-raw,format=RGB ! appsink name=mmedge max-buffers=2 drop=true sync=false"
WAIT_NS = NS // 10
START_NS = 5 * NS


def open_gstreamer(pipeline: str) -> LiveSource:
    """A camera that GStreamer reads.

    A picture's time is when its buffer was made, on the pipeline's clock; it owns its pixels.

    Args:
        pipeline: As gst-launch-1.0 takes it, without a sink: conversion to RGB and the sink are added. Its last element
            must give raw video in system memory, so on a Jetson it ends with ``nvvidconv ! video/x-raw``.

    Raises:
        InputError: It is no pipeline, or has an element that is not installed.
        MissingLibraryError: PyGObject or GStreamer is not installed.
    """
    gst = _library()
    _parse(gst, pipeline)

    def connect(origin_ns: int, counts: Counter[str]) -> _Connection:
        del origin_ns
        return _Connection(gst, pipeline, counts)

    return LiveSource("GStreamer", "camera", connect)


class _Connection:
    """A pipeline that plays."""

    def __init__(self, gst: Any, pipeline: str, counts: Counter[str]) -> None:
        self._gst, self._counts = gst, counts
        self._pipeline = _parse(gst, pipeline)
        self._sink, self._bus = self._pipeline.get_by_name("mmedge"), self._pipeline.get_bus()
        self._pipeline.set_state(gst.State.PLAYING)
        result, _, _ = self._pipeline.get_state(START_NS)
        if result == gst.StateChangeReturn.FAILURE:
            why = self._why() or "it does not start"
            self.close()
            raise SourceError(f"GStreamer: {why}")

    def __iter__(self) -> Iterator[VideoFrame | None]:
        stamps = StampClock(self._counts)
        while True:
            sample = self._sink.emit("try-pull-sample", WAIT_NS)
            arrival_ns = monotonic_ns()
            if why := self._why():
                raise SourceError(f"GStreamer: {why}")
            if sample is None:
                if self._sink.get_property("eos"):
                    return
                yield None
                continue
            pts = sample.get_buffer().pts
            stamp_ns = 0 if pts == self._gst.CLOCK_TIME_NONE else self._pipeline.get_base_time() + pts
            yield VideoFrame(pixels=_pixels(self._gst, sample), t_ns=stamps.to_monotonic(stamp_ns, arrival_ns))

    def close(self) -> None:
        self._pipeline.set_state(self._gst.State.NULL)

    def _why(self) -> str:
        message = self._bus.pop_filtered(self._gst.MessageType.ERROR)
        return message.parse_error()[0].message if message else ""


def _parse(gst: Any, pipeline: str) -> Any:
    try:
        return gst.parse_launch(pipeline + SINK)
    except needs("gi.repository.GLib", fix=FIX).Error as error:
        raise InputError(f"gst: the pipeline {pipeline!r} is refused: {error.message}") from error


def _pixels(gst: Any, sample: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A copy of a sample's [H, W, 3] pixels; GStreamer pads their rows to whole words."""
    facts, buffer = sample.get_caps().get_structure(0), sample.get_buffer()
    height, width = facts.get_value("height"), facts.get_value("width")
    found, mapped = buffer.map(gst.MapFlags.READ)
    if not found:
        raise SourceError("GStreamer: a picture cannot be read; end the pipeline in system memory, e.g. nvvidconv")
    try:
        rows = np.frombuffer(mapped.data, np.uint8).reshape(height, -1)[:, : 3 * width]
        return rows.reshape(height, width, 3).copy()
    finally:
        buffer.unmap(mapped)


def _library() -> Any:
    gi = needs("gi", fix=FIX)
    try:
        gi.require_version("Gst", "1.0")
    except ValueError as error:
        raise MissingLibraryError(f"GStreamer cannot be used ({error}); try: {FIX}") from error
    gst = needs("gi.repository.Gst", fix=FIX)
    gst.init(None)
    return gst
