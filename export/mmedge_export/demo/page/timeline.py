"""The clip on one time axis: frames, events, sound, truth, decisions, and what stood behind them."""

from collections.abc import Callable

import numpy as np

from mmedge.page.markup import Markup, element, escaped
from mmedge.page.svg import Axis, Box, drawing, label, line, ticks
from mmedge_export.demo.page.bands import HATCH, LETTER_PX, label_class, lane_bands
from mmedge_export.demo.page.frames import frame_definitions, lane_frames, strip_height
from mmedge_export.demo.page.spectrogram import RANGE_DB, data_uri, spectrogram_png
from mmedge_export.demo.page.traces import lane_ages, lane_distance, lane_probabilities
from mmedge_export.demo.result import DemoResult

__all__ = ["label_legend", "timeline"]

WIDTH_PX, LEFT_PX, RIGHT_PX = 1120.0, 156.0, 1112.0
EVENT_ROW_PX, TIME_AXIS_PX, BETWEEN_PX = 22.0, 24.0, 20.0
TICK_PX = 13.0  # ticks nearer to one another are left out
FREQUENCIES_HZ = (50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)

Lane = Callable[[DemoResult, Axis, Box], list[Markup]]


def timeline(result: DemoResult) -> Markup:
    """All lanes, one under the other."""
    time = Axis(low=0, high=result.duration_s, start_px=LEFT_PX, end_px=RIGHT_PX)
    events = len(set(_event_rows(result, time))) * EVENT_ROW_PX
    lanes: list[tuple[float, Lane]] = [
        (strip_height(result, RIGHT_PX - LEFT_PX), lane_frames),
        (events, _lane_events),
        (132.0, _lane_spectrogram),
        (63.0, lane_bands),
        (84.0, lane_probabilities),
        (92.0, lane_distance),
        (60.0, lane_ages),
    ]
    top, parts = 4.0, [HATCH, frame_definitions(result)]
    for height, draw in lanes:
        if height:
            parts += draw(result, time, Box(x=LEFT_PX, y=top, width=RIGHT_PX - LEFT_PX, height=height))
            top += height + BETWEEN_PX
    first = 4.0 + (lanes[0][0] + BETWEEN_PX if lanes[0][0] else 0)
    return drawing(
        (WIDTH_PX, top + TIME_AXIS_PX),
        "timeline",
        _description(result),
        [*_time_axis(time, Box(x=LEFT_PX, y=first, width=RIGHT_PX - LEFT_PX, height=top - first)), *parts],
    )


def label_legend(result: DemoResult) -> Markup:
    """What the colours mean."""
    swatches = [
        element("li", element("span", class_=f"swatch {label_class(i)}"), escaped(name))
        for i, name in enumerate(result.labels)
    ]
    swatches.append(
        element("li", element("span", class_="swatch hatched"), escaped("two labels in the window: not scored"))
    )
    swatches.append(element("li", element("span", class_="swatch wrong"), escaped("scored as wrong")))
    return element("ul", *swatches, class_="legend")


def _description(result: DemoResult) -> str:
    stretches = ", ".join(f"{text} from {start:.1f} to {end:.1f} s" for start, end, text in result.events)
    return (
        f"The clip over its {result.duration_s:g} s. Sample frames, spectrogram, truth and decision, probabilities, "
        f"distance, and age of each sensor's data on one time axis. In it: {stretches or 'no marked events'}."
    )


def _time_axis(time: Axis, box: Box) -> list[Markup]:
    parts = []
    for t_s in ticks(0, time.high, 21):
        x = time.at(t_s)
        parts.append(line((x, box.y), (x, box.bottom), "grid"))
        parts.append(label(x, box.bottom + 17, f"{t_s:g} s" if t_s == 0 else f"{t_s:g}", "tick", "middle"))
    return parts


def _event_rows(result: DemoResult, time: Axis) -> list[int]:
    """Row of each event: the first one in which neither its span nor its text touches another."""
    filled: list[float] = []
    rows = []
    for start_s, end_s, text in result.events:
        left = min(time.at(start_s), time.end_px - len(text) * LETTER_PX)
        right = max(time.at(end_s), left + len(text) * LETTER_PX) + 8
        row = next((i for i, end in enumerate(filled) if end <= left), len(filled))
        filled[row : row + 1] = [right]
        rows.append(row)
    return rows


def _lane_events(result: DemoResult, time: Axis, box: Box) -> list[Markup]:
    parts = [label(0, box.y + 12, "what happens", "lane-name")]
    for (start_s, end_s, text), row in zip(result.events, _event_rows(result, time), strict=True):
        left, right, y = time.at(start_s), time.at(end_s), box.y + (row + 1) * EVENT_ROW_PX - 5
        span = f"M{left:.1f} {y + 4:.1f}V{y:.1f}H{right:.1f}V{y + 4:.1f}"
        parts.append(element("path", d=span, class_="event", fill="none"))
        parts.append(label(min(left, time.end_px - len(text) * LETTER_PX), y - 5, text, "event-text"))
    return parts


def _lane_spectrogram(result: DemoResult, _: Axis, box: Box) -> list[Markup]:
    bands = len(result.spectrogram_hz)
    image = element(
        "image",
        href=data_uri("image/png", spectrogram_png(result.spectrogram_db)),
        x=box.x,
        y=box.y,
        width=box.width,
        height=box.height,
        preserveAspectRatio="none",
    )
    parts = [
        image,
        label(0, box.y + 12, "sound", "lane-name"),
        label(0, box.y + 28, "dark to light:", "lane-note"),
        label(0, box.y + 43, f"{RANGE_DB:g} dB", "lane-note"),
    ]
    above = box.bottom + TICK_PX
    for hz in FREQUENCIES_HZ:
        if bands > 1 and result.spectrogram_hz[0] <= hz <= result.spectrogram_hz[-1]:
            row = float(np.interp(hz, result.spectrogram_hz, np.arange(bands)))
            y = box.bottom - (row + 0.5) / bands * box.height
            if above - y < TICK_PX:
                continue
            above = y
            parts.append(line((box.x - 4, y), (box.x, y), "axis"))
            parts.append(label(box.x - 7, y + 4, f"{hz / 1000:g} kHz" if hz >= 1000 else f"{hz} Hz", "tick", "end"))
    return parts
