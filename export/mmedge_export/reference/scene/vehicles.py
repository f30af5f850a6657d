"""Vehicles: boxes with windows, wheels, lamps and, on some of them, beacons."""

from dataclasses import dataclass

from mmedge_export.reference.scene.beacons import Flasher
from mmedge_export.reference.scene.motion import Track
from mmedge_export.reference.scene.optics import Canvas, Color, Lamp

__all__ = ["BODIES", "EMERGENCY_KINDS", "TRAFFIC_KINDS", "Body", "Vehicle", "draw_vehicle"]

Place = tuple[float, float, float]

WHITE: Color = (1.0, 0.95, 0.85)
TAIL: Color = (1.0, 0.05, 0.03)
GLASS: Color = (45.0, 55.0, 65.0)
TYRE: Color = (22.0, 22.0, 24.0)
NEAREST_M, FARTHEST_M, DETAIL_M = 2.5, 180.0, 70.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The shape of a kind of vehicle, in metres, and its paint where every one of them has the same."""

    width_m: float
    height_m: float
    length_m: float
    boxy: bool
    paint: Color | None = None
    stripe: Color | None = None


BODIES = {
    "car": Body(width_m=1.8, height_m=1.5, length_m=4.3, boxy=False),
    "van": Body(width_m=2.0, height_m=2.2, length_m=5.2, boxy=True),
    "truck": Body(width_m=2.5, height_m=3.5, length_m=9.0, boxy=True),
    "bus": Body(width_m=2.5, height_m=3.1, length_m=12.0, boxy=True),
    "police": Body(
        width_m=1.85, height_m=1.55, length_m=4.7, boxy=False, paint=(205.0, 210.0, 215.0), stripe=(30.0, 60.0, 170.0)
    ),
    "ambulance": Body(
        width_m=2.1, height_m=2.7, length_m=6.2, boxy=True, paint=(225.0, 222.0, 205.0), stripe=(215.0, 60.0, 30.0)
    ),
    "fire engine": Body(
        width_m=2.5, height_m=3.1, length_m=8.0, boxy=True, paint=(185.0, 28.0, 24.0), stripe=(235.0, 225.0, 120.0)
    ),
}
TRAFFIC_KINDS = ("car", "car", "car", "van", "truck", "bus")
EMERGENCY_KINDS = ("police", "ambulance", "fire engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vehicle:
    """One vehicle.

    Attributes:
        kind: A key of BODIES.
        paint: RGB 0..255.
        track: Of the middle of the end that the camera sees.
        towards: It drives towards the camera and shows its front.
        headlamps: Power 0..1 of the lamps at the front, or of the tail lamps.
        brake: When its brake lamps are on.
        indicator: Its direction indicator.
        side: -1 or 1, the side of the indicator.
        warning: An amber lamp on its roof.
        beacons: Left and right beacon.
        beacon_power: Power 0..1 of the beacons.
        lit_s: When the beacons are switched on, as half-open ranges.
    """

    kind: str
    paint: Color
    track: Track
    towards: bool
    headlamps: float = 0.0
    brake: Flasher | None = None
    indicator: Flasher | None = None
    side: int = 1
    warning: Flasher | None = None
    beacons: tuple[Flasher, Flasher] | None = None
    beacon_power: float = 1.0
    lit_s: tuple[tuple[float, float], ...] = ()

    @property
    def body(self) -> Body:
        """Its shape."""
        return BODIES[self.kind]

    def is_lit(self, t_s: float) -> bool:
        """Whether the beacons are switched on, dark phases of the flash included."""
        return self.beacons is not None and any(start <= t_s < end for start, end in self.lit_s)


def draw_vehicle(canvas: Canvas, vehicle: Vehicle, t_s: float) -> None:
    """Draw one vehicle with its lamps."""
    x, z = vehicle.track.now(t_s)
    if not NEAREST_M < z < FARTHEST_M:
        return
    _side(canvas, vehicle, x, z)
    _end(canvas, vehicle, x, z)
    for lamp in _lamps(vehicle, x, z, t_s):
        canvas.shine(lamp)


def _side(canvas: Canvas, vehicle: Vehicle, x: float, z: float) -> None:
    body = vehicle.body
    half = body.width_m / 2
    canvas.floor(x - half - 0.15, x + half + 0.15, z - 0.2, z + body.length_m, (28.0, 28.0, 30.0))
    if abs(x) <= half:
        return
    wall_x = x - half if x > 0 else x + half
    dark = tuple(0.72 * c for c in vehicle.paint)
    top = body.height_m if body.boxy else 0.6 * body.height_m
    canvas.wall(wall_x, 0.3, top, z, z + body.length_m, dark)  # type: ignore[arg-type]
    if not body.boxy:
        canvas.wall(wall_x, top, body.height_m, z + 0.7, z + 0.8 * body.length_m, GLASS)
    if body.stripe and z < DETAIL_M:
        canvas.wall(wall_x, 0.8, 1.1, z, z + body.length_m, body.stripe)
    if z < DETAIL_M:
        for offset in (0.15 * body.length_m, 0.75 * body.length_m):
            canvas.wall(wall_x, 0.0, 0.6, z + offset, z + offset + 0.65, TYRE)


def _end(canvas: Canvas, vehicle: Vehicle, x: float, z: float) -> None:
    body = vehicle.body
    half, high = body.width_m / 2, body.height_m
    for side in (-1, 1):
        canvas.board(x + side * half - 0.13, x + side * half + 0.13, 0.0, 0.6, z, TYRE)
    shoulder = high if body.boxy else 0.6 * high
    canvas.board(x - half, x + half, 0.3, shoulder, z, vehicle.paint)
    if not body.boxy:
        canvas.board(x - 0.84 * half, x + 0.84 * half, shoulder, high, z + 0.5, vehicle.paint)
    if z > DETAIL_M:
        return
    if not body.boxy:
        canvas.board(x - 0.76 * half, x + 0.76 * half, shoulder + 0.03, high - 0.08, z + 0.5, GLASS)
    elif vehicle.towards or vehicle.kind != "truck":
        canvas.board(x - 0.86 * half, x + 0.86 * half, 0.52 * high, 0.85 * high, z, GLASS)
    canvas.board(x - half, x + half, 0.3, 0.5, z, (40.0, 40.0, 42.0))
    for side in (-1, 1):
        glass = (190.0, 195.0, 200.0) if vehicle.towards else (120.0, 20.0, 18.0)
        canvas.board(x + side * 0.82 * half - 0.15, x + side * 0.82 * half + 0.15, 0.62, 0.8, z, glass)
    canvas.board(x - 0.26, x + 0.26, 0.5, 0.62, z, (215.0, 215.0, 205.0))
    if body.stripe:
        canvas.board(x - half, x + half, 0.85, 1.05, z, body.stripe)
    if body.paint is not None:
        canvas.board(x - 0.8 * half, x + 0.8 * half, high, high + 0.16, z + 0.6, (35.0, 45.0, 110.0))


def _lamps(vehicle: Vehicle, x: float, z: float, t_s: float) -> list[Lamp]:
    half = 0.82 * vehicle.body.width_m / 2
    found = []
    braking = not vehicle.towards and vehicle.brake is not None and vehicle.brake.power(t_s) > 0
    power = max(vehicle.headlamps, 0.9 * braking)
    color, radius, halo = (WHITE, 0.13, 4.0) if vehicle.towards else (TAIL, 0.10, 2.2)
    if power > 0:
        found = [
            Lamp(x_m=x + side * half, up_m=0.7, z_m=z, radius_m=radius, color=color, power=power, halo=halo)
            for side in (-1, 1)
        ]
    if vehicle.indicator is not None:
        found.append(_flash(vehicle.indicator, t_s, (x + vehicle.side * half, 0.75, z), 0.9))
    if vehicle.warning is not None:
        found.append(_flash(vehicle.warning, t_s, (x, vehicle.body.height_m + 0.1, z), 1.0))
    return found + _beacon_lamps(vehicle, x, z, t_s)


def _beacon_lamps(vehicle: Vehicle, x: float, z: float, t_s: float) -> list[Lamp]:
    if vehicle.beacons is None or not vehicle.is_lit(t_s):
        return []
    body, found = vehicle.body, []
    power = vehicle.beacon_power
    for side, flasher in zip((-1, 1), vehicle.beacons, strict=True):
        found.append(_flash(flasher, t_s, (x + side * 0.33 * body.width_m, body.height_m + 0.1, z), power, 0.2, 4.5))
        found.append(_flash(flasher, t_s, (x + side * 0.22 * body.width_m, 0.85, z), 0.7 * power, 0.07, 3.0))
    return found


def _flash(flasher: Flasher, t_s: float, place: Place, power: float, radius_m: float = 0.09, halo: float = 3.0) -> Lamp:
    x, up, z = place
    strength = power * flasher.power(t_s)
    return Lamp(x_m=x, up_m=up, z_m=z, radius_m=radius_m, color=flasher.color, power=strength, halo=halo)


def lamp_spots(vehicle: Vehicle, t_s: float) -> list[Place]:
    """Where the roof beacons are, lit or not: right, up and ahead of the camera in metres."""
    x, z = vehicle.track.now(t_s)
    up = vehicle.body.height_m + 0.1
    return [(x + side * 0.33 * vehicle.body.width_m, up, z) for side in (-1, 1)]
