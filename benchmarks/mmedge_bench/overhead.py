"""What a tick costs beside the sessions: ``python -m mmedge_bench.overhead BUNDLE``.

Sound comes hop by hop, pictures at the camera's rate, ticks with the sound. Timed is what passes from the push of a hop
to its prediction, less the time that ONNX Runtime computes: front end, copies, decoding, threads, Python. A serial
stream works in the thread that pushes, as fast as it goes, with warm caches; a live one is fed at the sensors' own
pace, so that threads sleep and are woken, and caches cool, as in a robot.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter_ns

import click
import numpy as np

from mmedge.features.audio import AudioFrontEnd
from mmedge.stream import Stream, StreamOptions
from mmedge.types import Prediction
from mmedge_bench.feeding import Feeder, open_sessions
from mmedge_bench.processor import made_with

__all__ = ["Overhead", "main", "measure_overhead"]

STREAMS = 5  # serial ones, one after another: where a stream's memory lies makes a difference of some percent


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """Microseconds of one tick, [median, 99th percentile].

    Attributes:
        ticks: How many were timed, in each stream.
        front_end: A hop of sound through the front end alone.
        serial: A tick of a serial stream, less its sessions, over several streams.
        live: A tick of a live stream, less its sessions.
        live_latency: From the push of a hop to its prediction in the live stream, sessions included.
        made_with: The processor, and versions of the libraries.
    """

    ticks: int
    front_end: tuple[float, float]
    serial: tuple[float, float]
    live: tuple[float, float]
    live_latency: tuple[float, float]
    made_with: dict[str, str]


def measure_overhead(bundle: Path, ticks: int) -> Overhead:
    """Time a bundle with one audio port and at most one camera.

    Args:
        bundle: Its folder.
        ticks: How many to time of each kind; live ones take as long as their sound.
    """
    manifest, sessions = open_sessions(bundle)
    feeder = Feeder(manifest)
    serial: list[int] = []
    for _ in range(STREAMS):
        with Stream(manifest, sessions, "audio") as stream:
            serial += _serial(stream, feeder, ticks)
    with Stream(manifest, sessions, "audio", None, StreamOptions(live=True)) as stream:
        live, latency = _live(stream, feeder, ticks)
    return Overhead(
        ticks=ticks,
        front_end=_summary(_front_end(feeder, ticks)),
        serial=_summary(serial),
        live=_summary(live),
        live_latency=_summary(latency),
        made_with=made_with(),
    )


def _front_end(feeder: Feeder, ticks: int) -> list[int]:
    front, taken = AudioFrontEnd(feeder.audio), []
    out = np.zeros(feeder.audio.shape, np.float32)
    for number in range(feeder.warm_hops + ticks):
        begin = perf_counter_ns()
        front.push(feeder.hop(number))
        if front.ready:
            front.write(out)
        taken.append(perf_counter_ns() - begin)
    return taken[-ticks:]


def _serial(stream: Stream, feeder: Feeder, ticks: int) -> list[int]:
    taken = []
    for number in range(feeder.warm_hops + ticks):
        feeder.show(stream, 0, number)
        spent, begin = sum(stream.work_ns.values()), perf_counter_ns()
        stream.push_audio(feeder.hop(number), number * feeder.hop_ns)
        wall = perf_counter_ns() - begin
        taken.append(wall - (sum(stream.work_ns.values()) - spent))
    return taken[-ticks:]


def _live(stream: Stream, feeder: Feeder, ticks: int) -> tuple[list[int], list[int]]:
    heard = next(name for name, counts in stream.counters.items() if "lost_samples" in counts)
    graphs = (stream.decider.head, stream.branches[heard].graph)
    latency: list[int] = []
    spent: list[int] = []

    def observe(prediction: Prediction) -> None:  # in the thread that runs these two graphs
        latency.append(prediction.latency_ns)
        spent.append(sum(sum(graph.work_ns.values()) for graph in graphs))

    stream.decider.observers.append(observe)
    feeder.feed_live(stream, feeder.warm_hops + ticks)
    beside = np.array(latency[1:]) - np.diff(spent)
    return beside[-ticks:].tolist(), latency[-ticks:]


def _summary(taken_ns: list[int]) -> tuple[float, float]:
    middle, tail = np.percentile(taken_ns, [50, 99])
    return round(float(middle) / 1000, 1), round(float(tail) / 1000, 1)


@click.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path))
@click.option("--ticks", default=2000, show_default=True, help="How many to time of each kind.")
@click.option("--output", type=click.Path(path_type=Path), help="Also write the result here, as JSON.")
def main(bundle: Path, ticks: int, output: Path | None) -> None:
    """Time what ticks of BUNDLE cost beside its sessions."""
    result = measure_overhead(bundle, ticks)
    click.echo(f"{f'{ticks} ticks':40}{'p50 us':>9}{'p99 us':>9}")
    for name, what in (
        ("front_end", "the front end of the sound, alone"),
        ("serial", "serial stream, beside its sessions"),
        ("live", "live stream, beside its sessions"),
        ("live_latency", "live, from push to prediction, all"),
    ):
        middle, tail = getattr(result, name)
        click.echo(f"{what:40}{middle:9.1f}{tail:9.1f}")
    if output:
        output.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
