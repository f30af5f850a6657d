"""Runs the fp32 stages on calibration windows and notes what their tensors are like."""

import hashlib
import io
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx.external_data_helper import load_external_data_for_model

from mmedge.backends.ort import OrtSession
from mmedge.branches import shares
from mmedge.bundle import Bundle
from mmedge.calibration import Calibration, EmbeddingStatistics, Moments, TensorRange
from mmedge.errors import InputError
from mmedge.manifest import Manifest, Stage
from mmedge.types import Array
from mmedge_export.graph import tensor_specs
from mmedge_export.quantize.ranges import Histogram
from mmedge_export.quantize.runner import run_windows, stage_inputs
from mmedge_export.quantize.windows import Windows

__all__ = [
    "calibrate",
    "embedding_statistics",
    "embeddings",
    "fp32_graphs",
    "model_sha256",
    "pack_moments",
    "to_calibration",
]

SCHEMA = 1
FP32 = "fp32"
MAX_WEIGHT_BYTES = 1_900_000_000  # of a stage: protobuf ends at 2 GiB, graph and names included
QUANTILES = (0.5, 0.9, 0.99, 1.0)
MOST_BYTES = 16 << 20  # larger ones are no embeddings; the .npz has a limit
FLOOR = 1e-3  # of the mean spread: an element that never changed still has a spread


def calibrate(bundle: Bundle, windows: Windows) -> tuple[Calibration, dict[str, Moments], dict[str, Array]]:
    """Ranges of every activation and statistics of every embedding.

    Args:
        bundle: Its fp32 graphs are run.
        windows: What they are given.

    Returns:
        The calibration, mean and spread of each embedding, and every tensor between stages, [W, ...].

    Raises:
        InputError: A stage makes NaN or infinity of the data.
    """
    manifest = bundle.manifest
    graphs = fp32_graphs(bundle)
    tensors = run_windows(manifest, graphs, windows)
    ranges = {
        stage.name: _stage_ranges(manifest, stage, onnx.load_from_string(graphs[stage.name]), tensors)
        for stage in manifest.stages
    }
    moments, statistics = embedding_statistics(manifest, tensors)
    content = pack_moments(moments)
    return to_calibration(manifest, windows, ranges, statistics, hashlib.sha256(content).hexdigest()), moments, tensors


def embedding_statistics(
    manifest: Manifest, tensors: Mapping[str, Array]
) -> tuple[dict[str, Moments], dict[str, EmbeddingStatistics]]:
    """Mean, spread and usual distances of every embedding.

    Args:
        manifest: Of the bundle.
        tensors: Every tensor, [W, ...].
    """
    ports = embeddings(manifest)
    moments = {name: _moments(tensors[name]) for name in ports}
    return moments, {name: _statistics(tensors[name], moments[name], ports[name]) for name in ports}


def to_calibration(
    manifest: Manifest,
    windows: Windows,
    ranges: dict[str, dict[str, TensorRange]],
    statistics: dict[str, EmbeddingStatistics],
    moments_sha256: str,
) -> Calibration:
    """The record of a calibration; without ranges, nothing can be quantized with it."""
    return Calibration(
        schema=SCHEMA,
        model_sha256=model_sha256(manifest),
        data_sha256=windows.sha256,
        real=windows.real,
        windows=len(windows),
        sources=windows.sources,
        ranges=ranges,
        embeddings=statistics,
        moments_sha256=moments_sha256,
    )


def fp32_graphs(bundle: Bundle) -> dict[str, bytes]:
    """The fp32 graph of each stage with its weights inside.

    Raises:
        InputError: Its weights do not fit into one ONNX file.
    """
    graphs = {}
    for name, file in bundle.manifest.variants[FP32].files.items():
        graphs[name] = bundle.read(file)
        if weights := bundle.weights(file):
            if weights[0].stat().st_size > MAX_WEIGHT_BYTES:
                size = weights[0].stat().st_size / 1e9
                raise InputError(
                    f"stage {name} has {size:.1f} GB of weights; up to {MAX_WEIGHT_BYTES / 1e9:.1f} can be quantized"
                )
            model = onnx.load_from_string(graphs[name])
            load_external_data_for_model(model, str(weights[0].parent))
            graphs[name] = model.SerializeToString()
    return graphs


def model_sha256(manifest: Manifest) -> str:
    """Of the fp32 graphs, so that other weights are noticed."""
    files = manifest.variants[FP32].files
    names = [name for stage in manifest.stages for name in (files[stage.name], f"{files[stage.name]}.data")]
    lines = [f"{name} {manifest.files[name].sha256}\n" for name in names if name in manifest.files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def embeddings(manifest: Manifest) -> dict[str, tuple[str, ...]]:
    """What a sensor shares with others, and tensors between stages; and the sensors that they depend on."""
    read = {name for stage in manifest.stages for name in stage.inputs}
    between = {name: stage.ports for stage in manifest.stages for name in stage.outputs if name in read}
    shared = {name: (port,) for port, names in shares(manifest).items() for name in names}
    specs = manifest.tensors
    return {
        name: ports
        for name, ports in (between | shared).items()
        if specs[name].dtype == "float32" and specs[name].bytes <= MOST_BYTES
    }


def pack_moments(moments: Mapping[str, Moments]) -> bytes:
    """The bytes of the .npz; the same moments always give the same bytes."""
    arrays = {f"mean/{name}": moment.mean for name, moment in moments.items()}
    arrays |= {f"std/{name}": moment.std for name, moment in moments.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: arrays[name] for name in sorted(arrays)})  # type: ignore[arg-type]
    return buffer.getvalue()


def _stage_ranges(
    manifest: Manifest, stage: Stage, model: onnx.ModelProto, tensors: Mapping[str, Array]
) -> dict[str, TensorRange]:
    observed, names = _with_all_outputs(model)
    session = OrtSession(observed.SerializeToString(), threads=1, name=stage.name)
    histograms = {name: Histogram() for name in names}
    for i in range(len(tensors[stage.inputs[0]])):
        for inputs in stage_inputs(manifest, stage, {name: tensors[name][i] for name in stage.inputs}):
            values = session.run(inputs) | inputs
            for name, histogram in histograms.items():
                if not histogram.add(values[name]):
                    raise InputError(
                        f"stage {stage.name} makes NaN or infinity of window {i} (tensor {name}); "
                        "leave it out of the calibration data, or mend the model"
                    )
    return {name: histogram.range() for name, histogram in histograms.items()}


def _with_all_outputs(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Sequence[str]]:
    """The graph with every float tensor among its outputs, and the names of these, its float inputs included."""
    specs = tensor_specs(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    floats = [name for name, spec in specs.items() if spec.dtype == "float32" and name not in weights]
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    there = {value.name for value in (*observed.graph.output, *observed.graph.input)}
    for name in floats:
        if name not in there:
            shape = list(specs[name].shape)
            observed.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    return observed, floats


def _moments(values: Array) -> Moments:
    mean = values.mean(0, dtype=np.float64)
    std = values.std(0, dtype=np.float64)
    floor = max(FLOOR * float(std.mean()), float(np.finfo(np.float32).tiny))
    return Moments(mean=mean.astype(np.float32), std=np.maximum(std, floor).astype(np.float32))


def _statistics(values: Array, moments: Moments, ports: tuple[str, ...]) -> EmbeddingStatistics:
    distances = [moments.distance(value) for value in values]
    return EmbeddingStatistics(
        ports=ports,
        distances={f"{q:g}": float(np.quantile(distances, q)) for q in QUANTILES},
        magnitude=float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))),
    )
