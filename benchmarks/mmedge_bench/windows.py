"""Work per tick of a window model, in stages and whole: ``python -m mmedge_bench.windows BUNDLE WHOLE.onnx``.

At every tick each sensor has something new: one picture, one hop of sound. The stages encode what is new, the unsplit
graph everything that its windows hold. Both run in ONNX Runtime with one thread and take turns in blocks of ticks; what
they make is compared. Work is processor time of that thread: on a machine that does other things too, the long
runs of the unsplit graph are interrupted more often than the short ones of the stages.

Blocks keep the caches warm, which flatters both ways of running and the staged one more: where other work empties the
caches between two ticks, the staged model was seen to save about ten times instead of fifteen, and the prediction,
which is measured warm too, to be a third too high.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import thread_time_ns

import click
import numpy as np

from mmedge.backends.ort import OrtSession
from mmedge.bundle import Bundle, open_bundle
from mmedge.cost import measure_stages, predict_saving
from mmedge.model import load
from mmedge.stages import StageGraph
from mmedge.types import Array
from mmedge_bench.processor import made_with

__all__ = ["WindowResult", "main", "measure_windows"]

BLOCK = 40  # ticks in a row
WARM = 10  # of them not counted, while the caches fill
SEED = 0

Axes = Mapping[str, int | None]  # of the windows that are taken item by item, by port
Way = Callable[[], tuple[int, Array]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowResult:
    """What one tick costs.

    Attributes:
        items: Length of the longest window that is taken item by item; 1 if none is.
        ticks: How many were timed.
        staged_ms: Median processor time of a tick in stages, Python included.
        whole_ms: Median processor time of the unsplit graph.
        times_less: How many times less work the stages do, measured.
        predicted: The same, predicted as ``mmedge inspect`` does.
        difference: Largest absolute difference between the outputs of the two.
        scale: Largest absolute value of an output.
        made_with: The processor, and versions of the libraries.
    """

    items: int
    ticks: int
    staged_ms: float
    whole_ms: float
    times_less: float
    predicted: float
    difference: float
    scale: float
    made_with: dict[str, str]


def measure_windows(bundle: Path, whole: Path, blocks: int) -> WindowResult:
    """Time both ways on the same random data.

    Args:
        bundle: The folder of the bundle.
        whole: Its unsplit graph, as ``mmedge export --keep-whole`` writes it.
        blocks: Blocks of 40 ticks; the first ones of each are not counted, while windows and caches fill.
    """
    opened = open_bundle(bundle)
    manifest = opened.manifest
    axes = {name: manifest.tensors[name].window_axis for name in manifest.ports}
    items = max([manifest.tensors[name].shape[axis] for name, axis in axes.items() if axis is not None], default=1)
    ways = _ways(opened, whole, axes)
    times: dict[str, list[int]] = {name: [] for name in ways}
    made: dict[str, list[Array]] = {name: [] for name in ways}
    predicted = []
    for _ in range(blocks):
        predicted.append(_predicted(opened))
        for name, way in ways.items():
            for tick in range(items + BLOCK):
                taken, outputs = way()
                if tick >= items + WARM:
                    times[name].append(taken)
                    made[name].append(outputs)
    staged_ms, whole_ms = (float(np.median(taken)) / 1e6 for taken in times.values())
    staged, expected = (np.array(rows) for rows in made.values())
    return WindowResult(
        items=items,
        ticks=len(staged),
        staged_ms=staged_ms,
        whole_ms=whole_ms,
        times_less=whole_ms / staged_ms,
        predicted=median(predicted),
        difference=float(np.abs(staged - expected).max()),
        scale=float(np.abs(expected).max()),
        made_with=made_with(),
    )


def _ways(opened: Bundle, whole: Path, axes: Axes) -> dict[str, Way]:
    """Each makes the data of the next tick, the same for both, and gives its time and all outputs in a row."""
    specs, names = opened.manifest.tensors, list(opened.manifest.outputs)
    graph = load(opened.path).new_graph()
    outputs = {name: np.zeros(specs[name].shape, np.float32) for name in names}
    windows = {name: np.zeros(specs[name].shape, np.float32) for name in axes}
    unsplit = OrtSession(whole.read_bytes(), threads=1, name="whole").bind(windows | outputs)

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


def _predicted(bundle: Bundle) -> float:
    rates = dict.fromkeys(bundle.manifest.ports, 1.0)
    return 1 / predict_saving(bundle.manifest, measure_stages(bundle), rates).ratio


@click.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path))
@click.argument("whole", type=click.Path(exists=True, path_type=Path))
@click.option("--blocks", default=8, show_default=True, help="Blocks of 40 ticks to time.")
@click.option("--output", type=click.Path(path_type=Path), help="Also write the result here, as JSON.")
def main(bundle: Path, whole: Path, blocks: int, output: Path | None) -> None:
    """Time the stages of BUNDLE against its unsplit graph WHOLE."""
    result = measure_windows(bundle, whole, blocks)
    click.echo(f"windows of {result.items} items, one new item a tick, {result.ticks} ticks, medians")
    click.echo(f"in stages {result.staged_ms:9.3f} ms\nunsplit   {result.whole_ms:9.3f} ms")
    error = result.predicted / result.times_less - 1
    click.echo(f"measured  {result.times_less:9.1f} times less work")
    click.echo(f"predicted {result.predicted:9.1f} times ({error:+.0%})")
    click.echo(f"largest difference of an output {result.difference:.2g} of {result.scale:.2g}")
    if output:
        output.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
