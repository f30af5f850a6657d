"""What the stages of a model cost here, and what running each at its own sensor's rate saves."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter_ns, thread_time_ns

import numpy as np
import numpy.typing as npt

from mmedge.bundle import Bundle
from mmedge.errors import InputError
from mmedge.feeds import front_end
from mmedge.manifest import Manifest, Stage
from mmedge.model import load

__all__ = [
    "DEFAULT_CAMERA_HZ",
    "SWEPT_BYTES",
    "Saving",
    "StageCost",
    "count_stages",
    "default_rates",
    "measure_stages",
    "parse_rates",
    "predict_saving",
    "sweep_caches",
]

WARM_UP, RUNS = 3, 30
SWEPT_BYTES = 32 << 20  # more than what is a core's own in any CPU that we know
DEFAULT_CAMERA_HZ = 15.0
DEFAULT_TENSOR_HZ = 10.0
DEFAULT_TEXT_HZ = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """One stage, measured.

    Attributes:
        name: The stage.
        ms: Median time of one run in its session, at a tick of a stream.
        whole_ms: Median time of all that it does in one run of the whole model.
        macs: Multiply-accumulates of one run.
        bytes_out: Size of what it hands on, a window counted as the item that it makes.
        runs_unsplit: Runs of its work in one run of the whole model: the length of the window for a stage per item.
    """

    name: str
    ms: float
    whole_ms: float
    macs: int
    bytes_out: int
    runs_unsplit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """Predicted work per second of stream.

    Attributes:
        rates_hz: New data per second, by port.
        decisions_hz: Decisions per second: the fastest rate.
        unsplit_ms: The whole model at every decision.
        staged_ms: Every stage when its sensor has something new.
        ratio: staged / unsplit.
    """

    rates_hz: dict[str, float]
    decisions_hz: float
    unsplit_ms: float
    staged_ms: float
    ratio: float


def default_rates(manifest: Manifest) -> dict[str, float]:
    """New data per second that each port was trained on, guessed where it does not say; states have no rate."""
    rates = {}
    for name, port in manifest.ports.items():
        if port.camera is not None:
            rates[name] = port.camera.rate_hz or DEFAULT_CAMERA_HZ
        if port.audio is not None:
            rates[name] = port.audio.rate_hz / port.audio.hop_samples
        if port.tensor is not None:
            rates[name] = port.tensor.rate_hz or DEFAULT_TENSOR_HZ
        if port.text is not None:
            rates[name] = DEFAULT_TEXT_HZ
    return rates


def parse_rates(text: str | None, manifest: Manifest) -> dict[str, float]:
    """Read ``image=10,audio=50``; ports left out keep their default.

    Raises:
        InputError: It is not of this form, or names no port.
    """
    rates = default_rates(manifest)
    for part in filter(None, (text or "").split(",")):
        name, _, value = part.partition("=")
        if name not in rates:
            raise InputError(f"--rates names {name!r}; the model has {', '.join(rates)}")
        try:
            rates[name] = float(value)
        except ValueError:
            rates[name] = 0.0
        if not 0 < rates[name] < float("inf"):
            raise InputError(f"--rates {part!r}: expected a rate above 0, e.g. {name}=15")
    return rates


def count_stages(manifest: Manifest) -> list[StageCost]:
    """What every stage would cost at a billion multiply-accumulates a second: the same on every machine."""
    return [
        StageCost(
            name=stage.name,
            ms=manifest.macs[stage.name] / 1e6,
            whole_ms=_runs_unsplit(manifest, stage) * manifest.macs[stage.name] / 1e6,
            macs=manifest.macs[stage.name],
            bytes_out=_bytes_out(manifest, stage),
            runs_unsplit=_runs_unsplit(manifest, stage),
        )
        for stage in manifest.stages
    ]


def measure_stages(bundle: Bundle, *, cold: bool = True) -> list[StageCost]:
    """Time every stage on this machine, on the bundle's first recorded sample.

    Ticks of a stream, in which each sensor has one hop or item, take turns with runs of everything that the windows
    hold: the first are what a stage costs, the second what the whole model does.

    Args:
        bundle: The bundle.
        cold: Empty the caches before each of them, as the other work of a robot does between two ticks. Without, the
            times are those of a loop that does nothing else.

    Raises:
        BundleError: It cannot be read.
    """
    manifest, golden = bundle.manifest, bundle.read_golden()
    windows = {
        name: front_end(port, bundle.read).window(golden[f"sensor/{name}"][0]) for name, port in manifest.ports.items()
    }
    model = load(bundle.path)
    # a run in one thread of the CPU is told by its processor time: the long runs are the ones that others interrupt
    graph = model.new_graph(thread_time_ns if model.report.backend == "onnxruntime-cpu" else perf_counter_ns)
    ticks: dict[str, list[float]] = {stage.name: [] for stage in manifest.stages}
    wholes: dict[str, list[float]] = {stage.name: [] for stage in manifest.stages}
    other = np.zeros(SWEPT_BYTES // 8) if cold else np.zeros(0)
    for _ in range(WARM_UP + RUNS):
        for rows, tick in ((ticks, True), (wholes, False)):
            before, runs = dict(graph.work_ns), dict(graph.runs)
            sweep_caches(other)
            for name, window in windows.items():
                if tick and name in graph.items:
                    graph.push_items(name, window, _items_in_a_tick(manifest, name))
                else:
                    graph.load_window(name, window)
            graph.run()
            for name, times in rows.items():
                times.append(
                    (graph.work_ns[name] - before[name]) / (graph.runs[name] - runs[name] if tick else 1) / 1e6
                )
    return [
        replace(cost, ms=median(ticks[cost.name][WARM_UP:]), whole_ms=median(wholes[cost.name][WARM_UP:]))
        for cost in count_stages(manifest)
    ]


def sweep_caches(other: npt.NDArray[np.float64]) -> None:
    """Put other data where weights and activations were: all of an array that is larger than a core's caches."""
    other += 1.0


def predict_saving(manifest: Manifest, costs: list[StageCost], rates_hz: Mapping[str, float]) -> Saving:
    """Work per second when decisions come at the fastest rate.

    A stage of several ports runs when any of them has something new, at most once a decision; one that depends on a
    state runs at every decision. One that takes items of sound runs for each of them.
    """
    decisions = max(rates_hz.values())
    unsplit = decisions * sum(cost.whole_ms for cost in costs)
    staged = 0.0
    for stage, cost in zip(manifest.stages, costs, strict=True):
        if stage.per_item and (items_hz := _items_hz(manifest, stage.ports[0])):
            staged += cost.ms * items_hz
            continue
        news = sum(rates_hz.get(port, decisions) for port in stage.ports)
        staged += cost.ms * min(decisions, news)
    return Saving(
        rates_hz=dict(rates_hz),
        decisions_hz=decisions,
        unsplit_ms=unsplit,
        staged_ms=staged,
        ratio=staged / unsplit,
    )


def _bytes_out(manifest: Manifest, stage: Stage) -> int:
    return sum(spec.bytes // spec.items for spec in (manifest.tensors[name] for name in stage.outputs))


def _runs_unsplit(manifest: Manifest, stage: Stage) -> int:
    if not stage.per_item:
        return 1
    made = [manifest.tensors[name] for name in stage.outputs]
    return max(spec.items for spec in made)


def _items_hz(manifest: Manifest, port: str) -> float:
    """Items of sound that come in a second, whatever the rate of decisions; 0 for other ports."""
    audio = manifest.ports[port].audio
    if audio is None:
        return 0.0
    return audio.rate_hz / (manifest.tensors[port].item_size * (audio.mel.hop_length if audio.mel else 1))


def _items_in_a_tick(manifest: Manifest, port: str) -> int:
    audio = manifest.ports[port].audio
    hops_hz = audio.rate_hz / audio.hop_samples if audio else 1.0
    return min(manifest.tensors[port].items, max(1, round(_items_hz(manifest, port) / hops_hz)))
