"""Work per tick of a window model, in stages and whole: ``python -m mmedge_bench.windows BUNDLE WHOLE.onnx``.

At every tick each sensor has something new: one picture, one hop of sound. The stages encode what is new, the unsplit
graph everything that its windows hold. Both run in ONNX Runtime with one thread and take turns, tick by tick, so that
whatever else the machine does falls on both alike; what they make is compared as they go.
"""

import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter_ns

import click
import numpy as np

import mmedge
from mmedge.backends.ort import OrtSession
from mmedge.bundle import Bundle, open_bundle
from mmedge.cost import measure_stages, predict_saving
from mmedge.model import load
from mmedge.stages import StageGraph
from mmedge.types import Array

__all__ = ["WindowResult", "main", "measure_windows"]

WARM_UP = 5
SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowResult:
    """What one tick costs.

    Attributes:
        items: Length of the longest window that is taken item by item; 1 if none is.
        ticks: How many were timed.
        staged_ms: Median time of a tick in stages, Python included.
        whole_ms: Median time of the unsplit graph.
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


def measure_windows(bundle: Path, whole: Path, ticks: int) -> WindowResult:
    """Time both ways on the same random data.

    Args:
        bundle: The folder of the bundle.
        whole: Its unsplit graph, as ``mmedge export --keep-whole`` writes it.
        ticks: How many to time.
    """
    opened = open_bundle(bundle)
    manifest = opened.manifest
    graph = load(bundle).new_graph()
    windows = {name: np.zeros(manifest.tensors[name].shape, np.float32) for name in manifest.ports}
    outputs = {name: np.zeros(manifest.tensors[name].shape, np.float32) for name in manifest.outputs}
    unsplit = OrtSession(whole.read_bytes(), threads=1, name="whole").bind(windows | outputs)
    axes = {name: manifest.tensors[name].window_axis for name in manifest.ports}
    items = max([windows[name].shape[axis] for name, axis in axes.items() if axis is not None], default=1)
    random, times, worst, scale = np.random.default_rng(SEED), [], 0.0, 0.0
    for tick in range(items + WARM_UP + ticks):
        for name, axis in axes.items():
            _draw(windows[name], axis, random)
        begin = perf_counter_ns()
        _push(graph, windows, axes)
        between = perf_counter_ns()
        unsplit()
        end = perf_counter_ns()
        if tick >= items + WARM_UP:
            times.append((between - begin, end - between))
            worst = max(worst, *(float(np.abs(graph.tensors[name] - outputs[name]).max()) for name in outputs))
            scale = max(scale, *(float(np.abs(array).max()) for array in outputs.values()))
    staged_ms, whole_ms = (float(ms) for ms in np.median(np.array(times), 0) / 1e6)
    return WindowResult(
        items=items,
        ticks=ticks,
        staged_ms=staged_ms,
        whole_ms=whole_ms,
        times_less=whole_ms / staged_ms,
        predicted=_predicted(opened),
        difference=worst,
        scale=scale,
        made_with={"processor": _processor(), "mmedge": mmedge.__version__, "onnxruntime": version("onnxruntime")},
    )


def _draw(window: Array, axis: int | None, random: np.random.Generator) -> None:
    """New data for a port: the newest item of its window, or all of it."""
    if axis is None:
        window[...] = random.uniform(0, 1, window.shape)
        return
    moved = np.moveaxis(window, axis, 0)
    moved[:-1] = moved[1:]
    moved[-1] = random.uniform(0, 1, moved.shape[1:])


def _push(graph: StageGraph, windows: dict[str, Array], axes: dict[str, int | None]) -> None:
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


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


@click.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path))
@click.argument("whole", type=click.Path(exists=True, path_type=Path))
@click.option("--ticks", default=200, show_default=True, help="How many to time.")
@click.option("--output", type=click.Path(path_type=Path), help="Also write the result here, as JSON.")
def main(bundle: Path, whole: Path, ticks: int, output: Path | None) -> None:
    """Time the stages of BUNDLE against its unsplit graph WHOLE."""
    result = measure_windows(bundle, whole, ticks)
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
