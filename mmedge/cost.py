"""What the stages of a model cost here, and what running each at its own sensor's rate saves."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median

from mmedge.bundle import Bundle
from mmedge.errors import InputError
from mmedge.feeds import front_end
from mmedge.manifest import Manifest, Stage
from mmedge.model import load

__all__ = [
    "DEFAULT_CAMERA_HZ",
    "Saving",
    "StageCost",
    "count_stages",
    "default_rates",
    "measure_stages",
    "parse_rates",
    "predict_saving",
]

WARM_UP, RUNS = 3, 30
DEFAULT_CAMERA_HZ = 15.0
DEFAULT_TENSOR_HZ = 10.0
DEFAULT_TEXT_HZ = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """One stage, measured.

    Attributes:
        name: The stage.
        ms: Median time of one run in its session.
        macs: Multiply-accumulates of one run.
        bytes_out: Size of what it hands on, a window counted as the item that it makes.
        runs_unsplit: Runs of its work in one run of the whole model: the length of the window for a stage per item.
    """

    name: str
    ms: float
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
            macs=manifest.macs[stage.name],
            bytes_out=_bytes_out(manifest, stage),
            runs_unsplit=_runs_unsplit(manifest, stage),
        )
        for stage in manifest.stages
    ]


def measure_stages(bundle: Bundle) -> list[StageCost]:
    """Time every stage on this machine, on the bundle's first recorded sample.

    Raises:
        BundleError: It cannot be read.
    """
    manifest, golden = bundle.manifest, bundle.read_golden()
    windows = {
        name: front_end(port, bundle.read).window(golden[f"sensor/{name}"][0]) for name, port in manifest.ports.items()
    }
    graph = load(bundle.path).new_graph()
    times: dict[str, list[float]] = {stage.name: [] for stage in manifest.stages}
    for _ in range(WARM_UP + RUNS):
        before, runs = dict(graph.work_ns), dict(graph.runs)
        for name, window in windows.items():
            graph.load_window(name, window)
        graph.run()
        for name, rows in times.items():
            rows.append((graph.work_ns[name] - before[name]) / (graph.runs[name] - runs[name]) / 1e6)
    return [replace(cost, ms=median(times[cost.name][WARM_UP:])) for cost in count_stages(manifest)]


def predict_saving(manifest: Manifest, costs: list[StageCost], rates_hz: Mapping[str, float]) -> Saving:
    """Work per second when decisions come at the fastest rate.

    A stage of several ports runs when any of them has something new, at most once a decision; one that depends on a
    state runs at every decision.
    """
    decisions = max(rates_hz.values())
    unsplit = decisions * sum(cost.ms * cost.runs_unsplit for cost in costs)
    staged = 0.0
    for stage, cost in zip(manifest.stages, costs, strict=True):
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
    total = 0
    for name in stage.outputs:
        spec = manifest.tensors[name]
        items = 1 if spec.window_axis is None else spec.shape[spec.window_axis]
        total += spec.bytes // max(1, items)
    return total


def _runs_unsplit(manifest: Manifest, stage: Stage) -> int:
    if not stage.per_item:
        return 1
    made = [manifest.tensors[name] for name in stage.outputs]
    return max(1 if spec.window_axis is None else spec.shape[spec.window_axis] for spec in made)
