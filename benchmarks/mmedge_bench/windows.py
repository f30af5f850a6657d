"""Work per tick of a window model, in stages and whole: ``python -m mmedge_bench.windows BUNDLE WHOLE.onnx``.

At every tick each sensor has something new: one picture, one hop of sound. The stages encode what is new, the unsplit
graph everything that its windows hold. Both run in ONNX Runtime with one thread, and what they make is compared. Work
is processor time of that thread: on a machine that does other things too, the long runs of the unsplit graph are
interrupted more often than the short ones of the stages.

It is measured in two rhythms, and so is what ``mmedge inspect`` predicts. *Cold* is the one of a robot: other work
empties the caches before every tick, and the two ways take turns tick by tick; this is what inspect shows. *Warm* is
the one of a loop that does nothing else: the two ways take turns in blocks of ticks. Warm caches flatter both, and the
stages more: the unsplit graph warms its caches itself, with the first of the pictures that it encodes.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import thread_time_ns

import click
import numpy as np
import numpy.typing as npt

from mmedge.bundle import Bundle, open_bundle
from mmedge.console import table
from mmedge.cost import SWEPT_BYTES, measure_stages, predict_saving, sweep_caches
from mmedge.model import load
from mmedge.stages import StageGraph
from mmedge.types import Array
from mmedge_bench.processor import made_with
from mmedge_bench.setup import open_whole

__all__ = ["Rhythm", "WindowResult", "main", "measure_windows"]

BLOCK = 30  # ticks in a row
WARM = 10  # before them, while the caches fill
SEED = 0

Axes = Mapping[str, int | None]  # of the windows that are taken item by item, by port
Way = Callable[[], tuple[int, Array]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """What one tick costs, medians.

    Attributes:
        staged_ms: Processor time of a tick in stages, Python included.
        whole_ms: Processor time of the unsplit graph.
        times_less: How many times less work the stages do, measured.
        predicted: The same, predicted as ``mmedge inspect`` does.
    """

    staged_ms: float
    whole_ms: float
    times_less: float
    predicted: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowResult:
    """Work per tick.

    Attributes:
        items: Length of the longest window that is taken item by item; 1 if none is.
        ticks: How many were timed, in each rhythm.
        cold: With other work between the ticks.
        warm: Without.
        difference: Largest absolute difference between the outputs of the two.
        scale: Largest absolute value of an output.
        made_with: The processor, and versions of the libraries.
    """

    items: int
    ticks: int
    cold: Rhythm
    warm: Rhythm
    difference: float
    scale: float
    made_with: dict[str, str]


def measure_windows(bundle: Path, whole: Path, blocks: int) -> WindowResult:
    """Time both ways on the same random data.

    Args:
        bundle: The folder of the bundle.
        whole: Its unsplit graph, as ``mmedge export --keep-whole`` writes it.
        blocks: Blocks of 30 ticks to time in each rhythm.
    """
    opened = open_bundle(bundle)
    tensors = [opened.manifest.tensors[name] for name in opened.manifest.ports]
    axes = {name: opened.manifest.tensors[name].window_axis for name in opened.manifest.ports}
    ways = _ways(opened, whole, axes)
    items = max(spec.items for spec in tensors)
    made: dict[str, list[Array]] = {name: [] for name in ways}
    for _ in range(items):
        for way in ways.values():
            way()
    other = np.zeros(SWEPT_BYTES // 8)
    cold, warm = (_rhythm(opened, blocks, ways, made, other if swept else None) for swept in (True, False))
    staged, expected = (np.array(rows) for rows in made.values())
    return WindowResult(
        items=items,
        ticks=blocks * BLOCK,
        cold=cold,
        warm=warm,
        difference=float(np.abs(staged - expected).max()),
        scale=float(np.abs(expected).max()),
        made_with=made_with(),
    )


def _rhythm(
    opened: Bundle,
    blocks: int,
    ways: Mapping[str, Way],
    made: Mapping[str, list[Array]],
    other: npt.NDArray[np.float64] | None,
) -> Rhythm:
    """Both ways and the prediction in turns: tick by tick when the caches are swept, else in blocks of ticks."""
    times: dict[str, list[int]] = {name: [] for name in ways}
    predicted = []
    turns = [(1, 0)] * BLOCK if other is not None else [(BLOCK, WARM)]
    for _ in range(blocks):
        predicted.append(_predicted(opened, cold=other is not None))
        for counted, uncounted in turns:
            for name, way in ways.items():
                for tick in range(uncounted + counted):
                    if other is not None:
                        sweep_caches(other)
                    taken, outputs = way()
                    made[name].append(outputs)
                    if tick >= uncounted:
                        times[name].append(taken)
    staged_ms, whole_ms = (float(np.median(taken)) / 1e6 for taken in times.values())
    return Rhythm(staged_ms=staged_ms, whole_ms=whole_ms, times_less=whole_ms / staged_ms, predicted=median(predicted))


def _ways(opened: Bundle, whole: Path, axes: Axes) -> dict[str, Way]:
    """Each makes the data of the next tick, the same for both, and gives its time and all outputs in a row."""
    specs, names = opened.manifest.tensors, list(opened.manifest.outputs)
    graph = load(opened.path).new_graph()
    outputs = {name: np.zeros(specs[name].shape, np.float32) for name in names}
    windows = {name: np.zeros(specs[name].shape, np.float32) for name in axes}
    unsplit = open_whole(whole, threads=1).bind(windows | outputs)

    def way(given: dict[str, Array], made: Mapping[str, Array], work: Callable[[], None]) -> Way:
        random = np.random.default_rng(SEED)

        def tick() -> tuple[int, Array]:
            for name, axis in axes.items():
                _draw(given[name], axis, random)
            begin = thread_time_ns()
            work()
            taken = thread_time_ns() - begin
            return taken, np.concatenate([made[name].ravel() for name in names])

        return tick

    own = {name: window.copy() for name, window in windows.items()}
    return {
        "in stages": way(own, graph.tensors, lambda: _push(graph, own, axes)),
        "unsplit": way(windows, outputs, unsplit),
    }


def _draw(window: Array, axis: int | None, random: np.random.Generator) -> None:
    """New data for a port: the newest item of its window, or all of it."""
    if axis is None:
        window[...] = random.uniform(0, 1, window.shape)
        return
    moved = np.moveaxis(window, axis, 0)
    moved[:-1] = moved[1:]
    moved[-1] = random.uniform(0, 1, moved.shape[1:])


def _push(graph: StageGraph, windows: Mapping[str, Array], axes: Axes) -> None:
    for name, axis in axes.items():
        if axis is None:
            graph.load_window(name, windows[name][0])
            continue
        graph.items[name][...] = np.moveaxis(np.moveaxis(windows[name], axis, 0)[-1:], 0, axis)
        graph.push_item(name)
    graph.run()


def _predicted(bundle: Bundle, *, cold: bool) -> float:
    rates = dict.fromkeys(bundle.manifest.ports, 1.0)
    return 1 / predict_saving(bundle.manifest, measure_stages(bundle, cold=cold), rates).ratio


@click.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path))
@click.argument("whole", type=click.Path(exists=True, path_type=Path))
@click.option("--blocks", default=8, show_default=True, help="Blocks of 30 ticks to time.")
@click.option("--output", type=click.Path(path_type=Path), help="Also write the result here, as JSON.")
def main(bundle: Path, whole: Path, blocks: int, output: Path | None) -> None:
    """Time the stages of BUNDLE against its unsplit graph WHOLE."""
    result = measure_windows(bundle, whole, blocks)
    click.echo(f"windows of {result.items} items, one new item a tick, {result.ticks} ticks, medians")
    cells = [
        [
            name,
            f"{rhythm.staged_ms:.3f}",
            f"{rhythm.whole_ms:.3f}",
            f"{rhythm.times_less:.1f}",
            f"{rhythm.predicted:.1f} ({rhythm.predicted / rhythm.times_less - 1:+.0%})",
        ]
        for name, rhythm in (("cold", result.cold), ("warm", result.warm))
    ]
    click.echo(table(["caches", "in stages, ms", "unsplit, ms", "times less", "predicted"], cells))
    click.echo(f"largest difference of an output {result.difference:.2g} of {result.scale:.2g}")
    if output:
        output.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
