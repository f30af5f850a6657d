"""Light and weather: the empty road under its sky, and what the air and the sensor do to a picture."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from mmedge_export.reference.scene.optics import (
    CAMERA_HEIGHT_M,
    FOCAL_PX,
    HEIGHT_PX,
    HORIZON_V,
    MARGIN_PX,
    WIDTH_PX,
    Canvas,
    Color,
    Pixels,
)

__all__ = ["Look", "draw_look", "empty_road", "exposed"]

SHAPE = (HEIGHT_PX + 2 * MARGIN_PX, WIDTH_PX + 2 * MARGIN_PX)
RAIN_LAYERS = 6
NOISE_LEVELS = 16.0
SHARP_PX = 0.3
DARK = 0.4
"""Daylight below this switches lamps on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Time of day, weather and the state of the camera.

    Attributes:
        daylight: 0..1; lamps are on below 0.4.
        sky_top: RGB 0..255 at the zenith.
        sky_low: RGB 0..255 at the horizon, which is also the colour of haze.
        visibility_m: Distance over which haze takes 63 % of the contrast.
        rain: 0..1.
        noise: Standard deviation of the sensor's noise, in grey levels.
        blur_px: Standard deviation of the lens's blur, in pixels.
        exposure: Overall brightness.
        swing: How far the exposure goes up and down, as a share.
        swing_hz: How fast.
        shake_px: How far the picture moves with the road's bumps.
    """

    daylight: float
    sky_top: Color
    sky_low: Color
    visibility_m: float
    rain: float
    noise: float
    blur_px: float
    exposure: float
    swing: float
    swing_hz: float
    shake_px: float

    @property
    def dark(self) -> bool:
        """Whether lamps are on."""
        return self.daylight < DARK


def draw_look(random: np.random.Generator) -> Look:
    """Day, dusk or night; clear, rain or fog; a good or a poor camera."""
    daylight = (random.uniform(0.6, 1.0), random.uniform(0.25, 0.5), random.uniform(0.05, 0.15))[random.integers(3)]
    grey = random.uniform()
    rain = random.uniform(0.3, 1.0) if random.uniform() < 0.3 else 0.0
    fog = random.uniform() < 0.2
    top = _mixed((70, 120, 190), (150, 155, 160), grey)
    low = _mixed((190, 205, 220), (185, 187, 190), grey)
    if daylight < 0.5:
        low = _mixed((225, 150, 110), (130, 130, 140), grey)
    return Look(
        daylight=daylight,
        sky_top=_scaled(top, daylight**1.3),
        sky_low=_scaled(low, daylight),
        visibility_m=random.uniform(60, 140) if fog else random.uniform(220, 700),
        rain=rain,
        noise=random.uniform(1, 5) + (random.uniform(2, 9) if daylight < 0.5 else 0),
        blur_px=random.uniform(0.0, 1.1),
        exposure=random.uniform(0.85, 1.3),
        swing=random.uniform(0.0, 0.2),
        swing_hz=random.uniform(0.1, 1.5),
        shake_px=random.uniform(0.0, 2.0),
    )


def empty_road(look: Look, random: np.random.Generator) -> Pixels:
    """Sky, ground, asphalt and the light of the own headlamps; [H + margins, W + margins, 3] uint8 RGB."""
    rows = np.arange(SHAPE[0], dtype=np.float64)
    canvas = Canvas(
        pixels=np.zeros((*SHAPE, 3), np.uint8), daylight=look.daylight, fog=look.sky_low, visibility_m=look.visibility_m
    )
    up = np.clip((HORIZON_V - rows) / HORIZON_V, 0, 1)[:, None, None] ** 0.7
    sky = np.array(look.sky_low) * (1 - up) + np.array(look.sky_top) * up
    clouds = cv2.resize(random.uniform(-1, 1, (9, 7)).astype(np.float32), SHAPE[::-1], interpolation=cv2.INTER_CUBIC)
    picture = sky + 14 * look.daylight * clouds[:, :, None] * up
    depth = FOCAL_PX * CAMERA_HEIGHT_M / np.maximum(rows - HORIZON_V, 0.7)
    clear = np.exp(-depth / look.visibility_m)[:, None]
    ground = np.array([104.0, 106.0, 100.0]) * look.daylight * clear + np.array(look.sky_low) * (1 - clear)
    below = rows > HORIZON_V
    picture[below] = np.broadcast_to(ground[below, None], (int(below.sum()), SHAPE[1], 3))
    canvas.pixels[:] = picture.clip(0, 255)
    _asphalt(canvas, wet=look.rain > 0)
    if look.dark:
        cv2.add(canvas.pixels, _headlamps(), canvas.pixels)
    return canvas.pixels


def exposed(picture: Pixels, look: Look, t_s: float, random: np.random.Generator) -> Pixels:
    """What the sensor makes of a drawn picture: rain, shake, blur, exposure, noise; [240, 320, 3] uint8 RGB.

    Args:
        picture: With its margins; overwritten.
        look: Weather and camera.
        t_s: When, for shake and exposure.
        random: For the rain and the noise of this one picture.
    """
    down = MARGIN_PX + round(
        look.shake_px * np.sin(2 * np.pi * 1.7 * t_s) + look.shake_px * np.sin(2 * np.pi * 4.1 * t_s)
    )
    right = MARGIN_PX + round(0.5 * look.shake_px * np.sin(2 * np.pi * 1.1 * t_s + 1))
    if look.rain > 0:
        rain = _rain()[random.integers(RAIN_LAYERS)]
        cv2.addWeighted(picture, 1.0, rain, look.rain * (0.3 + 0.25 * look.daylight), 0, picture)
    cut: Any = picture[down : down + HEIGHT_PX, right : right + WIDTH_PX]
    if look.blur_px > SHARP_PX:
        cut = cv2.GaussianBlur(cut, (0, 0), look.blur_px)
    gain = look.exposure * (1 + look.swing * np.sin(2 * np.pi * look.swing_hz * t_s))
    cut = cv2.convertScaleAbs(cut, alpha=float(gain), beta=4.0)
    more, less = _noise()
    top, left = random.integers(0, 64, 2)
    window = np.s_[top : top + HEIGHT_PX, left : left + WIDTH_PX]
    strength = look.noise / NOISE_LEVELS
    cut = cv2.addWeighted(cut, 1.0, more[window], strength, 0)
    return np.asarray(cv2.addWeighted(cut, 1.0, less[window], -strength, 0), np.uint8)


def _asphalt(canvas: Canvas, *, wet: bool) -> None:
    tone = 62.0 if wet else 84.0
    for near, far in ((1.0, 4.0), (4.0, 8.0), (8.0, 16.0), (16.0, 32.0), (32.0, 64.0), (64.0, 400.0)):
        canvas.floor(-7.6, 4.2, near, far, (tone, tone, tone + 3))
        for left, right in ((-8.0, -7.6), (4.2, 4.6)):
            canvas.floor(left, right, near, far, (150.0, 150.0, 146.0))


@lru_cache(maxsize=1)
def _headlamps() -> Pixels:
    across, down = np.meshgrid(np.arange(SHAPE[1]) - SHAPE[1] / 2, np.arange(SHAPE[0]) - HORIZON_V)
    pool = 75 * np.exp(-((across / (30 + 1.1 * np.maximum(down, 0))) ** 2) - ((down - 48) / 42) ** 2) * (down > 0)
    light: Pixels = (pool[:, :, None] * np.array([1.0, 0.97, 0.85])).astype(np.uint8)
    return light


@lru_cache(maxsize=1)
def _rain() -> list[Pixels]:
    random = np.random.default_rng(71)
    layers = []
    for _ in range(RAIN_LAYERS):
        layer = np.zeros((*SHAPE, 3), np.uint8)
        for _ in range(130):
            x, y, size = random.uniform(0, SHAPE[1]), random.uniform(-20, SHAPE[0]), random.uniform(4, 22)
            end = (int(x + 0.12 * size), int(y + size))
            tone = float(random.uniform(60, 170))
            cv2.line(layer, (int(x), int(y)), end, (tone, tone, tone * 1.05), 1, cv2.LINE_AA)
        layers.append(layer)
    return layers


@lru_cache(maxsize=1)
def _noise() -> tuple[Pixels, Pixels]:
    """Positive and negative half of noise with a standard deviation of NOISE_LEVELS."""
    wave = np.random.default_rng(72).normal(0, NOISE_LEVELS, (HEIGHT_PX + 64, WIDTH_PX + 64, 3))
    return wave.clip(0, 255).astype(np.uint8), (-wave).clip(0, 255).astype(np.uint8)


def _mixed(first: Color, second: Color, share: float) -> Color:
    red, green, blue = (a * (1 - share) + b * share for a, b in zip(first, second, strict=True))
    return red, green, blue


def _scaled(color: Color, factor: float) -> Color:
    return color[0] * factor, color[1] * factor, color[2] * factor
