"""Score the reference model on scenes it has never seen: ``python -m mmedge_export.reference.evaluate``."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mmedge_export.checkpoint import build_model, load_checkpoint
from mmedge_export.reference import CHECKPOINT
from mmedge_export.reference.batches import normalized_audio, normalized_image
from mmedge_export.reference.dataset import EVENTS, HELD_OUT_SEED, Dataset, draw_dataset
from mmedge_export.reference.metrics import Floats, score

__all__ = ["SENSORS", "evaluate", "predict"]

SENSORS: Mapping[str, tuple[bool, bool]] = {
    "fusion": (True, True),
    "camera only": (True, False),
    "audio only": (False, True),
}
SNR_EDGES_DB = (-5, 0, 5, 10, 20.001)
DISTANCE_EDGES_M = (0, 20, 40, 80, 121)
CHUNK = 50
SINGLE_SENSOR_CEILING = 0.5


def predict(network: nn.Module, data: Dataset, *, camera: bool = True, audio: bool = True) -> tuple[Floats, Floats]:
    """What the network says about every window.

    Args:
        network: In eval mode.
        data: N windows.
        camera: False replaces the pictures by the baseline, zeros after normalisation.
        audio: False replaces the sound by it.

    Returns:
        Probabilities [N, 4] and distances in metres [N].
    """
    events, distances = [], []
    for start in range(0, len(data), CHUNK):
        chunk = slice(start, start + CHUNK)
        with torch.inference_mode():
            event, distance = network(
                normalized_image(data.image[chunk]) * camera, normalized_audio(data.audio[chunk]) * audio
            )
        events.append(torch.softmax(event.double(), 1).numpy())
        distances.append(distance.squeeze(1).double().numpy())
    return np.concatenate(events), np.concatenate(distances)


def evaluate(network: nn.Module, data: Dataset) -> dict[str, Any]:
    """Every figure of the report, ready for JSON.

    Siren and beacons are independent and the labels balanced, so a sensor that answers its own question without an
    error still guesses the other's: one sensor alone cannot exceed 50 % except by luck. How good it is, its accuracy
    on its own question says.
    """
    by_sensor = {name: predict(network, data, camera=c, audio=a) for name, (c, a) in SENSORS.items()}
    probability, distance = by_sensor["fusion"]
    right = probability.argmax(1) == data.event
    siren = by_sensor["audio only"][0][:, [1, 3]].sum(1) > 0.5
    beacons = by_sensor["camera only"][0][:, [2, 3]].sum(1) > 0.5
    own = {"audio only: siren": np.mean(siren == data.siren), "camera only: beacons": np.mean(beacons == data.beacons)}
    return {
        "windows": len(data),
        "labels": list(EVENTS),
        "sensors": {name: asdict(score(data.event, p)) for name, (p, _) in by_sensor.items()},
        "single_sensor_ceiling": SINGLE_SENSOR_CEILING,
        "own_question_accuracy": {name: float(value) for name, value in own.items()},
        "distance": _distance_errors(distance, data),
        "accuracy_by_snr_db": _by(right & data.siren, data.siren, data.snr_db, SNR_EDGES_DB),
        "accuracy_by_distance_m": _by(right & data.beacons, data.beacons, data.distance_m, DISTANCE_EDGES_M),
    }


def _distance_errors(distance_m: Floats, data: Dataset) -> dict[str, dict[str, float]]:
    """By event: half of the windows are better than the median, in metres and as a share of the distance."""
    errors = {}
    for label, name in enumerate(EVENTS[1:], start=1):
        chosen = data.event == label
        error = np.abs(distance_m[chosen] - data.distance_m[chosen])
        relative = error / data.distance_m[chosen]
        errors[name] = {"median_m": float(np.median(error)), "median_relative": float(np.median(relative))}
    return errors


def _by(
    right: npt.NDArray[np.bool_],
    counted: npt.NDArray[np.bool_],
    value: npt.NDArray[np.float32],
    edges: tuple[float, ...],
) -> dict[str, float]:
    shares = {}
    for low, high in pairwise(edges):
        inside = counted & (value >= low) & (value < high)
        if inside.any():
            shares[f"{low:g} to {high:.0f}"] = float(right[inside].mean())
    return shares


def _table(report: dict[str, Any]) -> str:
    lines = [f"{report['windows']} held-out windows", ""]
    for name, scores in report["sensors"].items():
        lines.append(f"{name}: accuracy {scores['accuracy']:.1%}")
        for row, label in enumerate(report["labels"]):
            figures = "  ".join(f"{key} {scores[key][row]:.3f}" for key in ("precision", "recall", "f1", "roc_auc"))
            lines.append(f"  {label:28}{figures}  confusion {scores['confusion'][row]}")
    lines += [f"{name}: {value:.1%}" for name, value in report["own_question_accuracy"].items()]
    for key in ("distance", "accuracy_by_snr_db", "accuracy_by_distance_m"):
        lines.append(f"{key}: {json.dumps(report[key])}")
    return "\n".join(lines)


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the report as JSON, too.")
@click.option("--windows", default=2000, show_default=True, help="Held-out scenes to draw.")
@click.option("--workers", default=2, show_default=True, help="Processes that draw them.")
def main(checkpoint: Path | None, output: Path | None, windows: int, workers: int) -> None:
    """Score CHECKPOINT, by default the committed one, and print the report."""
    network = build_model(load_checkpoint(checkpoint or CHECKPOINT))
    report = evaluate(network, draw_dataset(windows, seed=HELD_OUT_SEED, workers=workers))
    click.echo(_table(report))
    if output is not None:
        output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
