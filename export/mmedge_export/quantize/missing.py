"""What is left of each output while one sensor is missing: its mean embedding stands in, or its gate is shut."""

from collections.abc import Mapping, Sequence

import numpy as np

from mmedge.backends.ort import OrtSession
from mmedge.branches import shares
from mmedge.gates import GATE_WEIGHTS
from mmedge.manifest import Manifest
from mmedge.policies import PolicyScore, Step
from mmedge.types import Array
from mmedge_export.quantize.runner import run_stage
from mmedge_export.quantize.score import Budget, Loss, losses
from mmedge_export.quantize.windows import Windows

__all__ = ["missing_table", "score_missing", "to_score"]

Tensors = Mapping[str, Array]
ALL = Budget(drop=1.0, error=1.0)  # nothing is refused here
HEADER = (
    "while this sensor is missing",
    "what stands in",
    "output",
    "score",
    "windows",
    "with every sensor",
    "without it",
)


def score_missing(
    manifest: Manifest, graphs: Mapping[str, bytes], windows: Windows, tensors: Tensors, means: Tensors
) -> tuple[PolicyScore, ...]:
    """The steps "mean" and "reweight" of every policy, by truth if known, else by agreement with the whole model.

    Args:
        manifest: Of the bundle.
        graphs: The fp32 graph of each stage.
        windows: What the model is given.
        tensors: Every tensor of the whole model on them, [W, ...].
        means: Mean of each tensor that a port shares with the rest of the model; ports that lack one are left out.

    Returns:
        A score for each port and output; () for a model with a single sensor, of which nothing is left.
    """
    by_port = {port: names for port, names in shares(manifest).items() if all(name in means for name in names)}
    if len(shares(manifest)) < 2:
        return ()
    branches = {(name,) for name in shares(manifest)}
    head = [stage for stage in manifest.stages if stage.ports not in branches]
    sessions = {stage.name: OrtSession(graphs[stage.name], threads=1, name=stage.name) for stage in head}
    scores: list[PolicyScore] = []
    for port, names in by_port.items():
        masked = dict(tensors)
        for name in names:
            masked[name] = np.broadcast_to(means[name].astype(tensors[name].dtype), tensors[name].shape)
        made = _run_head(manifest, sessions, windows, masked)
        scores += [to_score(port, "mean", loss) for loss in losses(manifest, tensors, made, windows.labels, ALL)]
        if manifest.gates is not None and port in manifest.gates.ports:
            kept = np.array([name != port for name in manifest.gates.ports], np.float32)
            made = _run_head(manifest, sessions, windows, masked | {GATE_WEIGHTS: tensors[GATE_WEIGHTS] * kept})
            shut = losses(manifest, tensors, made, windows.labels, ALL)
            scores += [to_score(port, "reweight", loss) for loss in shut]
    return tuple(scores)


def to_score(port: str, step: Step, loss: Loss, max_age_ms: float | None = None) -> PolicyScore:
    """What an output lost, as a bundle keeps it.

    Args:
        port: That is missing.
        step: What stands in for it.
        loss: Against every sensor.
        max_age_ms: For how long it was held.
    """
    return PolicyScore(
        port=port,
        step=step,
        max_age_ms=max_age_ms,
        output=loss.output,
        metric=loss.metric.replace("as fp32", "as with every sensor").replace("against fp32", "against every sensor"),
        windows=loss.windows,
        whole=loss.fp32,
        score=loss.variant,
        truth="fp32" not in loss.metric,
    )


def missing_table(scores: Sequence[PolicyScore]) -> list[str]:
    """The scores in Markdown."""
    rows = [[s.port, s.instead, s.output, s.metric, str(s.windows), s.shown(s.whole), s.shown(s.score)] for s in scores]
    return [f"| {' | '.join(line)} |" for line in (list(HEADER), ["---"] * len(HEADER), *rows)]


def _run_head(
    manifest: Manifest, sessions: Mapping[str, OrtSession], windows: Windows, tensors: Tensors
) -> dict[str, Array]:
    """The stages where sensors meet, again; states are those that come of it."""
    head = [stage for stage in manifest.stages if stage.name in sessions]
    if not windows.fed:
        made = dict(tensors)
        for stage in head:
            made |= run_stage(manifest, stage, sessions[stage.name], made)
        return made
    rows: list[dict[str, Array]] = []
    for i, begins in enumerate(windows.begins):
        row = {name: array[i : i + 1] for name, array in tensors.items()}
        for name in windows.fed:
            row[name] = np.zeros_like(row[name]) if begins else rows[-1][manifest.states[name]]
        for stage in head:
            row |= run_stage(manifest, stage, sessions[stage.name], row)
        rows.append(row)
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
