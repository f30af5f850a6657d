"""The sound of a world over a stretch of time."""

import numpy as np
import numpy.typing as npt

from mmedge_export.reference.scene.motion import Floats, emission_times
from mmedge_export.reference.scene.sirens import siren_wave
from mmedge_export.reference.scene.sounds import DISTRACTORS, RATE_HZ, ambient, normalized
from mmedge_export.reference.scene.world import Range, SirenSource, World

__all__ = ["REFERENCE_M", "background", "hear", "siren_at_microphone"]

REFERENCE_M = 10.0
NEAREST_M = 5.0
LOUDEST = 0.99
SOUND_STREAM = 1
FADE_S = 0.02
STEEPEST_TILT = 0.25


def hear(world: World, span_s: Range) -> npt.NDArray[np.float32]:
    """Everything a microphone on the vehicle records.

    Args:
        world: The world.
        span_s: From when to when; the same span always gives the same samples.

    Returns:
        [N] float32 in -1..1 at 16 kHz.
    """
    random = np.random.default_rng([world.seed, SOUND_STREAM])
    t_s = span_s[0] + np.arange(round((span_s[1] - span_s[0]) * RATE_HZ)) / RATE_HZ
    tilt = random.uniform(-STEEPEST_TILT, STEEPEST_TILT)
    total = _through_microphone(background(world, t_s, random), tilt)
    loudness = float(np.sqrt(np.mean(total**2)))
    for source in world.sirens:
        siren = _through_microphone(siren_at_microphone(source, t_s, world.ego_mps), tilt)
        total = total + 10 ** (source.level_db / 20) * loudness * siren
    return _recorded(_echoed(total, random), random)


def background(world: World, t_s: Floats, random: np.random.Generator) -> Floats:
    """Everything but sirens, at [N] times; the bed of noise alone has a mean square of 1."""
    total = ambient(t_s, random, rain=world.look.rain, speed_mps=world.ego_mps)
    for distractor in world.distractors:
        wave = normalized(DISTRACTORS[distractor.name](t_s, random))
        total = total + 10 ** (distractor.level_db / 20) * wave * _gate(t_s, distractor.on_s)
    return total


def siren_at_microphone(source: SirenSource, t_s: Floats, ego_mps: float) -> Floats:
    """A siren as it arrives at [N] times: delayed, shifted in pitch, weaker with distance; mean square 1 at 10 m."""
    emitted = emission_times(t_s, source.track, ego_mps)
    spread = REFERENCE_M / np.maximum(source.track.distance_m(emitted), NEAREST_M)
    return siren_wave(source.siren, emitted) * spread * _gate(t_s, source.on_s)


def _gate(t_s: Floats, on_s: tuple[Range, ...]) -> Floats:
    """1 while something is on, with short fades."""
    gate = np.zeros(len(t_s))
    for start, end in on_s:
        gate = np.maximum(gate, np.clip(np.minimum(t_s - start, end - t_s) / FADE_S, 0, 1))
    return gate


def _echoed(wave: Floats, random: np.random.Generator) -> Floats:
    """Reflections from the houses; the level stays."""
    result, power = wave.copy(), 1.0
    for _ in range(random.integers(0, 4)):
        delay, strength = int(random.uniform(0.004, 0.09) * RATE_HZ), random.uniform(0.05, 0.4)
        result[delay:] += strength * wave[:-delay]
        power += strength**2
    leveled: Floats = result / np.sqrt(power)
    return leveled


def _through_microphone(wave: Floats, tilt: float) -> Floats:
    """A response that is 1 at 1 kHz, tilted by ``tilt`` times 6 dB per octave, without the rumble below 60 Hz."""
    hz = np.fft.rfftfreq(len(wave), 1 / RATE_HZ)
    response = (np.maximum(hz, 30) / 1000) ** tilt * (hz / (hz + 60))
    return np.fft.irfft(np.fft.rfft(wave) * response, len(wave))


def _recorded(wave: Floats, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """The recorder: a level of -44 to -14 dB of full scale, its own noise, clipping."""
    level = 10 ** (random.uniform(-44, -14) / 20)
    own = 10 ** (-72 / 20) * random.standard_normal(len(wave))
    return (level * normalized(wave) + own).clip(-LOUDEST, LOUDEST).astype(np.float32)
