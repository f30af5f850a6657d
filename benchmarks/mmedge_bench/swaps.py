"""Whether models are exchanged without a gap: ``python -m mmedge_bench.swaps BUNDLE``, 100 swaps under load.

A live stream is fed as fast as it decides, a few hops ahead, while another thread puts one model after another in the
place of the one that decides: beside it until it is ready, switched, the old one closed. Counted are ticks that are
missing or told twice; resident memory is read after every ten swaps.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle, pairwise
from pathlib import Path
from threading import Event, Thread
from time import perf_counter, sleep

import click

from mmedge.model import Model, load
from mmedge.stream import Stream
from mmedge.swap import Swap
from mmedge.types import NS
from mmedge_bench.feeding import Feeder
from mmedge_bench.processor import made_with
from mmedge_bench.steady import AHEAD, resident_kib

__all__ = ["Swaps", "main", "measure_swaps"]

READY_S = 30
Told = list[tuple[int, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Swaps:
    """What swaps did to a stream.

    Attributes:
        swaps: How many.
        took_s: Wall time.
        ticks: Predictions.
        switches: How often the model of a prediction was another one than before.
        missing: Ticks without a prediction.
        twice: Predictions of a tick that had one.
        passed_over: Ticks that its models counted as left out, because the machine was behind.
        rss_mib: After every ten swaps.
        made_with: The processor, and versions of the libraries.
    """

    swaps: int
    took_s: float
    ticks: int
    switches: int
    missing: int
    twice: int
    passed_over: int
    rss_mib: list[float]
    made_with: dict[str, str]


def measure_swaps(bundle: Path, swaps: int) -> Swaps:
    """Feed a bundle with one audio port and at most one camera, and exchange it for itself.

    Args:
        bundle: Its folder.
        swaps: How many.
    """
    told: Told = []
    rss: list[float] = []
    begin, passed_over = perf_counter(), 0
    with load(bundle) as one, load(bundle) as other:
        one.id, other.id = "one", "other"
        feeder = Feeder(one.manifest)
        with one.stream("audio", live=True) as stream:
            stream.observers.append(lambda prediction: told.append((prediction.t_ns, prediction.model)))
            ended = Event()
            feeding = Thread(target=_feed, args=(stream, feeder, told, ended))
            feeding.start()
            try:
                for number, left_out in enumerate(_exchange(stream, (other, one), swaps), 1):
                    passed_over += left_out
                    if number % 10 == 0:
                        rss.append(round(resident_kib() / 1024, 2))
            finally:
                ended.set()
                feeding.join()
            passed_over += stream.totals["passed_over"]
    steps = [(after[0] - before[0]) // feeder.hop_ns for before, after in pairwise(told)]
    return Swaps(
        swaps=swaps,
        took_s=round(perf_counter() - begin, 1),
        ticks=len(told),
        switches=sum(before[1] != after[1] for before, after in pairwise(told)),
        missing=sum(step - 1 for step in steps if step > 1),
        twice=sum(step < 1 for step in steps),
        passed_over=passed_over,
        rss_mib=rss,
        made_with=made_with(),
    )


def _exchange(stream: Stream, models: tuple[Model, ...], swaps: int) -> Iterator[int]:
    """Swap by swap; yields the ticks that the old model had left out."""
    for _, model in zip(range(swaps), cycle(models), strict=False):
        with Swap(stream, model) as swap:
            if not swap.wait(READY_S):
                raise TimeoutError(f"a swap was not ready after {READY_S} s")
            left_out = stream.totals["passed_over"]
            swap.switch()
        yield left_out


def _feed(stream: Stream, feeder: Feeder, told: Told, ended: Event) -> None:
    number = 0
    while not ended.is_set():
        feeder.show(stream, 0, number)
        stream.push_audio(feeder.hop(number), number * feeder.hop_ns)
        if not told:
            sleep(feeder.hop_ns / NS)  # windows fill at the sensors' pace
        while told and number * feeder.hop_ns - told[-1][0] > AHEAD * feeder.hop_ns and not ended.is_set():
            sleep(0.0002)
        stream.poll()
        number += 1


@click.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path))
@click.option("--swaps", default=100, show_default=True, type=click.IntRange(min=10), help="How many.")
@click.option("--output", type=click.Path(path_type=Path), help="Also write the result here, as JSON.")
def main(bundle: Path, swaps: int, output: Path | None) -> None:
    """Exchange BUNDLE for itself again and again while it decides."""
    result = measure_swaps(bundle, swaps)
    click.echo(f"{result.swaps} swaps in {result.took_s} s and {result.ticks} ticks, {result.switches} switches seen")
    click.echo(f"{result.missing} ticks missing ({result.passed_over} passed over), {result.twice} told twice")
    click.echo(f"resident {result.rss_mib[0]:.1f} MiB after ten swaps, {result.rss_mib[-1]:.1f} MiB at the end")
    if output:
        output.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
