"""Where a picture lands when it is brought to the size that a model wants."""

from dataclasses import dataclass

__all__ = ["Placement", "placement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A picture is resized to ``width`` x ``height`` and then lies at (``left``, ``top``) of the tensor, all in pixels.

    Attributes:
        width: After resizing.
        height: After resizing.
        left: Columns of padding before it; negative for columns cut off.
        top: Rows of padding above it; negative for rows cut off.
    """

    width: int
    height: int
    left: int
    top: int


def placement(fit: str, source: tuple[int, int], target: tuple[int, int]) -> Placement:
    """How a picture is placed.

    * ``stretch``: exactly the target size.
    * ``letterbox``: as large as fits, its other side rounded half up; an odd pixel of padding goes right or below.
    * ``crop``: as small as covers, its other side rounded down; an odd pixel is cut as Python's round() says.

    Args:
        fit: stretch, letterbox or crop.
        source: Width and height of the picture in pixels.
        target: Width and height of the tensor in pixels.

    Source: ultralytics LetterBox; torchvision.transforms.Resize(shorter side) and CenterCrop.

    >>> placement("letterbox", (1280, 720), (640, 640))
    Placement(width=640, height=360, left=0, top=140)
    """
    (width, height), (out_width, out_height) = source, target
    if fit == "stretch":
        return Placement(width=out_width, height=out_height, left=0, top=0)
    # In whole numbers, so that no rounding of a ratio can move an edge by a pixel.
    wide = width * out_height >= height * out_width
    if fit == "letterbox":
        new_width = out_width if wide else max(1, (2 * width * out_height + height) // (2 * height))
        new_height = max(1, (2 * height * out_width + width) // (2 * width)) if wide else out_height
        return Placement(
            width=new_width, height=new_height, left=(out_width - new_width) // 2, top=(out_height - new_height) // 2
        )
    new_width = width * out_height // height if wide else out_width
    new_height = out_height if wide else height * out_width // width
    return Placement(
        width=new_width,
        height=new_height,
        left=-round((new_width - out_width) / 2),
        top=-round((new_height - out_height) / 2),
    )
