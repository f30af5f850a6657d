"""Sample frames of the clip: a strip over the time axis, and larger with their captions."""

from mmedge.page.markup import Markup, element, escaped, join
from mmedge.page.svg import Axis, Box, label, line, rectangle
from mmedge_export.demo.page.spectrogram import data_uri
from mmedge_export.demo.result import DemoResult, Picture

__all__ = ["contact_sheet", "frame_definitions", "lane_frames", "strip_height"]

WIDTH_PX, HEIGHT_PX = 320, 240
GAP_PX, WIDEST_PX, LEADER_PX = 8.0, 168.0, 24.0


def frame_definitions(result: DemoResult) -> Markup:
    """Every picture once; strip and contact sheet refer to them."""
    images = (
        element("image", href=_uri(picture), width=WIDTH_PX, height=HEIGHT_PX, id=f"frame-{i}")
        for i, picture in enumerate(result.pictures)
    )
    return element("defs", *images)


def strip_height(result: DemoResult, width_px: float) -> float:
    """Height of the strip with its leaders."""
    return _scale(result, width_px) * HEIGHT_PX + LEADER_PX if result.pictures else 0.0


def lane_frames(result: DemoResult, time: Axis, box: Box) -> list[Markup]:
    """Thumbnails in order, each as near to its moment as its neighbours let it, with a line to the moment itself."""
    scale = _scale(result, box.width)
    width, bottom = scale * WIDTH_PX, box.y + scale * HEIGHT_PX
    parts = [label(0, box.y + 12, "camera", "lane-name"), label(0, box.y + 28, "sample frames", "lane-note")]
    lefts = _spread([time.at(picture.t_s) - width / 2 for picture in result.pictures], width + GAP_PX, box)
    for i, (picture, left) in enumerate(zip(result.pictures, lefts, strict=True)):
        moment = time.at(picture.t_s)
        tip = element("title", escaped(f"{picture.t_s:.1f} s: {picture.caption}"))
        place = f"translate({left:.2f} {box.y:g}) scale({scale:.4f})"
        parts.append(element("use", tip, href=f"#frame-{i}", transform=place))
        parts.append(line((left + width / 2, bottom), (moment, box.bottom), "leader"))
        parts.append(element("circle", cx=moment, cy=box.bottom, r=2.5, class_="moment"))
        parts.append(rectangle(Box(x=left, y=bottom - 18, width=46, height=18), "plate"))
        parts.append(label(left + 23, bottom - 5, f"{picture.t_s:.1f} s", "plate-text", "middle"))
    return parts


def contact_sheet(result: DemoResult) -> list[Markup]:
    """The same frames larger, with what was true and what was decided."""
    if not result.pictures:
        return []
    figures = []
    for i, picture in enumerate(result.pictures):
        view = element(
            "svg",
            element("title", escaped(picture.caption)),
            element("use", href=f"#frame-{i}"),
            viewBox=f"0 0 {WIDTH_PX} {HEIGHT_PX}",
            role="img",
        )
        caption = element("figcaption", element("b", escaped(f"{picture.t_s:.1f} s ")), escaped(picture.caption))
        figures.append(element("figure", view, caption))
    columns = min((4, 5, 3), key=lambda count: -len(figures) % count)  # the fewest empty places in the last row
    sheet = element("div", join(figures), class_="sheet", style=f"--columns:{columns}")
    return [element("h3", escaped("The frames, larger")), sheet]


def _uri(picture: Picture) -> str:
    return data_uri("image/jpeg", picture.jpeg)


def _scale(result: DemoResult, width_px: float) -> float:
    return min(WIDEST_PX, (width_px + GAP_PX) / max(1, len(result.pictures)) - GAP_PX) / WIDTH_PX


def _spread(lefts: list[float], step: float, box: Box) -> list[float]:
    """Move what overlaps apart: neighbours that touch become one block around the mean of where they want to be."""
    blocks: list[list[float]] = []
    for i, left in enumerate(lefts):
        blocks.append([left - i * step])
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    wanted = [_mean(block) for block in blocks for _ in block]
    highest = box.right - (len(lefts) * step - GAP_PX)
    return [min(highest, max(box.x, offset)) + i * step for i, offset in enumerate(wanted)]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
