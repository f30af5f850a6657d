"""The camera: where a point of the road falls in the picture, and how shapes and lamps are drawn there."""

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["HEIGHT_PX", "MARGIN_PX", "WIDTH_PX", "Canvas", "Color", "Lamp", "Pixels", "project"]

Pixels = npt.NDArray[np.uint8]
Color = tuple[float, float, float]

WIDTH_PX, HEIGHT_PX = 320, 240
MARGIN_PX = 8
"""Drawn around the picture, so that a shaking camera has something to show."""
FOCAL_PX = 277.0
"""60 degrees of horizontal view."""
CAMERA_HEIGHT_M = 1.35
CENTER_U, HORIZON_V = WIDTH_PX / 2 + MARGIN_PX, 104.0 + MARGIN_PX
NEAREST_M = 1.2
SUBPIXEL_BITS = 4
SUBPIXELS = 1 << SUBPIXEL_BITS
RIGHTMOST = WIDTH_PX + 2 * MARGIN_PX
SMALLEST_LAMP_PX = 0.9
LARGEST_LAMP_PX = 60.0


def project(x_m: float, up_m: float, z_m: float) -> tuple[float, float]:
    """Column and row of a point to the right of, above the road below, and ahead of the camera."""
    z_m = max(z_m, NEAREST_M)
    return CENTER_U + FOCAL_PX * x_m / z_m, HORIZON_V + FOCAL_PX * (CAMERA_HEIGHT_M - up_m) / z_m


@dataclass(frozen=True, slots=True, kw_only=True)
class Lamp:
    """A light that is on.

    Attributes:
        x_m: To the right.
        up_m: Above the road.
        z_m: Ahead.
        radius_m: Of the lamp itself.
        color: RGB, 0..1.
        power: 0 is off, 1 saturates the camera.
        halo: Radius of the glow in radii of the lamp.
    """

    x_m: float
    up_m: float
    z_m: float
    radius_m: float
    color: Color
    power: float
    halo: float = 3.0


@dataclass(slots=True, kw_only=True)
class Canvas:
    """A picture while it is drawn, back to front.

    Attributes:
        pixels: [H + 2 margins, W + 2 margins, 3] uint8 RGB, owned by the canvas.
        daylight: Brightness of whatever does not shine by itself, 0..1.
        fog: RGB 0..255 of the haze.
        visibility_m: Distance over which the haze takes 63 % of the contrast.
        wet: How strongly lamps are mirrored by the road, 0..1.
        glare: How strongly lamps glow, 0..1.
    """

    pixels: Pixels
    daylight: float
    fog: Color
    visibility_m: float
    wet: float = 0.0
    glare: float = 1.0

    def shade(self, color: Color, z_m: float) -> Color:
        """The colour of a surface at a distance, in this light and haze."""
        clear = math.exp(-z_m / self.visibility_m)
        light, haze = self.daylight * clear, 1 - clear
        (red, green, blue), fog = color, self.fog
        return red * light + fog[0] * haze, green * light + fog[1] * haze, blue * light + fog[2] * haze

    def polygon(self, points: list[tuple[float, float]], color: Color) -> None:
        """Fill a quadrangle of (column, row) corners, of which the first and the third are opposite."""
        if (points[0][0] < 0 and points[2][0] < 0) or (points[0][0] > RIGHTMOST and points[2][0] > RIGHTMOST):
            return
        corners = [(int(SUBPIXELS * u), int(SUBPIXELS * v)) for u, v in points]
        cv2.fillConvexPoly(self.pixels, np.array(corners, np.int32), color, cv2.LINE_AA, SUBPIXEL_BITS)

    def board(self, left_m: float, right_m: float, low_m: float, high_m: float, z_m: float, color: Color) -> None:
        """Fill an upright rectangle that faces the camera."""
        left, bottom = project(left_m, low_m, z_m)
        right, top = project(right_m, high_m, z_m)
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], self.shade(color, z_m))

    def wall(self, x_m: float, low_m: float, high_m: float, near_m: float, far_m: float, color: Color) -> None:
        """Fill an upright rectangle along the road."""
        corners = [(low_m, near_m), (high_m, near_m), (high_m, far_m), (low_m, far_m)]
        points = [project(x_m, up, z) for up, z in corners]
        self.polygon(points, self.shade(color, (near_m + min(far_m, 2 * near_m)) / 2))

    def floor(self, left_m: float, right_m: float, near_m: float, far_m: float, color: Color) -> None:
        """Fill a rectangle on the road."""
        corners = [(left_m, near_m), (right_m, near_m), (right_m, far_m), (left_m, far_m)]
        self.polygon([project(x, 0, z) for x, z in corners], self.shade(color, near_m))

    def shine(self, lamp: Lamp) -> None:
        """Add the light of a lamp, its glow, and its mirror image on a wet road."""
        u, v = project(lamp.x_m, lamp.up_m, lamp.z_m)
        if lamp.power <= 0 or not -50 < u < RIGHTMOST + 50:
            return
        power = lamp.power * math.exp(-0.6 * lamp.z_m / self.visibility_m)
        radius = min(max(FOCAL_PX * lamp.radius_m / lamp.z_m, SMALLEST_LAMP_PX), LARGEST_LAMP_PX)
        core = (0.35 + 0.65 * lamp.color[0], 0.35 + 0.65 * lamp.color[1], 0.35 + 0.65 * lamp.color[2])
        self._glow(u, v, radius * lamp.halo, lamp.color, 0.55 * power * self.glare)
        self._glow(u, v, radius, core, power)
        if self.wet > 0:
            _, ground = project(lamp.x_m, 0, lamp.z_m)
            self._glow(u, 2 * ground - v, radius * lamp.halo, lamp.color, 0.35 * power * self.wet)

    def _glow(self, u: float, v: float, radius: float, color: Color, power: float) -> None:
        reach = min(int(2 * radius + 1), 90)
        spot = _spot(reach, round(min(radius, 45.0), 1))
        left, top = int(u) - reach, int(v) - reach
        height, width = self.pixels.shape[:2]
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + 2 * reach + 1, width), min(top + 2 * reach + 1, height)
        if x0 >= x1 or y0 >= y1:
            return
        part = spot[y0 - top : y1 - top, x0 - left : x1 - left, None]
        peak = 255 * min(power, 1.0)
        light = (part * np.array([peak * color[0], peak * color[1], peak * color[2]], np.float32)).astype(np.uint8)
        region = self.pixels[y0:y1, x0:x1]
        cv2.add(region, light, region)


@lru_cache(maxsize=512)
def _spot(reach: int, radius: float) -> npt.NDArray[np.float32]:
    # float64: the last bit of a float32 exp depends on where numpy finds its array in memory
    axis = np.arange(-reach, reach + 1, dtype=np.float64)
    square = (axis[:, None] ** 2 + axis[None, :] ** 2) / max(radius, 0.5) ** 2
    result: npt.NDArray[np.float32] = np.exp(-1.2 * square).astype(np.float32)
    return result
