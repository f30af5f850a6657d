"""One road with everything on it, for as long as a clip or a window lasts."""

from dataclasses import dataclass

import numpy as np

from mmedge_export.reference.scene.beacons import INDICATOR_HZ, WARNING_HZ, Flasher
from mmedge_export.reference.scene.motion import Track
from mmedge_export.reference.scene.optics import Color, Pixels, project
from mmedge_export.reference.scene.roadside import AMBER, Roadside, draw_roadside
from mmedge_export.reference.scene.sirens import Siren
from mmedge_export.reference.scene.vehicles import TRAFFIC_KINDS, Vehicle, lamp_spots
from mmedge_export.reference.scene.weather import Look, draw_look, empty_road

__all__ = ["ALWAYS", "Distractor", "Range", "SirenSource", "World", "draw_traffic", "draw_world"]

Range = tuple[float, float]
ALWAYS: Range = (-1e6, 1e6)

OWN_LANE_M, ONCOMING_LANE_M, PARKED_RIGHT_M, PARKED_LEFT_M = 0.0, -3.5, 3.0, -6.5
PAINTS: tuple[Color, ...] = (
    (200, 200, 200), (60, 62, 66), (25, 27, 30), (120, 124, 128), (150, 25, 25), (30, 55, 120), (40, 80, 60),
    (190, 170, 130), (225, 225, 225), (200, 150, 40),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SirenSource:
    """A siren on its way.

    Attributes:
        siren: What it plays.
        track: Where it is.
        on_s: When it is heard, as half-open ranges.
        level_db: Its level 10 m away over everything else that is heard.
    """

    siren: Siren
    track: Track
    on_s: tuple[Range, ...]
    level_db: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Distractor:
    """A sound that is no siren.

    Attributes:
        name: A key of DISTRACTORS.
        level_db: Over the bed of noise.
        on_s: When it is heard, as half-open ranges.
    """

    name: str
    level_db: float
    on_s: tuple[Range, ...] = (ALWAYS,)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A road, seen and heard from a vehicle that drives along it at a constant speed.

    Attributes:
        seed: Where noise comes from.
        look: Light, weather, camera.
        background: The empty road, drawn once.
        ego_mps: Speed of the camera.
        roadside: What stands beside the road.
        vehicles: Everything that drives or parks, the visible emergency vehicles among them.
        sirens: Everything that plays a siren, visible or not.
        distractors: Everything else that is heard over the bed of noise.
    """

    seed: int
    look: Look
    background: Pixels
    ego_mps: float
    roadside: tuple[Roadside, ...]
    vehicles: tuple[Vehicle, ...]
    sirens: tuple[SirenSource, ...]
    distractors: tuple[Distractor, ...]


def draw_world(  # noqa: PLR0913
    random: np.random.Generator,
    *,
    seed: int,
    span_s: Range,
    ego_mps: float,
    cast: tuple[Vehicle, ...],
    sirens: tuple[SirenSource, ...],
    distractors: tuple[Distractor, ...],
    look: Look | None = None,
) -> World:
    """A random road around a given cast of vehicles, whose beacons the rest of the traffic does not hide."""
    look = look or draw_look(random)
    traffic = draw_traffic(random, span_s=span_s, ego_mps=ego_mps, look=look)
    return World(
        seed=seed,
        look=look,
        background=empty_road(look, random),
        ego_mps=ego_mps,
        roadside=draw_roadside(random, length_m=160 + ego_mps * span_s[1], dark=look.dark),
        vehicles=cast + _clear_of(traffic, cast, span_s),
        sirens=sirens,
        distractors=distractors,
    )


def draw_traffic(random: np.random.Generator, *, span_s: Range, ego_mps: float, look: Look) -> list[Vehicle]:
    """Vehicles ahead, oncoming and parked."""
    found: list[Vehicle] = []
    lamps = 0.5 if look.dark else 0.25 * (random.uniform() < 0.4)
    if random.uniform() < 0.6:
        ahead = Track.straight(
            x_m=OWN_LANE_M, z_m=random.uniform(12, 60), at_s=span_s[0], speed_mps=random.uniform(-2, 2)
        )
        found.append(_vehicle(random, ahead, towards=False, lamps=0.7 * lamps))
    place = random.uniform(5, 40)
    speed = -(ego_mps + random.uniform(6, 14))
    while place < 160 - speed * (span_s[1] - span_s[0]):
        oncoming = Track.straight(x_m=ONCOMING_LANE_M, z_m=place, at_s=span_s[0], speed_mps=speed)
        found.append(_vehicle(random, oncoming, towards=True, lamps=1.6 * lamps))
        place += random.uniform(18, 110)
    for x in (PARKED_RIGHT_M, PARKED_LEFT_M):
        place, density = random.uniform(3, 20), random.uniform(0, 0.8)
        while place < 120 + ego_mps * (span_s[1] - span_s[0]):
            parked = Track.straight(x_m=x, z_m=place, at_s=span_s[0], speed_mps=-ego_mps)
            if random.uniform() < density:
                found.append(_vehicle(random, parked, towards=x < 0, lamps=0.0))
            place += random.uniform(9, 16)
    return found


def _vehicle(random: np.random.Generator, track: Track, *, towards: bool, lamps: float) -> Vehicle:
    brake = Flasher(rate_hz=random.uniform(0.1, 0.7), phase=random.uniform(), pulses=((0.0, 0.4),), color=AMBER)
    indicator = Flasher(
        rate_hz=random.uniform(*INDICATOR_HZ), phase=random.uniform(), pulses=((0.0, 0.5),), color=AMBER
    )
    warning = Flasher(rate_hz=random.uniform(*WARNING_HZ), phase=random.uniform(), pulses=((0.0, 0.3),), color=AMBER)
    kind = TRAFFIC_KINDS[random.integers(len(TRAFFIC_KINDS))]
    return Vehicle(
        kind=kind,
        paint=PAINTS[random.integers(len(PAINTS))],
        track=track,
        towards=towards,
        headlamps=lamps,
        brake=brake if lamps or random.uniform() < 0.5 else None,
        indicator=indicator if random.uniform() < 0.2 else None,
        side=int(random.choice([-1, 1])),
        warning=warning if kind in {"truck", "van"} and random.uniform() < 0.25 else None,
    )


def _clear_of(traffic: list[Vehicle], cast: tuple[Vehicle, ...], span_s: Range) -> tuple[Vehicle, ...]:
    times = [float(t) for t in np.arange(span_s[0], span_s[1] + 0.1, 0.2)]
    return tuple(v for v in traffic if not any(_in_the_way(v, other, t_s) for other in cast for t_s in times))


def _in_the_way(vehicle: Vehicle, other: Vehicle, t_s: float) -> bool:
    """Whether a vehicle hides the lit beacons of another one, or stands where it is."""
    (x, z), (other_x, other_z) = vehicle.track.now(t_s), other.track.now(t_s)
    apart = z - other_z
    if abs(x - other_x) < 2.2 and -vehicle.body.length_m - 2 < apart < other.body.length_m + 2 and z > 0:
        return True
    return (
        0 < z < other_z and other.is_lit(t_s) and any(_covers(vehicle, x, z, spot) for spot in lamp_spots(other, t_s))
    )


def _covers(vehicle: Vehicle, x: float, z: float, spot: tuple[float, float, float]) -> bool:
    body, (u, v) = vehicle.body, project(*spot)
    ends = [project(x + side * body.width_m / 2, 0, far)[0] for side in (-1, 1) for far in (z, z + body.length_m)]
    top = min(project(x, body.height_m, far)[1] for far in (z, z + body.length_m))
    return min(ends) - 2 < u < max(ends) + 2 and v > top - 2
