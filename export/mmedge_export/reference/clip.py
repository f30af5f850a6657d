"""A drive with a script: pictures, sound and the truth about them, for demonstrations and end-to-end tests."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mmedge_export.reference.dataset import EVENTS
from mmedge_export.reference.scene.beacons import BLUE, PULSES, Flasher
from mmedge_export.reference.scene.hearing import hear
from mmedge_export.reference.scene.motion import Track
from mmedge_export.reference.scene.optics import MARGIN_PX, WIDTH_PX, Pixels, project
from mmedge_export.reference.scene.render import render
from mmedge_export.reference.scene.sirens import SirenKind, draw_siren
from mmedge_export.reference.scene.vehicles import BODIES, Vehicle
from mmedge_export.reference.scene.weather import Look
from mmedge_export.reference.scene.window import FRAME_RATE_HZ, WINDOW_S
from mmedge_export.reference.scene.world import Distractor, Range, SirenSource, World, draw_world

__all__ = ["DEFAULT_SCRIPT", "Clip", "Passage", "Script", "Truth", "make_clip"]

NS = 1_000_000_000
LEVEL_DB = 20.0
"""Of a siren 10 m away over everything else."""
DUSK = Look(
    daylight=0.3, sky_top=(28.0, 34.0, 58.0), sky_low=(86.0, 62.0, 56.0), visibility_m=320.0, rain=0.35, noise=4.0,
    blur_px=0.4, exposure=1.1, swing=0.06, swing_hz=0.2, shake_px=0.8,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """An emergency vehicle that comes by.

    Attributes:
        kind: A key of BODIES.
        siren: What it plays.
        track: Where it is, relative to the camera.
        heard_s: When its siren is heard, as a half-open range.
        seen_s: When its beacons are lit and nothing hides them, as a half-open range.
    """

    kind: str
    siren: SirenKind
    track: Track
    heard_s: Range
    seen_s: Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What happens; it starts over after its length.

    Attributes:
        length_s: How long it is.
        ego_mps: Speed of the camera.
        look: Light and weather.
        passages: Emergency vehicles.
        others: Vehicles that play a part without being one.
        distractors: Sounds that are no sirens.
    """

    length_s: float
    ego_mps: float
    look: Look
    passages: tuple[Passage, ...]
    others: tuple[Vehicle, ...] = ()
    distractors: tuple[Distractor, ...] = ()


AMBULANCE = Passage(
    kind="ambulance",
    siren="wail",
    track=Track(t_s=(2.0, 4.9, 5.6, 9.0), x_m=(-3.9, -3.9, -2.2, -2.2), z_m=(118.0, 65.8, 53.2, -8.0)),
    heard_s=(2.0, 10.6),
    seen_s=(5.2, 8.22),
)
"""Heard from behind a lorry, pulls out, passes, and is heard going away."""
POLICE = Passage(
    kind="police",
    siren="hi-lo",
    track=Track(t_s=(13.0, 14.0), x_m=(3.0, 3.0), z_m=(52.0, 43.0)),
    heard_s=(16.0, 18.6),
    seen_s=(13.0, 18.0),
)
"""Stands at the kerb, switches its beacons on, and its siren when the camera is near."""
LORRY = Vehicle(
    kind="truck",
    paint=(70.0, 95.0, 130.0),
    track=Track(t_s=(2.0, 4.9, 6.0, 7.0), x_m=(-3.5, -3.5, -5.0, -5.0), z_m=(109.0, 56.8, 42.0, 30.0)),
    towards=True,
    headlamps=0.6,
)
DEFAULT_SCRIPT = Script(
    length_s=20.0,
    ego_mps=9.0,
    look=DUSK,
    passages=(AMBULANCE, POLICE),
    others=(LORRY,),
    distractors=(
        Distractor(name="horn", level_db=6.0, on_s=((0.4, 1.6),)),
        Distractor(name="music", level_db=3.0, on_s=((10.8, 15.0),)),
        Distractor(name="alarm", level_db=2.0, on_s=((11.5, 13.5), (18.9, 20.0))),
    ),
)


class Truth(NamedTuple):
    """What is true at a moment.

    Attributes:
        label: One of the model's four.
        distance_m: Of the emergency vehicle; nan where the label is "clear".
    """

    label: str
    distance_m: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Clip:
    """A rendered drive; time 0 is its first picture and its first sample.

    Attributes:
        script: What happens in it, repeated as often as it takes.
        world: What is drawn and heard.
        duration_s: How long it is.
        audio: [N] float32 in -1..1 at 16 kHz.
    """

    script: Script
    world: World
    duration_s: float
    audio: npt.NDArray[np.float32]

    @property
    def frame_count(self) -> int:
        """How many pictures there are."""
        return round(self.duration_s * FRAME_RATE_HZ)

    def frame(self, index: int) -> Pixels:
        """Picture ``index``, [240, 320, 3] uint8 RGB, taken at ``index / 15`` seconds; owned by the caller."""
        return render(self.world, index / FRAME_RATE_HZ)

    def frames(self) -> Iterator[Pixels]:
        """All pictures in order, drawn one by one."""
        return (self.frame(index) for index in range(self.frame_count))

    def truth(self, t_ns: int) -> Truth:
        """What is true at a time."""
        t_s = t_ns / NS
        heard = [p for p in self.script.passages if p.heard_s[0] <= t_s < p.heard_s[1]]
        seen = [p for p in self.script.passages if p.seen_s[0] <= t_s < p.seen_s[1]]
        distances = [float(np.hypot(*p.track.now(t_s))) for p in heard + seen]
        return Truth(EVENTS[bool(heard) + 2 * bool(seen)], min(distances, default=float("nan")))

    def settled(self, t_ns: int) -> bool:
        """Whether nothing has begun or ended during the second before, so that a window up to here is unambiguous."""
        edges = [edge for p in self.script.passages for edge in (*p.heard_s, *p.seen_s)]
        return not any(t_ns / NS - WINDOW_S < edge <= t_ns / NS for edge in edges)

    def __repr__(self) -> str:
        return f"Clip({self.duration_s:g} s, {self.frame_count} pictures)"


def make_clip(*, seed: int = 0, duration_s: float = 20.0, script: Script = DEFAULT_SCRIPT) -> Clip:
    """Set a drive up; the sound is made at once, the pictures when they are asked for.

    The same seed, duration and script always give the same clip.

    Args:
        seed: Decides on houses, traffic and noise.
        duration_s: How long; a longer clip than the script starts it over.
        script: What happens.
    """
    random = np.random.default_rng([seed, 4])
    script = _repeated(script, duration_s)
    vehicles = tuple(_vehicle(random, passage) for passage in script.passages)
    sirens = tuple(
        SirenSource(siren=draw_siren(random, p.siren), track=p.track, on_s=(p.heard_s,), level_db=LEVEL_DB)
        for p in script.passages
    )
    world = draw_world(
        random,
        seed=seed,
        span_s=(0.0, duration_s),
        ego_mps=script.ego_mps,
        cast=vehicles + script.others,
        sirens=sirens,
        distractors=script.distractors,
        look=script.look,
    )
    return Clip(script=script, world=world, duration_s=duration_s, audio=hear(world, (0.0, duration_s)))


def in_view(track: Track, t_s: float) -> bool:
    """Whether a vehicle is ahead and between the sides of the picture."""
    x, z = track.now(t_s)
    return z > 0 and MARGIN_PX <= project(x, 0, z)[0] < MARGIN_PX + WIDTH_PX


def _vehicle(random: np.random.Generator, passage: Passage) -> Vehicle:
    rate, phase = random.uniform(2.2, 3.2), random.uniform()
    left, right = (
        Flasher(rate_hz=rate, phase=(phase + offset) % 1, pulses=PULSES["double"], color=BLUE) for offset in (0.0, 0.5)
    )
    return Vehicle(
        kind=passage.kind,
        paint=BODIES[passage.kind].paint or (200.0, 200.0, 200.0),
        track=passage.track,
        towards=True,
        headlamps=0.6,
        beacons=(left, right),
        lit_s=(passage.seen_s,),
    )


def _repeated(script: Script, duration_s: float) -> Script:
    """The script, started over until it is long enough."""
    starts = [k * script.length_s for k in range(int(np.ceil(duration_s / script.length_s)))]
    return replace(
        script,
        passages=tuple(_passage_later(p, start) for start in starts for p in script.passages),
        others=tuple(replace(v, track=_later(v.track, start)) for start in starts for v in script.others),
        distractors=tuple(
            replace(d, on_s=tuple(_moved(r, start) for start in starts for r in d.on_s)) for d in script.distractors
        ),
    )


def _passage_later(passage: Passage, by_s: float) -> Passage:
    heard, seen = _moved(passage.heard_s, by_s), _moved(passage.seen_s, by_s)
    return replace(passage, track=_later(passage.track, by_s), heard_s=heard, seen_s=seen)


def _later(track: Track, by_s: float) -> Track:
    return replace(track, t_s=tuple(t + by_s for t in track.t_s))


def _moved(span_s: Range, by_s: float) -> Range:
    return span_s[0] + by_s, span_s[1] + by_s
