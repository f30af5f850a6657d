"""The packets that every contestant is given, and when each should have been there."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import count

import numpy as np

from mmedge.bundle import Bundle
from mmedge.manifest import Manifest, Port
from mmedge.ticks import parse_tick
from mmedge.types import NS, Array, AudioChunk, Packet, TensorReading, TextMessage, VideoFrame
from mmedge_bench.scenarios import Rhythm

__all__ = ["Arrival", "Workload", "data_hash", "make_workload", "ticks_of"]

CHUNK_MS = 10  # what a microphone gives at a time
SEED = 20240


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One packet.

    Attributes:
        due_ns: When the sensor hands it over, from the start of the stream.
        end_ns: The newest moment that its data stands for.
        port: Where it goes.
        packet: What it is.
    """

    due_ns: int
    end_ns: int
    port: str
    packet: Packet


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A stretch of stream.

    Attributes:
        arrivals: In the order in which they come.
        stream_ns: Its length.
    """

    arrivals: tuple[Arrival, ...]
    stream_ns: int

    def first_that_reaches(self, t_ns: Array, manifest: Manifest, tick: str) -> Array:
        """[N] number of the arrival at which each tick could first be decided.

        That is the first packet of the port that the ticks follow whose data reaches the tick; on a grid, also the
        first of any other port that was taken after it.
        """
        parsed, ports = parse_tick(tick, manifest), manifest.ports
        reach = [-1] * len(self.arrivals)
        for i, arrival in enumerate(self.arrivals):
            if parsed.port == arrival.port or parsed.kind == "any":
                reach[i] = arrival.end_ns
            elif parsed.kind == "grid":
                reach[i] = arrival.end_ns if ports[arrival.port].audio else arrival.end_ns - 1
        at: Array = np.searchsorted(np.maximum.accumulate(reach), t_ns)
        return np.minimum(at, len(self.arrivals) - 1)


def ticks_of(manifest: Manifest, tick: str, workload: Workload, first_ns: int) -> int:
    """How many ticks there are from the first decision to the end of the stream; 0 where they keep no rate."""
    parsed = parse_tick(tick, manifest)
    if not parsed.rate_hz:
        return 0
    last_ns = max((arrival.end_ns for arrival in workload.arrivals), default=first_ns)
    return 1 + int((last_ns - first_ns) * parsed.rate_hz / NS + Fraction(1, 1000))


def make_workload(
    bundle: Bundle, rates_hz: Mapping[str, float], rhythm: Rhythm, seconds: float, number: int
) -> Workload:
    """Packets made of the bundle's recorded samples, over and over.

    Args:
        bundle: With its samples.
        rates_hz: Packets per second of every camera, tensor and text port.
        rhythm: How the sensors behave.
        seconds: Length of the stream.
        number: Another one is another stream of the same kind; the same one is the same stream.
    """
    golden, ports = bundle.read_golden(), bundle.manifest.ports
    random = np.random.default_rng([SEED, number])
    arrivals: list[Arrival] = []
    for name, port in ports.items():
        if port.state is None:
            packets = _packets(port, golden[f"sensor/{name}"], rates_hz.get(name, 1.0), int(seconds * NS))
            arrivals += _delivered(name, packets, rhythm, random)
    arrivals.sort(key=lambda arrival: (arrival.due_ns, isinstance(arrival.packet, AudioChunk)))
    return Workload(arrivals=tuple(arrivals), stream_ns=int(seconds * NS))


def data_hash(bundle: Bundle) -> dict[str, str]:
    """Where the data comes from, and its SHA-256."""
    return {
        "source": "samples recorded in the bundle",
        "sha256": hashlib.sha256(bundle.read(bundle.manifest.golden)).hexdigest(),
    }


def _packets(port: Port, samples: Array, rate_hz: float, stream_ns: int) -> Iterator[tuple[int, Packet]]:
    """Packets with the end of what they hold."""
    if port.audio is not None:
        yield from _chunks(samples.reshape(-1), port.audio.rate_hz, stream_ns)
        return
    make: Callable[[int, int], Packet]
    if port.camera is not None:
        frames = samples.reshape(-1, *samples.shape[-3:])
        make = lambda i, t_ns: VideoFrame(pixels=frames[i % len(frames)], t_ns=t_ns)  # noqa: E731
    elif port.text is not None:
        make = lambda i, t_ns: TextMessage(text=str(samples[i % len(samples)]), t_ns=t_ns)  # noqa: E731
    else:
        make = lambda i, t_ns: TensorReading(values=samples[i % len(samples)], t_ns=t_ns)  # noqa: E731
    for i in count():
        t_ns = round(i * NS / rate_hz)
        if t_ns >= stream_ns:
            return
        yield t_ns, make(i, t_ns)


def _chunks(samples: Array, rate_hz: int, stream_ns: int) -> Iterator[tuple[int, Packet]]:
    size = rate_hz * CHUNK_MS // 1000
    round_and_on = np.concatenate([samples, np.resize(samples, size)])  # chunks are views: a long stream has many
    for first in range(0, stream_ns * rate_hz // NS - size + 1, size):
        chunk = round_and_on[first % len(samples) :][:size]
        end_ns = (first + size) * NS // rate_hz
        yield end_ns, AudioChunk(samples=chunk, t_ns=first * NS // rate_hz, rate_hz=rate_hz)


def _delivered(
    port: str, packets: Iterator[tuple[int, Packet]], rhythm: Rhythm, random: np.random.Generator
) -> Iterator[Arrival]:
    due_ns = 0
    for end_ns, packet in packets:
        jitter_ns = int(random.uniform(0, rhythm.jitter_ms) * 1e6)
        lost = random.uniform() < rhythm.lost
        if lost or _within(end_ns, rhythm.idle_every_s, rhythm.idle_ms):
            continue
        held_ns = _within(end_ns, rhythm.burst_every_s, rhythm.burst_ms)
        due_ns = max(due_ns, end_ns + held_ns + jitter_ns)  # one sensor's packets keep their order
        yield Arrival(due_ns=due_ns, end_ns=end_ns, port=port, packet=packet)


def _within(t_ns: int, every_s: float, length_ms: float) -> int:
    """How long the gap still lasts that a moment falls into; gaps begin after each period."""
    if not every_s or t_ns < every_s * NS:
        return 0
    return max(0, int(length_ms * 1e6 - t_ns % (every_s * NS)))
