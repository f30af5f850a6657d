"""What a slow camera encoder does to decisions on sound: ``python -m mmedge_bench.slow_camera BUNDLE``.

The camera's encoder takes 100 ms longer than it does, asleep, as if another device computed it. The same live stream
runs with the camera and without it (its last picture stands), in turn, and so does a serial stream with it, which is
what a loop on one thread does. Timed is the wall time from the push of a hop of sound to its decision.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter_ns

import click
import numpy as np

from mmedge.stream import Stream, StreamOptions
from mmedge.types import NS
from mmedge_bench.feeding import Feeder, open_sessions
from mmedge_bench.processor import made_with

__all__ = ["SlowCamera", "main", "measure_slow_camera"]

SLOWER_S = 0.1
WARM = 10  # ticks of a turn that are not counted


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowCamera:
    """Milliseconds from sound to decision, [median, 99th percentile].

    Attributes:
        ticks: How many of each.
        with_camera: In a live stream whose camera encoder takes 100 ms longer.
        without: In the same stream while the camera gives nothing.
        serial: In a serial stream with the camera.
        ratio: 99th percentile with the camera, over that without.
        pictures: How many were encoded meanwhile, and how many had to make room.
        made_with: The processor, and versions of the libraries.
    """

    ticks: int
    with_camera: tuple[float, float]
    without: tuple[float, float]
    serial: tuple[float, float]
    ratio: float
    pictures: tuple[int, int]
    made_with: dict[str, str]


def measure_slow_camera(bundle: Path, turns: int, turn_hops: int) -> SlowCamera:
    """Time a bundle with one audio port and one camera.

    Args:
        bundle: Its folder.
        turns: How often camera and no camera take turns.
        turn_hops: Hops of sound in a turn.
    """
    manifest = open_sessions(bundle)[0]
    camera = next(name for name, port in manifest.ports.items() if port.camera)
    first = next(stage.name for stage in manifest.stages if stage.ports == (camera,))
    manifest, sessions = open_sessions(bundle, {first: SLOWER_S})
    feeder = Feeder(manifest)
    frames = feeder.camera.frames if feeder.camera else 1
    begin = feeder.warm_hops + 2 * frames * int(SLOWER_S * NS) // feeder.hop_ns  # the window fills slowly, too
    made: list[tuple[int, float]] = []
    with Stream(manifest, sessions, "audio", None, StreamOptions(live=True)) as stream:
        stream.decider.observers.append(lambda p: made.append((p.t_ns, p.latency_ns / 1e6)))
        start_ns = feeder.feed_live(
            stream, begin + 2 * turns * turn_hops, lambda hop: hop < begin or _turn(hop - begin, turn_hops) == 0
        )
        pictures = stream.runs[first], stream.counters[camera]["dropped"]
    hops = [(round((t_ns - start_ns) / feeder.hop_ns) - 1 - begin, latency) for t_ns, latency in made]
    counted = [(hop, latency) for hop, latency in hops if hop >= 0 and hop % turn_hops >= WARM]
    seeing, blind = ([latency for hop, latency in counted if _turn(hop, turn_hops) == turn] for turn in (0, 1))
    with Stream(manifest, sessions, "audio") as stream:
        serial = _serial(stream, feeder, begin, turns * turn_hops)
    return SlowCamera(
        ticks=len(seeing),
        with_camera=_summary(seeing),
        without=_summary(blind),
        serial=_summary(serial),
        ratio=round(float(np.percentile(seeing, 99) / np.percentile(blind, 99)), 2),
        pictures=pictures,
        made_with=made_with(),
    )


def _turn(hop: int, turn_hops: int) -> int:
    return hop // turn_hops % 2


def _serial(stream: Stream, feeder: Feeder, begin: int, hops: int) -> list[float]:
    """Sound waits while a picture is encoded: its wait counts, as it would in a loop that cannot keep up."""
    taken, begin_ns, busy_until_ns = [], perf_counter_ns(), 0
    for number in range(begin + hops):
        comes_ns = (number + 1) * feeder.hop_ns  # on a clock that stands still while nothing is worked on
        clock_ns = max(busy_until_ns, comes_ns)
        begin_ns = perf_counter_ns()
        feeder.show(stream, 0, number)
        stream.push_audio(feeder.hop(number), number * feeder.hop_ns)
        busy_until_ns = clock_ns + perf_counter_ns() - begin_ns
        if number >= begin:
            taken.append((busy_until_ns - comes_ns) / 1e6)
    return taken


def _summary(taken_ms: list[float]) -> tuple[float, float]:
    middle, tail = np.percentile(taken_ms, [50, 99])
    return round(float(middle), 3), round(float(tail), 3)


@click.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path))
@click.option("--turns", default=10, show_default=True, help="How often camera and no camera take turns.")
@click.option("--hops", default=150, show_default=True, help="Hops of sound in a turn.")
@click.option("--output", type=click.Path(path_type=Path), help="Also write the result here, as JSON.")
def main(bundle: Path, turns: int, hops: int, output: Path | None) -> None:
    """Time decisions of BUNDLE on sound while its camera encoder takes 100 ms longer."""
    result = measure_slow_camera(bundle, turns, hops)
    click.echo(f"{f'{result.ticks} ticks each':40}{'p50 ms':>9}{'p99 ms':>9}")
    for name, what in (
        ("with_camera", "live, camera encoder 100 ms slower"),
        ("without", "live, no pictures come"),
        ("serial", "serial, camera encoder 100 ms slower"),
    ):
        middle, tail = getattr(result, name)
        click.echo(f"{what:40}{middle:9.2f}{tail:9.2f}")
    click.echo(f"ratio of the 99th percentiles, live with to live without: {result.ratio:.2f}")
    click.echo(f"pictures: {result.pictures[0]} encoded, {result.pictures[1]} made room")
    if output:
        output.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
