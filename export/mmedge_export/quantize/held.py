"""What is left of each output while one sensor is held: recordings are replayed, the sensor cut off now and then."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mmedge.branches import shares
from mmedge.bundle import Bundle
from mmedge.manifest import Manifest, Port
from mmedge.model import Model, load
from mmedge.policies import PolicyScore
from mmedge.running import open_run
from mmedge.ticks import parse_tick
from mmedge.types import NS, Array, Packet, Prediction
from mmedge.works import Engine
from mmedge_export.quantize.clips import Clips, truths_at
from mmedge_export.quantize.missing import to_score
from mmedge_export.quantize.score import Budget, losses
from mmedge_export.quantize.windows import label_values

__all__ = ["cut_spans", "score_held"]

Span = tuple[int, int]

SEED = 17
ALL = Budget(drop=1.0, error=1.0)  # nothing is refused here
REST_NS = NS // 2  # between two cuts, beyond the time that a window takes to be whole again
MOST_S = 300  # of all clips together
SLOW_HZ = 10  # decisions of a model whose ticks have no rate


class _Cut:
    """An engine that loses what one port gives during some spans; the rest goes on."""

    def __init__(self, engine: Engine, port: str, spans: list[Span]) -> None:
        self._engine, self._port, self._spans = engine, port, spans

    @property
    def counts(self) -> dict[str, int]:
        """Those of the stream."""
        return self._engine.counts

    def push(self, name: str, packet: Packet) -> None:
        """Give it on, unless the port is cut off."""
        if name != self._port or not any(begin <= packet.t_ns < end for begin, end in self._spans):
            self._engine.push(name, packet)

    def weigh(self, weights: Mapping[str, float]) -> None:
        """Weigh modalities so."""
        self._engine.weigh(weights)

    def close(self) -> None:
        """Close the stream's own."""
        self._engine.close()


def score_held(bundle: Bundle, clips: Clips) -> tuple[PolicyScore, ...]:
    """The step "hold" of every policy that has an end, for the ages from none to that end alike.

    Each clip is replayed twice at the same ticks, once with every sensor and once with one that is cut off for as long
    as it may be held, again and again at random moments. What was decided meanwhile is compared.

    Args:
        bundle: With fp32 graphs.
        clips: Recordings, and what is true in them.

    Returns:
        A score for each output and port whose policy holds; () for a model with a single sensor, or without clips.

    Raises:
        SourceError: A recording cannot be read.
    """
    ages = {
        name: policy.max_age_ms
        for name, policy in bundle.manifest.policies.items()
        if "hold" in policy.missing and policy.max_age_ms is not None
    }
    if not ages or not clips or len(shares(bundle.manifest)) < 2:
        return ()
    with load(bundle.path, backend="onnxruntime-cpu", variant="fp32") as model:
        return tuple(score for port, age_ms in ages.items() for score in _scores(model, clips, port, age_ms))


def cut_spans(port: Port, max_age_ms: float, begin_ns: int, end_ns: int, seed: int) -> list[Span]:
    """When a sensor is cut off, ``[begin, end)``: so far apart that its window is whole again in between.

    Args:
        port: Its port.
        max_age_ms: For how long.
        begin_ns: Of the recording.
        end_ns: Of the recording.
        seed: Of chance.
    """
    random, age_ns = np.random.default_rng(seed), round(max_age_ms * 1e6)
    window_ns = 0
    if port.audio:
        window_ns = port.audio.window_samples * NS // port.audio.rate_hz
    elif port.camera:
        window_ns = round(port.camera.frames * NS / port.camera.rate_hz)
    spans, at = [], begin_ns + int(random.integers(0, REST_NS))
    while at + age_ns < end_ns:
        spans.append((at, at + age_ns))
        at += age_ns + window_ns + REST_NS + int(random.integers(0, REST_NS))
    return spans


def _scores(model: Model, clips: Clips, port: str, max_age_ms: float) -> Iterator[PolicyScore]:
    manifest = model.manifest
    whole: list[dict[str, Array]] = []
    held: list[dict[str, Array]] = []
    truths: list[Mapping[str, object]] = []
    for number, (path, labels) in enumerate(clips.items()):
        every = _replay(model, path, MOST_S / len(clips))
        spans = cut_spans(manifest.ports[port], max_age_ms, min(every), max(every), SEED + number)
        cut = _replay(model, path, MOST_S / len(clips), (port, max_age_ms, spans))
        for t_ns, (prediction, tensors) in cut.items():
            in_span = any(begin < t_ns < end for begin, end in spans)
            if in_span and t_ns in every and prediction.age_ms[port] <= max_age_ms:
                whole.append(every[t_ns][1])
                held.append(tensors)
                truths.append(truths_at(labels, t_ns / NS))
    if held:
        found = losses(manifest, _stacked(whole), _stacked(held), _labels(manifest, truths), ALL)
        yield from (to_score(port, "hold", loss, max_age_ms) for loss in found)


def _replay(
    model: Model, path: Path, most_s: float, cut: tuple[str, float, list[Span]] | None = None
) -> dict[int, tuple[Prediction, dict[str, Array]]]:
    """Each decision and its raw outputs, by tick; ticks do not need the sensor that is cut off."""
    manifest = model.manifest
    rate_hz = float(parse_tick(None, manifest).rate_hz) or SLOW_HZ
    policies: dict[str, list[str]] = {name: [] for name, port in manifest.ports.items() if port.state is None}
    stream: dict[str, object] = {"policies": policies}  # no other policy mixes in
    if cut is not None:
        policies[cut[0]], stream["max_age_ms"] = ["hold"], {cut[0]: cut[1]}
    sees = any(port.camera for port in manifest.ports.values())
    kept: dict[int, tuple[Prediction, dict[str, Array]]] = {}
    with open_run(
        model, camera=path if sees else None, audio=None if sees else path, tick=f"{rate_hz:.6f}hz", stream=stream
    ) as run:
        opened = run.stream
        if cut is not None:
            opened.engine = _Cut(opened.engine, cut[0], cut[2])

        def keep(prediction: Prediction) -> None:
            tensors = opened.decider.head.tensors
            outputs = {output.tensor: tensors[output.tensor].copy() for output in manifest.outputs.values()}
            kept[prediction.t_ns] = prediction, outputs

        opened.observers.append(keep)
        for prediction in run:
            if prediction.t_ns - run.begin_ns > most_s * NS:
                break
    return kept


def _stacked(rows: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _labels(manifest: Manifest, truths: list[Mapping[str, object]]) -> dict[str, Array]:
    known = {name for truth in truths for name in truth}
    return {
        name: np.stack(
            [label_values(output, manifest.tensors[output.tensor].shape[1:], truth.get(name)) for truth in truths]
        )
        for name, output in manifest.outputs.items()
        if name in known
    }
