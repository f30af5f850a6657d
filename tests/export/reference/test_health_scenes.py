"""Sensors of the reference scenes: sickness is noticed within a second, and healthy ones are left alone."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from mmedge_export.reference.clip import DEFAULT_SCRIPT, Clip, make_clip
from mmedge_export.reference.dataset import reference_spec
from mmedge_export.reference.scene.weather import draw_look

from mmedge.health import Health
from mmedge.types import NS, AudioChunk, VideoFrame

cv2 = pytest.importorskip("cv2")
RATE_HZ, CAMERA_HZ = 16000, 15

Pixels = npt.NDArray[np.uint8]


def drive(seed: int, duration_s: float) -> Clip:
    """A drive in random light and weather, every third one standing still."""
    random = np.random.default_rng([seed, 99])
    ego_mps = 0.0 if seed % 3 == 0 else random.uniform(2, 15)
    return make_clip(
        seed=seed, duration_s=duration_s, script=replace(DEFAULT_SCRIPT, look=draw_look(random), ego_mps=ego_mps)
    )


def watch(
    health: Health, clip: Clip, start_s: float, end_s: float, spoil=lambda pixels, samples: (pixels, samples)
) -> Iterator[tuple[int, str]]:
    """What is wrong, and when, as a stream would be told picture by picture."""
    for i in range(round(start_s * CAMERA_HZ), round(end_s * CAMERA_HZ)):
        t_ns = i * NS // CAMERA_HZ
        first = i * RATE_HZ // CAMERA_HZ
        pixels, samples = spoil(clip.frame(i), clip.audio[first : (i + 1) * RATE_HZ // CAMERA_HZ])
        health.see("image", VideoFrame(pixels=pixels, t_ns=t_ns))
        health.see("audio", AudioChunk(samples=samples, t_ns=first * NS // RATE_HZ, rate_hz=RATE_HZ))
        for port in ("image", "audio"):
            if (ailment := health.at(port, t_ns)) is not None:
                yield t_ns, f"{port} {ailment.name}"


def false_alarms(seeds: range, seconds: int) -> list[str]:
    """What was found to be wrong where nothing is."""
    found = []
    for seed in seeds:
        told = {what for _, what in watch(Health(reference_spec().ports), drive(seed, seconds), 0, seconds)}
        found += [f"scene {seed}: {what}" for what in sorted(told)]
    return found


def test_healthy_scenes_raise_no_alarm():
    assert false_alarms(range(3), 8) == []


@pytest.mark.slow
def test_ten_minutes_of_healthy_scenes_raise_one_alarm_at_most():
    assert len(false_alarms(range(100, 120), 30)) <= 1


def cap(pixels: Pixels, random: np.random.Generator) -> Pixels:
    return random.normal(3, 4, pixels.shape).clip(0, 255).astype(np.uint8)


def hand(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """Nothing but the light that comes through and around the fingers."""
    light = 0.3 * pixels.mean() * np.linspace(0.6, 1, len(pixels))[:, None, None] * np.array([1.3, 0.8, 0.7])
    return (light + random.normal(0, 4, pixels.shape)).clip(0, 255).astype(np.uint8)


def tape(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """Milky: bright and dark sides of the scene can still be told."""
    coarse = cv2.resize(pixels, (4, 3), interpolation=cv2.INTER_AREA)
    smooth = 0.7 * cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_LINEAR)
    return (smooth + random.normal(0, 4, pixels.shape)).clip(0, 255).astype(np.uint8)


def unplugged(samples: npt.NDArray[np.float32], random: np.random.Generator) -> npt.NDArray[np.float32]:
    """An open input: the noise of the converter alone, one step of 16 bits."""
    return (random.integers(0, 2, len(samples)) / 32768).astype(np.float32)


@pytest.mark.parametrize("cover", [cap, hand, tape])
@pytest.mark.parametrize("seed", range(3))
def test_a_covered_lens_and_a_muted_microphone_are_noticed_within_a_second(cover, seed):
    clip, health, random = drive(seed, 5), Health(reference_spec().ports), np.random.default_rng(seed)
    assert not list(watch(health, clip, 0, 3))
    spoiled = watch(health, clip, 3, 4.2, lambda pixels, samples: (cover(pixels, random), unplugged(samples, random)))
    noticed = {}
    for t_ns, what in spoiled:
        noticed.setdefault(what, t_ns)
    seen, heard = (next(t for what, t in noticed.items() if what.startswith(port)) for port in ("image", "audio"))
    assert max(seen, heard) <= 4 * NS
    assert "audio muted" in noticed
    assert {"image black", "image covered"} & noticed.keys()  # a hand at night is black
