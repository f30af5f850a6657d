"""One random window: eight pictures, a second of sound, and the truth about both."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmedge_export.reference.scene.beacons import draw_beacons
from mmedge_export.reference.scene.hearing import REFERENCE_M, hear
from mmedge_export.reference.scene.motion import Track
from mmedge_export.reference.scene.optics import HEIGHT_PX, MARGIN_PX, WIDTH_PX, Pixels, project
from mmedge_export.reference.scene.render import render
from mmedge_export.reference.scene.sirens import draw_siren
from mmedge_export.reference.scene.sounds import DISTRACTORS
from mmedge_export.reference.scene.vehicles import BODIES, EMERGENCY_KINDS, Vehicle
from mmedge_export.reference.scene.world import ALWAYS, Distractor, Range, SirenSource, World, draw_world

__all__ = ["FRAMES", "FRAME_RATE_HZ", "WINDOW_S", "Window", "draw_window", "emergency_vehicle"]

FRAMES, FRAME_RATE_HZ = 8, 15
WINDOW_S = 1.0
DISTANCE_M = (8.0, 110.0)
SNR_DB = (-5.0, 20.0)
LANES_M = (-3.5, -3.5, -1.8, 3.0, -6.5)
NARROWEST_VIEW = 2.25
"""Ahead over to the side: less than this is outside of the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What the sensors give, and what is true.

    Attributes:
        image: [8, 240, 320, 3] uint8 RGB at 15 pictures per second, the last one at the end of the sound.
        audio: [16000] float32 in -1..1.
        siren: Whether a siren is heard.
        beacons: Whether beacons are seen.
        distance_m: Of the emergency vehicle; meaningless where neither is true.
        place: Column and row of the beacons in the last picture as shares 0..1 of its size; (-1, -1) for none.
        snr_db: Of the siren in the middle of the window; 0 where none is heard.
    """

    image: Pixels
    audio: npt.NDArray[np.float32]
    siren: bool
    beacons: bool
    distance_m: float
    place: tuple[float, float]
    snr_db: float

    @property
    def event(self) -> int:
        """The label: 0 clear, 1 siren heard, 2 beacons seen, 3 emergency vehicle approaching."""
        return int(self.siren) + 2 * int(self.beacons)


def draw_window(seed: int, event: int) -> Window:
    """The window of a seed with a label; the same seed and label always give the same window.

    Both sensors are drawn independently of one another, the distance of a vehicle that is seen and heard apart. In some
    windows siren or beacons begin or end; what is true then is what holds for more than half of the window.
    """
    random = np.random.default_rng([seed, event])
    siren, beacons = event % 2 == 1, event >= 2
    distance = float(np.exp(random.uniform(*np.log(DISTANCE_M))))
    ego_mps = random.uniform(0, 15) * (random.uniform() < 0.8)
    visible = beacons or random.uniform() < 0.25
    seen = emergency_vehicle(random, distance, ego_mps, lit_s=_partial(random, 1 - FRAMES / FRAME_RATE_HZ, on=beacons))
    track = seen.track if beacons else _hidden(random, distance, ego_mps)
    world = draw_world(
        random,
        seed=int(random.integers(1 << 31)),
        span_s=(0.0, WINDOW_S),
        ego_mps=ego_mps,
        cast=(seen,) if visible else (),
        sirens=_sirens(random, track, distance, on_s=_partial(random, 0.0, on=siren)),
        distractors=_distractors(random),
    )
    return _window(world, seen, distance, siren=siren, beacons=beacons)


def emergency_vehicle(
    random: np.random.Generator, distance_m: float, ego_mps: float, *, lit_s: tuple[Range, ...], at_s: float = WINDOW_S
) -> Vehicle:
    """One that comes towards the camera, or stands beside the road, ``distance_m`` away at ``at_s``."""
    x = float(random.choice([lane for lane in LANES_M if NARROWEST_VIEW * abs(lane) < distance_m]))
    driving = x in {-3.5, -1.8} and random.uniform() < 0.8
    speed = -ego_mps - (random.uniform(5, 22) if driving else 0.0)
    z = float(np.sqrt(max(distance_m**2 - x**2, 16.0)))
    kind = EMERGENCY_KINDS[random.integers(len(EMERGENCY_KINDS))]
    return Vehicle(
        kind=kind,
        paint=BODIES[kind].paint or (200.0, 200.0, 200.0),
        track=Track.straight(x_m=x, z_m=z, at_s=at_s, speed_mps=speed),
        towards=True,
        headlamps=random.uniform(0.3, 0.9) * (random.uniform() < 0.8),
        beacons=draw_beacons(random),
        beacon_power=random.uniform(0.65, 1.0),
        lit_s=lit_s,
    )


def _hidden(random: np.random.Generator, distance_m: float, ego_mps: float) -> Track:
    """Behind the camera, or ahead behind something; it comes or goes."""
    side = float(random.choice([-1.0, 1.0]))
    speed = random.uniform(-22, 22) - ego_mps
    return Track.straight(x_m=random.uniform(-6, 6), z_m=side * distance_m, at_s=WINDOW_S, speed_mps=speed)


def _partial(random: np.random.Generator, start_s: float, *, on: bool) -> tuple[Range, ...]:
    """When something is on during a window from ``start_s`` to its end, such that ``on`` holds for most of it."""
    length, kind = WINDOW_S - start_s, random.uniform()
    if on and kind < 0.12:
        return ((WINDOW_S - random.uniform(0.62, 0.95) * length, ALWAYS[1]),)
    if not on and kind < 0.12:
        return ((ALWAYS[0], start_s + random.uniform(0.0, 0.28) * length),)
    return (ALWAYS,) if on else ()


def _sirens(
    random: np.random.Generator, track: Track, distance_m: float, *, on_s: tuple[Range, ...]
) -> tuple[SirenSource, ...]:
    spread = 20 * np.log10(REFERENCE_M / distance_m)
    snr = float(np.clip(20 + spread + random.normal(0, 3), *SNR_DB))
    if not on_s:
        return ()
    return (SirenSource(siren=draw_siren(random), track=track, on_s=on_s, level_db=snr - spread),)


def _distractors(random: np.random.Generator) -> tuple[Distractor, ...]:
    count = random.choice([0, 1, 1, 2])
    names = random.choice(list(DISTRACTORS), size=count, replace=False)
    return tuple(Distractor(name=str(name), level_db=random.uniform(-6, 10)) for name in names)


def _window(world: World, seen: Vehicle, distance_m: float, *, siren: bool, beacons: bool) -> Window:
    times = WINDOW_S - np.arange(FRAMES - 1, -1, -1) / FRAME_RATE_HZ
    x, z = seen.track.now(WINDOW_S)
    u, v = project(x, seen.body.height_m, z)
    spread = 20 * np.log10(REFERENCE_M / distance_m)
    return Window(
        image=np.stack([render(world, float(t)) for t in times]),
        audio=hear(world, (0.0, WINDOW_S)),
        siren=siren,
        beacons=beacons,
        distance_m=distance_m,
        place=((u - MARGIN_PX) / WIDTH_PX, (v - MARGIN_PX) / HEIGHT_PX) if beacons else (-1.0, -1.0),
        snr_db=world.sirens[0].level_db + spread if siren else 0.0,
    )
