"""Whether memory stays flat: ``python -m mmedge_bench.steady BUNDLE``, 30 minutes of stream as fast as it goes.

A live stream is fed sound and pictures without pauses; the feeder waits only where decisions could not follow. Resident
memory is read at every minute of stream time. At the end the last third is compared with the second one: the first is
left out, while libraries fill their pools.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

import click

from mmedge.stream import Stream, StreamOptions
from mmedge.types import NS
from mmedge_bench.feeding import Feeder, open_sessions
from mmedge_bench.processor import made_with
from mmedge_bench.resident import resident_kib

__all__ = ["AHEAD", "Steady", "main", "measure_steady", "resident_kib"]

AHEAD = 4  # hops that may be pushed and not decided yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """Resident memory along a stream.

    Attributes:
        minutes: Of the stream.
        took_s: Wall time.
        ticks: Predictions.
        left_out: Ticks and packets that had to make room.
        rss_mib: At each minute.
        growth_kib: Median of the last third less that of the second.
        made_with: The processor, and versions of the libraries.
    """

    minutes: int
    took_s: float
    ticks: int
    left_out: int
    rss_mib: list[float]
    growth_kib: float
    made_with: dict[str, str]


def measure_steady(bundle: Path, minutes: int) -> Steady:
    """Feed a bundle with one audio port and at most one camera.

    Args:
        bundle: Its folder.
        minutes: Of stream time, 3 or more.
    """
    manifest, sessions = open_sessions(bundle)
    feeder, rss, begin = Feeder(manifest), [], perf_counter()
    per_minute = 60 * NS // feeder.hop_ns
    with Stream(manifest, sessions, "audio", None, StreamOptions(live=True)) as stream:
        decided_ns = [0]
        stream.decider.observers.append(lambda prediction: decided_ns.__setitem__(0, prediction.t_ns))
        for number in range(minutes * per_minute):
            feeder.show(stream, 0, number)
            stream.push_audio(feeder.hop(number), number * feeder.hop_ns)
            if not decided_ns[0]:
                sleep(feeder.hop_ns / NS)  # windows fill at the sensors' pace
            while decided_ns[0] and number * feeder.hop_ns - decided_ns[0] > AHEAD * feeder.hop_ns:
                sleep(0.0002)
            stream.poll()
            if (number + 1) % per_minute == 0:
                rss.append(resident_kib() / 1024)
        totals, dropped = stream.totals, sum(counts["dropped"] for counts in stream.counters.values())
    third = len(rss) // 3
    growth = median(rss[-third:]) - median(rss[third : 2 * third])
    return Steady(
        minutes=minutes,
        took_s=round(perf_counter() - begin, 1),
        ticks=totals["ticks"],
        left_out=totals["passed_over"] + dropped,
        rss_mib=[round(value, 2) for value in rss],
        growth_kib=round(growth * 1024, 1),
        made_with=made_with(),
    )


@click.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path))
@click.option("--minutes", default=30, show_default=True, type=click.IntRange(min=3), help="Of stream time.")
@click.option("--output", type=click.Path(path_type=Path), help="Also write the result here, as JSON.")
def main(bundle: Path, minutes: int, output: Path | None) -> None:
    """Feed BUNDLE as fast as it goes, and watch its memory."""
    result = measure_steady(bundle, minutes)
    click.echo(f"{result.minutes} min of stream in {result.took_s} s, {result.ticks} ticks, {result.left_out} left out")
    click.echo(f"resident {result.rss_mib[0]:.1f} MiB after a minute, {result.rss_mib[-1]:.1f} MiB at the end")
    click.echo(f"last third against the second: {result.growth_kib:+.0f} KiB")
    if output:
        output.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
