"""A scene that is made up, for machines without sensors: a drifting pattern, flashes and tones at known times."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import count, takewhile

import numpy as np

from mmedge.sources.chunks import Samples, chunk_length, to_chunks
from mmedge.sources.recording import Recording
from mmedge.types import NS, Array, AudioChunk, VideoFrame

__all__ = ["event_times", "synthetic_camera", "synthetic_sound"]

SLOT_NS = 2 * NS  # one event in every two seconds
EVENT_NS = NS // 4
TONE_HZ, TONE, NOISE = 1000, 0.5, 0.01
BLOCK_S = 0.1


def event_times(seconds: float, *, seed: int = 1) -> list[int]:
    """When the events of a scene begin, in nanoseconds; each lasts a quarter of a second.

    Args:
        seconds: Length of the scene.
        seed: Of the scene.
    """
    return list(takewhile(lambda t_ns: t_ns < seconds * NS, (_event(slot, seed) for slot in count())))


def synthetic_camera(
    *, seconds: float = 10, seed: int = 1, rate_hz: float = 15, width_px: int = 320, height_px: int = 240
) -> Recording[VideoFrame]:
    """The pictures of a scene: a drifting pattern, and a white square in its middle during an event.

    Args:
        seconds: How long it lasts.
        seed: Scenes of one seed have their events at the same times for eye and ear.
        rate_hz: Pictures per second; picture n is taken at ``n / rate_hz``.
        width_px: Width.
        height_px: Height.
    """
    source: Recording[VideoFrame] = Recording("the synthetic scene", lambda: None)
    times = takewhile(lambda t_ns: t_ns < seconds * NS, (round(n * NS / rate_hz) for n in count()))
    source._packets = (VideoFrame(pixels=_picture(t_ns, seed, width_px, height_px), t_ns=t_ns) for t_ns in times)
    return source


def synthetic_sound(
    *, seconds: float = 10, seed: int = 1, rate_hz: int = 16000, chunk_ms: int = 20
) -> Recording[AudioChunk]:
    """The sound of a scene: faint noise, and a tone of 1 kHz during an event.

    Args:
        seconds: How long it lasts.
        seed: Of the scene.
        rate_hz: Samples per second.
        chunk_ms: Length of a chunk.
    """
    source: Recording[AudioChunk] = Recording("the synthetic sound", lambda: None)
    source._packets = to_chunks(_sound(seconds, seed, rate_hz), rate_hz, 0, chunk_length(rate_hz, chunk_ms))
    return source


@lru_cache(maxsize=8)
def _event(slot: int, seed: int) -> int:
    return slot * SLOT_NS + NS // 2 + int(np.random.default_rng((seed, slot)).integers(NS))


def _during_event(t_ns: int, seed: int) -> bool:
    return 0 <= t_ns - _event(t_ns // SLOT_NS, seed) < EVENT_NS


@lru_cache(maxsize=8)
def _pattern(width_px: int, height_px: int, seed: int) -> Array:
    """Smooth blobs of colour that join at the left and right edge."""
    y, x = np.mgrid[:height_px, :width_px]
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, 3)
    waves = [np.sin(2 * np.pi * (k + 1) * x / width_px + y / 20 + phase) for k, phase in enumerate(phases)]
    return (100 + 50 * np.stack(waves, axis=-1)).astype(np.uint8)


def _picture(t_ns: int, seed: int, width_px: int, height_px: int) -> Array:
    shift = t_ns * width_px // (8 * NS) % width_px  # once around in eight seconds
    pixels = np.roll(_pattern(width_px, height_px, seed), shift, axis=1)
    if _during_event(t_ns, seed):
        pixels[height_px // 4 : 3 * height_px // 4, width_px // 4 : 3 * width_px // 4] = 255
    return pixels


def _sound(seconds: float, seed: int, rate_hz: int) -> Iterator[Samples]:
    total, length = round(seconds * rate_hz), round(rate_hz * BLOCK_S)
    for block, start in enumerate(range(0, total, length)):
        n = np.arange(start, min(start + length, total))
        samples = NOISE * np.random.default_rng((seed, 1, block)).standard_normal(length)[: len(n)]
        for slot in {int(n[0]) * NS // rate_hz // SLOT_NS, int(n[-1]) * NS // rate_hz // SLOT_NS}:
            since = n / rate_hz - _event(slot, seed) / NS
            inside = (since >= 0) & (since < EVENT_NS / NS)
            samples += np.where(inside, TONE * np.sin(2 * np.pi * TONE_HZ * since), 0)
        yield samples.astype(np.float32)
