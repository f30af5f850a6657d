"""A variant against fp32, in accuracy and in time: ``python -m mmedge_bench.quantized BUNDLE DATA --variant int8-cpu``.

Both take turns in short blocks in one process, on ONNX Runtime with one thread; a ratio is the median over blocks of
the two times next to one another. Work is processor time of that thread, so that a busy neighbour costs nothing but
warm caches. What is timed:

* ``stages, warm``: each stage of one window many times in a row, added up; nothing but ONNX Runtime.
* ``stages, cold``: the same, each run after other work has swept the caches of the core.
* ``whole window``: all stages on new windows of every sensor, with the runtime's own work between them.
* ``second of stream``: what one second brings at the sensors' rates, each stage when its data is new.
* ``infer``: from raw sensor data to decoded outputs; front ends, the same for both, take most of it.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import thread_time_ns

import click
import numpy as np
import numpy.typing as npt

import mmedge
from mmedge.backends.ort import OrtSession
from mmedge.bundle import Bundle, open_bundle
from mmedge.feeds import front_end
from mmedge.manifest import Manifest
from mmedge.measured import processor_name
from mmedge.model import Model, load
from mmedge.stages import StageGraph
from mmedge.types import Array

__all__ = ["Pair", "QuantizedResult", "main", "measure_quantized"]

BLOCKS = 60
RUNS = 6  # in a block; the first one is not counted
SWEEP_BYTES = 4 << 20  # more than a core's own caches hold
LABEL = "label/"
Row = Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One thing that was timed.

    Attributes:
        fp32_ms: Median processor time.
        variant_ms: The same.
        times_faster: Median ratio of neighbouring blocks.
        low: The ratio that a tenth of the blocks stay below.
        high: The ratio that a tenth of the blocks exceed.
    """

    fp32_ms: float
    variant_ms: float
    times_faster: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedResult:
    """A variant against fp32.

    Attributes:
        variant: Its name.
        windows: How many were scored.
        fp32: Score of each output, by output and metric; see :func:`_scores`.
        scores: The same of the variant.
        agreement: Share of windows with the same label, by output.
        fp32_bytes: Size of its graphs.
        variant_bytes: The same of the variant.
        times: By what was timed.
        made_with: The processor, and versions of the libraries.
    """

    variant: str
    windows: int
    fp32: dict[str, float]
    scores: dict[str, float]
    agreement: dict[str, float]
    fp32_bytes: int
    variant_bytes: int
    times: dict[str, Pair]
    made_with: dict[str, str]


def measure_quantized(bundle: Path, data: Path, variant: str, blocks: int = BLOCKS) -> QuantizedResult:
    """Score and time a variant.

    Args:
        bundle: The folder of the bundle.
        data: A folder of .npz files with raw sensor arrays by port, and ``label/OUTPUT`` or OUTPUT.
        variant: Its name.
        blocks: How often each is timed.
    """
    manifest = open_bundle(bundle).manifest
    models = {name: load(bundle, backend="onnxruntime-cpu", variant=name) for name in ("fp32", variant)}
    labels: dict[str, list[Array]] = {}
    said: dict[str, dict[str, list[Array]]] = {name: {output: [] for output in manifest.outputs} for name in models}
    first: Row | None = None
    count = 0
    for row in _rows(data):
        sensors = {name: row[name] for name in manifest.ports if name in row}
        first, count = first or sensors, count + 1
        for name, model in models.items():
            outputs = model.infer(**sensors).outputs
            for output, values in outputs.items():
                said[name][output].append(values)
        for key, value in row.items():
            if (name := key.removeprefix(LABEL)) in manifest.outputs:
                labels.setdefault(name, []).append(value)
    if first is None:
        raise click.UsageError(f"{data} holds no .npz files with rows")
    stacked = {name: {output: np.stack(values) for output, values in given.items()} for name, given in said.items()}
    truth = {name: np.stack(values) for name, values in labels.items()}
    sizes = {
        name: sum(manifest.files[file].bytes for file in manifest.variants[name].files.values()) for name in models
    }
    return QuantizedResult(
        variant=variant,
        windows=count,
        fp32=_scores(manifest, stacked["fp32"], truth),
        scores=_scores(manifest, stacked[variant], truth),
        agreement={
            name: float(np.mean(_winner(stacked["fp32"][name]) == _winner(stacked[variant][name])))
            for name, output in manifest.outputs.items()
            if output.task == "classification"
        },
        fp32_bytes=sizes["fp32"],
        variant_bytes=sizes[variant],
        times={name: _paired(ways, blocks) for name, ways in _ways(bundle, models, first).items()},
        made_with={"processor": processor_name(), "mmedge": mmedge.__version__, "onnxruntime": version("onnxruntime")},
    )


def _rows(data: Path) -> Iterator[Row]:
    for path in sorted(data.glob("*.npz")):
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        for i in range(min(map(len, arrays.values()))):
            yield {name: array[i] for name, array in arrays.items()}


def _scores(manifest: Manifest, outputs: Mapping[str, Array], truth: Mapping[str, Array]) -> dict[str, float]:
    """Accuracy of classifications, and the median error of other outputs where their truth is a number."""
    scores = {}
    for name, labels in truth.items():
        values = outputs[name]
        if manifest.outputs[name].task == "classification":
            scores[f"{name} accuracy"] = float(np.mean(_winner(values) == labels))
            continue
        error = np.abs(values - labels.reshape(values.shape))
        scores[f"{name} median error"] = float(np.nanmedian(error))
    return scores


def _winner(values: Array) -> npt.NDArray[np.int64]:
    return np.asarray(values.reshape(len(values), -1).argmax(1))


Way = Callable[[], int]  # does it once, and says how many ns of processor time it took
Call = Callable[[], object]


def _ways(bundle: Path, models: Mapping[str, Model], sensors: Row) -> dict[str, dict[str, Way]]:
    """For each thing that is timed, what each variant does, and how long it took in ns."""
    manifest = models["fp32"].manifest
    fronts = {name: front_end(manifest.ports[name]) for name in sensors}
    windows = {name: fronts[name].window(sensors[name]) for name in sensors}
    graphs = {name: model.new_graph() for name, model in models.items()}
    stages = {name: _stages(open_bundle(bundle), name, graphs["fp32"], windows) for name in models}
    return {
        "stages, warm": {name: _in_a_row(calls, None) for name, calls in stages.items()},
        "stages, cold": {name: _in_a_row(calls, np.zeros(SWEEP_BYTES, np.uint8)) for name, calls in stages.items()},
        "whole window": {name: _timed(_whole(graph, windows)) for name, graph in graphs.items()},
        "second of stream": {name: _timed(_second(graph, manifest, windows)) for name, graph in graphs.items()},
        "infer": {name: _timed(partial(model.infer, **sensors)) for name, model in models.items()},
    }


def _timed(work: Call) -> Way:
    def way() -> int:
        begin = thread_time_ns()
        work()
        return thread_time_ns() - begin

    return way


def _stages(bundle: Bundle, variant: str, graph: StageGraph, windows: Row) -> list[tuple[int, Call, Row]]:
    """How often each stage runs for one window, what runs it, and its buffers, filled as in fp32."""
    _whole(graph, windows)()
    manifest = bundle.manifest
    found: list[tuple[int, Call, Row]] = []
    for stage in manifest.stages:
        buffers = {name: graph.tensors[name].copy() for name in stage.inputs}
        if stage.per_item:
            (port,) = stage.inputs
            spec = manifest.tensors[port]
            items = np.split(windows[port][np.newaxis], spec.items, spec.window_axis or 0)[-stage.items :]
            buffers[port] = np.concatenate(items, spec.window_axis or 0)
        specs = {name: manifest.tensors[name] for name in stage.outputs}
        buffers |= {name: np.zeros(spec.item_shape, spec.dtype) for name, spec in specs.items()}
        content = bundle.read(manifest.variants[variant].files[stage.name])
        weights = bundle.weights(manifest.variants[variant].files[stage.name])
        call = OrtSession(content, threads=1, name=stage.name, weights=weights).bind(buffers)
        runs = manifest.tensors[stage.inputs[0]].items if stage.per_item else 1
        found.append((runs, call, buffers))
    return found


def _in_a_row(calls: Sequence[tuple[int, Call, Row]], other: Array | None) -> Way:
    def way() -> int:
        taken = 0
        for runs, call, _ in calls:
            for _ in range(runs):
                if other is not None:
                    np.add(other, 1, out=other)
                begin = thread_time_ns()
                call()
                taken += thread_time_ns() - begin
        return taken

    return way


def _whole(graph: StageGraph, windows: Row) -> Call:
    def work() -> None:
        for name, window in windows.items():
            graph.load_window(name, window)
        graph.run()

    return work


def _second(graph: StageGraph, manifest: Manifest, windows: Row) -> Call:
    """Data comes in the order of its times within the second; every hop of sound, or else every item, is a tick."""
    rates = {name: _rate_hz(manifest, name) for name in windows}
    ticking = max(rates, key=lambda name: (manifest.ports[name].audio is not None, rates[name]))
    events = sorted((k / rate, name) for name, rate in rates.items() for k in range(round(rate)))

    def work() -> None:
        for _, name in events:
            if name in graph.items:
                graph.push_item(name)
            else:
                graph.load_window(name, windows[name])
            if name == ticking:
                graph.run()

    return work


def _rate_hz(manifest: Manifest, name: str) -> float:
    port = manifest.ports[name]
    if port.audio is not None:
        return port.audio.rate_hz / port.audio.hop_samples
    paced = port.camera or port.tensor
    return paced.rate_hz if paced and paced.rate_hz else 1.0


def _paired(ways: Mapping[str, Way], blocks: int) -> Pair:
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(blocks):
        for name, work in ways.items():
            taken = [work() for _ in range(RUNS)][1:]
            times[name].append(sum(taken) / len(taken) / 1e6)
    fp32, variant = times.values()
    ratios = np.array(fp32) / np.array(variant)
    return Pair(
        fp32_ms=median(fp32),
        variant_ms=median(variant),
        times_faster=float(np.median(ratios)),
        low=float(np.quantile(ratios, 0.1)),
        high=float(np.quantile(ratios, 0.9)),
    )


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--variant", default="int8-cpu", show_default=True)
@click.option("--blocks", default=BLOCKS, show_default=True, help="How often each is timed.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the result as JSON.")
def main(bundle: Path, data: Path, variant: str, blocks: int, output: Path | None) -> None:
    """Score and time a VARIANT of BUNDLE against its fp32 graphs on the .npz files in DATA."""
    result = measure_quantized(bundle, data, variant, blocks)
    text = json.dumps(asdict(result), indent=1) + "\n"
    click.echo(text, nl=False)
    if output is not None:
        output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
