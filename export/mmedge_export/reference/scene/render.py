"""The picture of a world at a moment."""

from functools import partial

import cv2
import numpy as np

from mmedge_export.reference.scene.optics import HEIGHT_PX, MARGIN_PX, WIDTH_PX, Canvas, Pixels
from mmedge_export.reference.scene.vehicles import draw_vehicle
from mmedge_export.reference.scene.weather import exposed
from mmedge_export.reference.scene.world import World

__all__ = ["render"]

FARTHEST_M = 160.0
DASH_M, PERIOD_M, LINE_M = 3.0, 9.0, -1.75


def render(world: World, t_s: float) -> Pixels:
    """Draw the world at a time; [240, 320, 3] uint8 RGB, owned by the caller.

    The same world and time always give the same picture.
    """
    look = world.look
    canvas = Canvas(
        pixels=world.background.copy(),
        daylight=look.daylight,
        fog=look.sky_low,
        visibility_m=look.visibility_m,
        wet=0.8 * look.rain,
        glare=1.0 if look.dark else 0.55,
    )
    _draw_markings(canvas, world.ego_mps * t_s)
    _draw_things(canvas, world, t_s)
    bonnet = (30.0 * look.daylight + 4, 32.0 * look.daylight + 4, 36.0 * look.daylight + 5)
    middle = (MARGIN_PX + WIDTH_PX // 2, MARGIN_PX + HEIGHT_PX + 26)
    cv2.ellipse(canvas.pixels, middle, (190, 44), 0, 180, 360, bonnet, -1, cv2.LINE_AA)
    return exposed(canvas.pixels, look, t_s, np.random.default_rng([world.seed, round(t_s * 1e6)]))


def _draw_markings(canvas: Canvas, travelled_m: float) -> None:
    for z in np.arange(PERIOD_M - travelled_m % PERIOD_M, 100, PERIOD_M)[::-1]:
        canvas.floor(LINE_M - 0.07, LINE_M + 0.07, max(z, 1.2), z + DASH_M, (215.0, 215.0, 205.0))


def _draw_things(canvas: Canvas, world: World, t_s: float) -> None:
    """Back to front: the houses, which wall the street in, then whatever stands or drives between them."""
    places = [(thing.along_m - world.ego_mps * t_s, thing) for thing in world.roadside]
    near = [(z, thing) for z, thing in places if -30 < z < FARTHEST_M]
    order = [(thing.lines_street, z, partial(thing.draw, canvas, z, t_s)) for z, thing in near]
    order += [(False, v.track.now(t_s)[1], partial(draw_vehicle, canvas, v, t_s)) for v in world.vehicles]
    for _, _, draw in sorted(order, key=lambda item: item[:2], reverse=True):
        draw()
