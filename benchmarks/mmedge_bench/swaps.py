"""Whether models are exchanged without a gap: ``python -m mmedge_bench.swaps BUNDLE``, 100 swaps under load.

A live stream is fed as fast as it decides, a few hops ahead, while another thread puts one model after another in the
place of the one that decides: beside it until it is ready, switched, the old one closed. Counted are ticks that are
missing or told twice. Memory is read after every swap: what is resident, and what is allocated. The C library keeps
much of what is free; how much, wanders, as new threads take turns with its heaps.
"""

import ctypes
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, cycle
from pathlib import Path
from statistics import median
from threading import Event, Thread
from time import perf_counter, sleep

import click

from mmedge.model import Model, load
from mmedge.stream import Stream
from mmedge.swap import Swap
from mmedge.types import NS, Prediction
from mmedge_bench.feeding import Feeder
from mmedge_bench.processor import made_with
from mmedge_bench.steady import AHEAD, resident_kib

__all__ = ["Swaps", "main", "measure_swaps"]

READY_S = 30
SETTLED = 20  # swaps, until every thread's heap has been used
KIB = 1024


class Told:
    """What was predicted, counted as it comes, so that nothing here grows.

    Attributes:
        ticks: Predictions.
        switches: How often the model of one was another one than before.
        missing: Ticks without one.
        twice: Those of a tick that had one.
        newest_ns: The tick of the newest one; None before the first.
    """

    def __init__(self, hop_ns: int) -> None:
        self.ticks = self.switches = self.missing = self.twice = 0
        self.newest_ns: int | None = None
        self._hop_ns, self._model = hop_ns, ""

    def __call__(self, prediction: Prediction) -> None:
        """Count a prediction; for ``stream.observers``."""
        if self.newest_ns is not None:
            steps = (prediction.t_ns - self.newest_ns) // self._hop_ns
            self.missing += max(0, steps - 1)
            self.twice += steps < 1
            self.switches += prediction.model != self._model
        self.ticks += 1
        self.newest_ns, self._model = prediction.t_ns, prediction.model


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
        rss_mib: Resident, the median of every ten swaps.
        heap_mib: Of the C library's heaps, what is allocated and not freed, likewise.
        objects: Blocks of memory that Python's objects take, likewise.
        rss_kib_per_swap: How fast resident memory grows after the first 20 swaps, see :func:`growth`.
        heap_kib_per_swap: Likewise what is allocated.
        objects_per_swap: Likewise Python's blocks.
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
    heap_mib: list[float]
    objects: list[float]
    rss_kib_per_swap: float
    heap_kib_per_swap: float
    objects_per_swap: float
    made_with: dict[str, str]


def measure_swaps(bundle: Path, swaps: int) -> Swaps:
    """Feed a bundle with one audio port and at most one camera, and exchange it for itself.

    Args:
        bundle: Its folder.
        swaps: How many.
    """
    rss_kib: list[float] = []
    heap_kib: list[float] = []
    objects: list[float] = []
    begin, passed_over = perf_counter(), 0
    with load(bundle) as one, load(bundle) as other:
        one.id, other.id = "one", "other"
        feeder = Feeder(one.manifest)
        told = Told(feeder.hop_ns)
        with one.stream("audio", live=True) as stream:
            stream.observers.append(told)
            ended = Event()
            feeding = Thread(target=_feed, args=(stream, feeder, told, ended))
            feeding.start()
            try:
                for left_out in _exchange(stream, (other, one), swaps):
                    passed_over += left_out
                    rss_kib.append(resident_kib())
                    heap_kib.append(heap_bytes() / KIB)
                    objects.append(sys.getallocatedblocks())
            finally:
                ended.set()
                feeding.join()
            passed_over += stream.totals["passed_over"]
    return Swaps(
        swaps=swaps,
        took_s=round(perf_counter() - begin, 1),
        ticks=told.ticks,
        switches=told.switches,
        missing=told.missing,
        twice=told.twice,
        passed_over=passed_over,
        rss_mib=[round(kib / KIB, 2) for kib in _by_ten(rss_kib)],
        heap_mib=[round(kib / KIB, 2) for kib in _by_ten(heap_kib)],
        objects=_by_ten(objects),
        rss_kib_per_swap=growth(rss_kib[SETTLED:]),
        heap_kib_per_swap=growth(heap_kib[SETTLED:]),
        objects_per_swap=growth(objects[SETTLED:]),
        made_with=made_with(),
    )


def heap_bytes() -> int:
    """What is allocated and not freed in the heaps of all threads; Python's small objects are kept elsewhere.

    Source: mallinfo2(3) of glibc 2.33 and newer.
    """
    read = ctypes.CDLL(None).mallinfo2
    read.restype = _Heaps
    heaps = read()
    return int(heaps.uordblks + heaps.hblkhd)


class _Heaps(ctypes.Structure):
    names = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    _fields_ = [(name, ctypes.c_size_t) for name in names]


def growth(readings: Sequence[float]) -> float:
    """From one reading to the next: the median slope over all pairs of them, which outliers do not move.

    Source: Theil 1950, Sen 1968.
    """
    pairs = combinations(enumerate(readings), 2)
    return round(median((after - before) / (there - here) for (here, before), (there, after) in pairs), 2)


def _by_ten(readings: Sequence[float]) -> list[float]:
    return [median(readings[at : at + 10]) for at in range(0, len(readings), 10)]


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
        if told.newest_ns is None:
            sleep(feeder.hop_ns / NS)  # windows fill at the sensors' pace
        while told.newest_ns is not None and number - told.newest_ns // feeder.hop_ns > AHEAD and not ended.is_set():
            sleep(0.0002)
        stream.poll()
        number += 1


@click.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path))
@click.option("--swaps", default=100, show_default=True, type=click.IntRange(min=2 * SETTLED), help="How many.")
@click.option("--output", type=click.Path(path_type=Path), help="Also write the result here, as JSON.")
def main(bundle: Path, swaps: int, output: Path | None) -> None:
    """Exchange BUNDLE for itself again and again while it decides."""
    result = measure_swaps(bundle, swaps)
    click.echo(f"{result.swaps} swaps in {result.took_s} s and {result.ticks} ticks, {result.switches} switches seen")
    click.echo(f"{result.missing} ticks missing ({result.passed_over} passed over), {result.twice} told twice")
    click.echo(f"resident {result.rss_mib[0]:.1f} MiB after ten swaps, {result.rss_mib[-1]:.1f} MiB at the end")
    click.echo(f"after {SETTLED} swaps, each adds {result.rss_kib_per_swap:+.1f} KiB resident,")
    click.echo(
        f"{result.heap_kib_per_swap:+.1f} KiB allocated and {result.objects_per_swap:+.1f} blocks of Python's objects"
    )
    if output:
        output.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
