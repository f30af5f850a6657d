"""What stands beside the road: houses with lit windows and shop signs, trees, lamps, traffic lights, road works."""

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from mmedge_export.reference.scene.beacons import WARNING_HZ, Flasher
from mmedge_export.reference.scene.motion import Floats
from mmedge_export.reference.scene.optics import (
    CAMERA_HEIGHT_M,
    CENTER_U,
    FOCAL_PX,
    HORIZON_V,
    Canvas,
    Color,
    Lamp,
    project,
)

__all__ = ["Roadside", "draw_roadside"]

AMBER: Color = (1.0, 0.55, 0.05)
SIGN_COLORS: tuple[Color, ...] = (
    (0.15, 0.35, 1.0), (1.0, 0.1, 0.15), (0.1, 1.0, 0.4), (1.0, 0.3, 0.8), (1.0, 0.9, 0.5), (0.2, 0.9, 1.0),
)  # fmt: skip
SIGNAL_COLORS: tuple[Color, ...] = ((1.0, 0.1, 0.05), (1.0, 0.6, 0.05), (0.1, 1.0, 0.45))
LEFT_M, RIGHT_M = -9.5, 6.5
"""Where the houses begin; the camera drives on the right of two lanes."""
WINDOW_NEAREST_M, WINDOW_FARTHEST_M, WINDOW_BITS = 2.3, 55.0, 2
FRONT_FARTHEST_M = 70.0

Corners = npt.NDArray[np.int32]


class Roadside(Protocol):
    """Something at a place along the road."""

    @property
    def along_m(self) -> float:
        """Metres along the road, of its nearest part."""

    @property
    def lines_street(self) -> bool:
        """Whether everything on the street stands in front of it."""

    def draw(self, canvas: Canvas, z_m: float, t_s: float) -> None:
        """Draw it when its nearest part is ``z_m`` ahead of the camera."""


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A house, with windows on the side that looks to the road."""

    along_m: float
    left: bool
    length_m: float
    height_m: float
    paint: Color
    windows: tuple[bool, ...]
    sign: Color | None
    sign_flasher: Flasher | None
    lines_street: bool = True

    def draw(self, canvas: Canvas, z_m: float, t_s: float) -> None:
        """Draw its two visible walls."""
        x, outward = (LEFT_M, -12.0) if self.left else (RIGHT_M, 12.0)
        near, far = max(z_m, 1.5), z_m + self.length_m
        if 1.5 < z_m < FRONT_FARTHEST_M:
            dark: Color = (0.8 * self.paint[0], 0.8 * self.paint[1], 0.8 * self.paint[2])
            canvas.board(min(x, x + outward), max(x, x + outward), 0, self.height_m, z_m, dark)
        canvas.wall(x, 0, self.height_m, near, far, self.paint)
        if near < WINDOW_FARTHEST_M:
            self._draw_windows(canvas, x, z_m)
        if self.sign is not None:
            self._draw_sign(canvas, x, z_m, t_s)

    def _draw_windows(self, canvas: Canvas, x: float, z_m: float) -> None:
        along, up = np.arange(int(self.length_m // 3))[None, :], np.arange(int(self.height_m // 3))[:, None]
        lit = np.array(self.windows)[(up * 7 + along) % len(self.windows)]
        near, low = z_m + 3 * along + 0.8 + 0 * up, 3 * up + 1.1 + 0 * along
        for which, color in (
            (~lit, canvas.shade((70.0, 80.0, 92.0), max(z_m, 0))),
            (lit, self._lit(canvas, max(z_m, 0))),
        ):
            chosen = which & (near > WINDOW_NEAREST_M)
            if chosen.any():
                cv2.fillPoly(canvas.pixels, _windows(x, near[chosen], low[chosen]), color, cv2.LINE_8, WINDOW_BITS)

    def _lit(self, canvas: Canvas, z_m: float) -> Color:
        """A lit window shines by itself at night and is one more window by day."""
        glow = (235.0, 200.0, 130.0) if canvas.daylight < 0.5 else (95.0, 105.0, 118.0)
        clear = float(np.exp(-z_m / canvas.visibility_m))
        red, green, blue = (g * clear + f * (1 - clear) for g, f in zip(glow, canvas.fog, strict=True))
        return red, green, blue

    def _draw_sign(self, canvas: Canvas, x: float, z_m: float, t_s: float) -> None:
        power = 1.0 if self.sign_flasher is None else self.sign_flasher.power(t_s)
        place = z_m + 0.5 * self.length_m
        if power <= 0 or place < 4 or self.sign is None:
            return
        inward = 0.4 if self.left else -0.4
        for step in range(4):
            canvas.shine(
                Lamp(
                    x_m=x + inward, up_m=3.0, z_m=place + 0.5 * step, radius_m=0.22,
                    color=self.sign, power=0.8 * power, halo=2.2,
                )
            )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A round tree on the pavement."""

    along_m: float
    x_m: float
    height_m: float
    paint: Color
    lines_street: bool = False

    def draw(self, canvas: Canvas, z_m: float, t_s: float) -> None:  # noqa: ARG002
        """Draw trunk and crown."""
        if z_m < 3:
            return
        canvas.board(self.x_m - 0.14, self.x_m + 0.14, 0, 0.6 * self.height_m, z_m, (70.0, 52.0, 38.0))
        for right, up, size in ((0, 0.72, 0.30), (-0.17, 0.62, 0.22), (0.18, 0.64, 0.23)):
            u, v = project(self.x_m + right * self.height_m, up * self.height_m, z_m)
            _, top = project(0, (up + size) * self.height_m, z_m)
            tone = 0.85 + 0.6 * (up - 0.62)
            color = canvas.shade((tone * self.paint[0], tone * self.paint[1], tone * self.paint[2]), z_m)
            cv2.circle(canvas.pixels, (int(u), int(v)), max(1, int(v - top)), color, -1, cv2.LINE_AA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A post with lamps: a street lamp, a traffic light, or the warning lamp of road works."""

    along_m: float
    x_m: float
    arm_m: float
    height_m: float
    lamp: Color
    radius_m: float
    power: float
    flasher: Flasher | None = None
    barrier: bool = False
    lines_street: bool = False

    def draw(self, canvas: Canvas, z_m: float, t_s: float) -> None:
        """Draw post, arm or barrier, and lamp."""
        if z_m < 2.5:
            return
        if self.barrier:
            for part in range(6):
                paint = (205.0, 40.0, 30.0) if part % 2 else (225.0, 225.0, 220.0)
                canvas.board(self.x_m - 0.75 + part * 0.25, self.x_m - 0.5 + part * 0.25, 0.5, 1.0, z_m, paint)
        canvas.board(self.x_m - 0.06, self.x_m + 0.06, 0, self.height_m, z_m, (62.0, 64.0, 66.0))
        end = self.x_m + self.arm_m
        if self.arm_m:
            canvas.board(
                min(self.x_m, end), max(self.x_m, end), self.height_m - 0.08, self.height_m, z_m, (62.0, 64.0, 66.0)
            )
        power = self.power if self.flasher is None else self.power * self.flasher.power(t_s)
        canvas.shine(
            Lamp(
                x_m=end,
                up_m=self.height_m - 0.1,
                z_m=z_m,
                radius_m=self.radius_m,
                color=self.lamp,
                power=power,
                halo=3.5,
            )
        )


def draw_roadside(random: np.random.Generator, *, length_m: float, dark: bool) -> tuple[Roadside, ...]:
    """Everything beside a stretch of road, in no particular order.

    Args:
        random: Where the choices come from.
        length_m: How far the stretch reaches.
        dark: Whether lamps are on.
    """
    things: list[Roadside] = []
    for left in (False, True):
        things += _row(random, length_m, left=left)
    gap = random.uniform(9, 25)
    things += [
        Tree(along_m=at, x_m=float(random.choice([-9.0, 5.9])), height_m=random.uniform(5, 8), paint=_green(random))
        for at in np.arange(random.uniform(0, gap), length_m, gap)
        if random.uniform() < 0.7
    ]
    gap = random.uniform(22, 38)
    warm: Color = (1.0, 0.75, 0.4) if random.uniform() < 0.5 else (0.9, 0.95, 1.0)
    things += [
        Post(along_m=at, x_m=x, arm_m=arm, height_m=6.5, lamp=warm, radius_m=0.22, power=0.8 * dark)
        for at in np.arange(random.uniform(0, gap), length_m, gap)
        for x, arm in ((4.6, -1.6), (-8.0, 1.6))
    ]
    return tuple(things + _signals(random, length_m) + _works(random, length_m))


def _row(random: np.random.Generator, length_m: float, *, left: bool) -> list[Roadside]:
    houses: list[Roadside] = []
    at = random.uniform(-20, 0)
    while at < length_m:
        house = _house(random, at, left=left)
        houses.append(house)
        at += house.length_m
    return houses


def _house(random: np.random.Generator, at: float, *, left: bool) -> House:
    tone = random.uniform(90, 190)
    paint: Color = (tone + random.uniform(-10, 30), tone + random.uniform(-15, 12), tone + random.uniform(-35, 10))
    sign = SIGN_COLORS[random.integers(len(SIGN_COLORS))] if random.uniform() < 0.22 else None
    slow = Flasher(rate_hz=random.uniform(0.3, 0.9), phase=random.uniform(), pulses=((0.0, 0.6),), color=AMBER)
    return House(
        along_m=at,
        left=left,
        length_m=random.uniform(12, 26),
        height_m=random.uniform(5, 17),
        paint=paint,
        windows=tuple(bool(b) for b in random.uniform(size=31) < random.uniform(0.1, 0.6)),
        sign=sign,
        sign_flasher=slow if random.uniform() < 0.25 else None,
    )


def _windows(x: float, near: Floats, low: Floats) -> list[Corners]:
    """Windows of 1.3 m in a wall along the road, as polygons for OpenCV."""
    ahead = np.stack([near, near, near + 1.3, near + 1.3], 1)
    up = np.stack([low, low + 1.3, low + 1.3, low], 1)
    columns, rows = CENTER_U + FOCAL_PX * x / ahead, HORIZON_V + FOCAL_PX * (CAMERA_HEIGHT_M - up) / ahead
    return list((np.stack([columns, rows], 2) * (1 << WINDOW_BITS)).astype(np.int32))


def _green(random: np.random.Generator) -> Color:
    return random.uniform(40, 110), random.uniform(85, 135), random.uniform(30, 60)


def _signals(random: np.random.Generator, length_m: float) -> list[Roadside]:
    if random.uniform() > 0.5:
        return []
    at, color = random.uniform(15, length_m), SIGNAL_COLORS[random.integers(3)]
    return [Post(along_m=at, x_m=x, arm_m=0.0, height_m=3.2, lamp=color, radius_m=0.12, power=0.9) for x in (4.4, -7.8)]


def _works(random: np.random.Generator, length_m: float) -> list[Roadside]:
    if random.uniform() > 0.3:
        return []
    start, rate = random.uniform(8, 0.7 * length_m), random.uniform(*WARNING_HZ)
    return [
        Post(
            along_m=start + 5.0 * k, x_m=3.2, arm_m=0.0, height_m=1.25, lamp=AMBER, radius_m=0.1, power=0.95,
            barrier=True,
            flasher=Flasher(rate_hz=rate, phase=(0.25 * k) % 1, pulses=((0.0, 0.35),), color=AMBER),
        )
        for k in range(random.integers(2, 6))
    ]  # fmt: skip
