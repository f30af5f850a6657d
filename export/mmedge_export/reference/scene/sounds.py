"""Every other sound of a road: the bed of noise, and what could be taken for a siren.

The alarms stay outside the definition of a siren, which excludes unvarying sounds, cycles faster than 400 per minute
and interrupted sounds slower than 90 or faster than 400 per minute.

Source: California Code of Regulations, Title 13, § 1021 (a) (1) to (3).
"""

from collections.abc import Callable

import numpy as np

from mmedge_export.reference.scene.motion import Floats

__all__ = ["DISTRACTORS", "RATE_HZ", "ambient", "normalized"]

RATE_HZ = 16000

Random = np.random.Generator
Sound = Callable[[Floats, Random], Floats]


def normalized(wave: Floats) -> Floats:
    """The same sound at mean square 1; silence stays silence."""
    power = float(np.mean(wave**2))
    result: Floats = wave / np.sqrt(power) if power > 0 else wave
    return result


def ambient(t_s: Floats, random: Random, *, rain: float, speed_mps: float) -> Floats:
    """Traffic, tyres, wind and rain, with the vehicle's own engine; mean square 1."""
    bed = _shaped(len(t_s), random, slope=random.uniform(0.5, 1.1))
    bed = bed * (1 + 0.4 * _passing(t_s, random))
    bed += random.uniform(0.1, 1.2) * _engine(t_s, random, speed_mps)
    if rain > 0:
        bed += 0.5 * rain * _shaped(len(t_s), random, slope=-0.2)
    return normalized(bed)


def horn(t_s: Floats, random: Random) -> Floats:
    """A car's two-tone horn: two steady tones, pressed now and then."""
    low = random.uniform(320, 450)
    tones = _tone(t_s, low, 8, 0.5) + _tone(t_s, low * random.uniform(1.18, 1.3), 8, 0.5)
    result: Floats = tones * _pressed(t_s, random, longest_s=1.2)
    return result


def music(t_s: Floats, random: Random) -> Floats:
    """A tune over chords and a beat, from another car's window."""
    beat_s = 60 / random.uniform(80, 150) / random.choice([1, 2])
    scale = 220 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16]) / 12 + random.uniform(0, 1.5))
    beats = t_s / beat_s + random.uniform()
    note = beats.astype(int)
    age = beats - note
    melody = scale[random.integers(0, len(scale), note.max() + 1)][note]
    chord = scale[random.integers(0, 4, note.max() // 4 + 1)][note // 4] / 2
    vibrato = 1 + random.uniform(0, 0.01) * np.sin(2 * np.pi * 5.5 * t_s)
    decay = np.exp(-random.uniform(0, 3) * age)
    tune = _voice(melody * vibrato, 4, random.uniform(0.8, 1.6)) * decay
    drum = _shaped(len(t_s), random, slope=0.3) * np.exp(-12 * age)
    harmony = _voice(chord, 5, 1.0) + _voice(chord * 1.5, 5, 1.0)
    result: Floats = tune + 0.6 * harmony + random.uniform(0, 1) * drum
    return result


def alarm(t_s: Floats, random: Random) -> Floats:
    """A car alarm: chirps at more than 400 a minute, a pulsed steady tone, or a pulsed horn."""
    kind = random.integers(3)
    if kind == 0:
        cycle = (t_s * random.uniform(420, 900) / 60) % 1
        return _voice(random.uniform(1200, 2200) * 2 ** (random.uniform(0.4, 1.0) * cycle), 3, 1.2)
    gate = ((t_s * random.uniform(45, 85) / 60 + random.uniform()) % 1 < random.uniform(0.4, 0.7)).astype(float)
    return gate * _tone(t_s, random.uniform(1800, 3000) if kind == 1 else random.uniform(380, 520), 5, 0.6)


def reversing(t_s: Floats, random: Random) -> Floats:
    """The beeps of a lorry that reverses."""
    gate = ((t_s * random.uniform(0.8, 1.3) + random.uniform()) % 1 < 0.5).astype(float)
    return gate * _tone(t_s, random.uniform(950, 1500), 3, 1.5)


def squeal(t_s: Floats, random: Random) -> Floats:
    """Brakes: one thin tone above the range of a siren's fundamental that wanders a little."""
    pitch = random.uniform(2100, 4200) * (
        1 + 0.03 * np.sin(2 * np.pi * random.uniform(0.2, 2) * t_s + random.uniform(0, 6))
    )
    return _voice(pitch, 2, 2.5) * _pressed(t_s, random, longest_s=1.5)


def motorcycle(t_s: Floats, random: Random) -> Floats:
    """An engine that revs up: harmonics that sweep, far below a siren."""
    cycle = (t_s * random.uniform(0.2, 0.6) + random.uniform()) % 1
    return _voice(random.uniform(60, 120) * 2 ** (random.uniform(0.5, 1.5) * cycle), 12, 0.7)


def birds(t_s: Floats, random: Random) -> Floats:
    """A bird: short whistles between 2.5 and 5 kHz."""
    cycle = (t_s * random.uniform(3, 7) + random.uniform()) % 1
    pitch = random.uniform(2600, 4200) * (1 + random.uniform(-0.2, 0.2) * cycle)
    return _voice(pitch, 1, 1.0) * (cycle < random.uniform(0.3, 0.7)) * _pressed(t_s, random, longest_s=1.0)


DISTRACTORS: dict[str, Sound] = {
    "horn": horn,
    "music": music,
    "alarm": alarm,
    "reversing": reversing,
    "squeal": squeal,
    "motorcycle": motorcycle,
    "birds": birds,
}


def _shaped(samples: int, random: Random, *, slope: float) -> Floats:
    """Noise with an amplitude spectrum of f ** -slope, mean square 1."""
    spectrum = np.fft.rfft(random.standard_normal(samples))
    hz = np.fft.rfftfreq(samples, 1 / RATE_HZ)
    return normalized(np.fft.irfft(spectrum / np.maximum(hz, 40) ** slope, samples))


def _passing(t_s: Floats, random: Random) -> Floats:
    """How loud the traffic is at each time: cars that come and go."""
    middle = random.uniform(t_s[0], t_s[-1], max(1, int((t_s[-1] - t_s[0]) / 3)))
    width = random.uniform(0.4, 1.5)
    return np.asarray(sum(np.exp(-(((t_s - m) / width) ** 2)) for m in middle))


def _engine(t_s: Floats, random: Random, speed_mps: float) -> Floats:
    hz = random.uniform(25, 40) + 2.0 * speed_mps
    wander = 1 + 0.02 * np.sin(2 * np.pi * 0.3 * t_s + random.uniform(0, 6))
    return _voice(hz * wander, 6, random.uniform(0.3, 1.0))


def _voice(hz: Floats, harmonics: int, roll_off: float) -> Floats:
    """A harmonic sound whose pitch follows [N] frequencies."""
    angle = 2 * np.pi * np.cumsum(hz) / RATE_HZ
    return np.asarray(sum(k**-roll_off * np.sin(k * angle) for k in range(1, harmonics + 1)))


def _tone(t_s: Floats, hz: float, harmonics: int, roll_off: float) -> Floats:
    return _voice(np.full(len(t_s), hz), harmonics, roll_off)


def _pressed(t_s: Floats, random: Random, *, longest_s: float) -> Floats:
    """1 while a sound is on: once every few seconds."""
    gate = np.zeros(len(t_s))
    start = t_s[0] + random.uniform(-0.5, 0.5)
    while start < t_s[-1]:
        end = start + random.uniform(0.3, longest_s)
        gate[(t_s >= start) & (t_s < end)] = 1
        start = end + random.uniform(0.3, 4.0)
    return gate
