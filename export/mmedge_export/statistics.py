"""What embeddings look like on real samples, and what is left without a sensor: looked at when a bundle is made."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mmedge.bundle import Bundle
from mmedge.calibration import CALIBRATION, MOMENTS
from mmedge.manifest import Manifest
from mmedge.policies import PolicyScore
from mmedge.types import Array
from mmedge_export.quantize.calibrate import embedding_statistics, fp32_graphs, pack_moments, to_calibration
from mmedge_export.quantize.missing import missing_table, score_missing
from mmedge_export.quantize.runner import run_windows
from mmedge_export.quantize.windows import Moment, Windows, stacked
from mmedge_export.samples import LABEL, Sample, port_tensors

__all__ = ["MISSING_PAGE", "look_at", "sample_windows"]

MISSING_PAGE = "reports/missing-sensors.md"
MOST_BYTES = 256 << 20  # of all tensors of all windows


def sample_windows(samples: list[Sample], manifest: Manifest, read: Callable[[str], bytes], where: str) -> Windows:
    """Samples as windows; states that a sample does not give are zeros.

    Args:
        samples: Raw sensor data by port, and what is true as ``label/OUTPUT``.
        manifest: Of the model.
        read: Gives the bytes of a file of the bundle.
        where: What the samples are from, for messages.

    Raises:
        SpecError: A sample does not fit its port.
        InputError: A label does not fit its output.
    """
    held = sum(spec.bytes for spec in manifest.tensors.values())
    moments = []
    for sample in samples[: max(2, MOST_BYTES // held)]:
        zeros = {name: np.zeros(manifest.ports[name].shape, manifest.ports[name].dtype) for name in manifest.states}
        labels = {name.removeprefix(LABEL): _plain(value) for name, value in sample.items() if name.startswith(LABEL)}
        ports = port_tensors(manifest.ports, zeros | dict(sample), read)
        moments.append((where, Moment(ports=ports, labels=labels, given=frozenset(manifest.states))))
    return stacked(moments, manifest, real=True)


def look_at(draft: Path, manifest: Manifest, windows: Windows) -> tuple[PolicyScore, ...]:
    """Write ``calibration.json`` and its .npz, without the ranges that only quantization needs, and a report.

    Args:
        draft: The folder of the bundle that is being made.
        manifest: Its manifest so far.
        windows: Real windows.

    Returns:
        What is left of each output while a sensor is missing.

    Raises:
        InputError: A stage has too many weights to be looked at.
    """
    bundle = Bundle(path=draft, manifest=manifest)
    graphs = fp32_graphs(bundle)
    tensors = run_windows(manifest, graphs, windows)
    moments, statistics = embedding_statistics(manifest, tensors)
    content = pack_moments(moments)
    calibration = to_calibration(manifest, windows, {}, statistics, hashlib.sha256(content).hexdigest())
    (draft / CALIBRATION).write_text(calibration.to_json(), encoding="utf-8")
    (draft / MOMENTS).write_bytes(content)
    means = {name: moment.mean for name, moment in moments.items()}
    scores = score_missing(manifest, graphs, windows, tensors, means)
    if scores:
        lines = [
            f"# {manifest.name} without a sensor",
            "",
            f"Its mean embedding over {len(windows)} windows stands in.",
            "",
            *missing_table(scores),
        ]
        (draft / MISSING_PAGE).parent.mkdir(exist_ok=True)
        (draft / MISSING_PAGE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return scores


def _plain(value: Array) -> object:
    return str(value) if np.asarray(value).dtype.kind == "U" else value
