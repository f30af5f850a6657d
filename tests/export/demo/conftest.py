from dataclasses import replace

import cv2
import numpy as np
import pytest
from mmedge_export.demo.result import Contestant, Decisions, DemoResult, Picture, Truth

from mmedge.cost import StageCost, predict_saving
from mmedge.features.settings import AudioSettings, CameraSettings
from mmedge.manifest import FileRecord, Manifest, Output, Port, Stage, TensorSpec, Variant

LABELS = ("clear", "siren heard", "beacons seen", "emergency vehicle approaching")
DURATION_S, CAMERA_HZ, DECISIONS_HZ = 20.0, 15.0, 50.0
# (from second, label, distance at its start and end)
PLOT = (
    (0.0, 0, np.nan, np.nan),
    (4.2, 1, 190.0, 120.0),
    (8.0, 3, 120.0, 25.0),
    (13.0, 2, 25.0, 90.0),
    (16.4, 0, np.nan, np.nan),
)
EVENTS = (
    (4.2, 13.0, "siren, two-tone, coming closer"),
    (8.0, 16.4, "blue beacons in view, oncoming lane"),
    (6.1, 7.4, "car horn"),
    (17.2, 18.6, "delivery van with amber light"),
)
CONTESTANTS = (
    # name, work ms/s, latency median, tail, peak MB, start s, difference
    ("PyTorch eager, whole model", 1903.0, 9400.0, 1.0, 412.0, 3.9, 2.1e-5),
    ("ONNX Runtime, whole model", 431.0, 8.9, 0.25, 118.0, 0.62, 4.8e-6),
    ("ONNX Runtime, whole model, two threads", 398.0, 5.2, 0.3, 121.0, 0.60, 4.8e-6),
    ("mmedge, each stage at its own rate", 75.2, 1.48, 0.35, 96.0, 0.41, 0.0),
)


def make_manifest(*, whole=False, window=8):
    tensors = {
        "image": TensorSpec(shape=(1, window, 3, 120, 160), dtype="float32", window_axis=1),
        "audio": TensorSpec(shape=(1, 16000), dtype="float32"),
        "view_1": TensorSpec(shape=(1, window, 32, 15, 20), dtype="float32", window_axis=1),
        "keys": TensorSpec(shape=(1, 4, 80, 16), dtype="float32"),
        "values": TensorSpec(shape=(1, 4, 16, 80), dtype="float32"),
        "tokens": TensorSpec(shape=(1, 17, 64), dtype="float32"),
        "queries": TensorSpec(shape=(1, 4, 17, 16), dtype="float32"),
        "mean_2": TensorSpec(shape=(1, 64), dtype="float32"),
        "event": TensorSpec(shape=(1, 4), dtype="float32"),
        "distance": TensorSpec(shape=(1, 1), dtype="float32"),
    }
    both = ("image", "audio")
    stages = (
        Stage(name="image.item", ports=("image",), inputs=("image",), outputs=("view_1",), per_item=True),
        Stage(name="image", ports=("image",), inputs=("view_1",), outputs=("keys", "values")),
        Stage(name="audio", ports=("audio",), inputs=("audio",), outputs=("tokens", "queries", "mean_2")),
        Stage(
            name="head",
            ports=both,
            inputs=("tokens", "queries", "keys", "values", "mean_2"),
            outputs=("event", "distance"),
        ),
    )
    if whole:
        stages = (Stage(name="whole", ports=both, inputs=both, outputs=("event", "distance")),)
        tensors = {name: replace(spec, window_axis=None) for name, spec in tensors.items()}
    files = {stage.name: f"onnx/fp32/{stage.name}.onnx" for stage in stages}
    return Manifest(
        schema=1,
        name="emergency-vehicle",
        made_with={"mmedge": "0.1.0", "torch": "2.13.0+cpu", "onnx": "1.23.2"},
        ports={
            "image": Port(
                camera=CameraSettings(width_px=160, height_px=120, frames=window, rate_hz=15.0, layout="TCHW")
            ),
            "audio": Port(audio=AudioSettings(rate_hz=16000, window_samples=16000, hop_samples=320)),
        },
        tensors=tensors,
        stages=stages,
        macs={stage.name: macs for stage, macs in zip(stages, (25344000, 14909440, 16574336, 547456), strict=False)},
        outputs={
            "event": Output(tensor="event", task="classification", labels=LABELS, activation="softmax"),
            "distance": Output(tensor="distance", task="regression", unit="m"),
        },
        variants={"fp32": Variant(files=files, backends=("onnxruntime-cpu",))},
        golden="golden.npz",
        files={path: FileRecord(bytes=1, sha256="0" * 64) for path in ("golden.npz", *files.values())},
        kept_whole="nothing is private to a sensor: the inputs are joined by the first layer" if whole else "",
    )


def make_costs(manifest):
    window = manifest.tensors["image"].shape[1]
    times = {"image.item": 0.92, "image": 0.55, "audio": 0.83, "head": 0.21, "whole": 8.6}
    return tuple(
        StageCost(
            name=stage.name,
            ms=times[stage.name],
            whole_ms=times[stage.name] * (window if stage.per_item else 1),
            macs=manifest.macs[stage.name],
            bytes_out=38400,
            runs_unsplit=window if stage.per_item else 1,
        )
        for stage in manifest.stages
    )


def make_truth(t_s):
    labels, distance, settled = np.zeros(len(t_s), np.int64), np.full(len(t_s), np.nan), np.ones(len(t_s), bool)
    ends = [row[0] for row in PLOT[1:]] + [DURATION_S]
    for (start, label, near, far), end in zip(PLOT, ends, strict=True):
        inside = (t_s >= start) & (t_s < end)
        labels[inside] = label
        distance[inside] = near + (far - near) * (t_s[inside] - start) / (end - start)
        settled &= (t_s < start) | (t_s >= start + 1.0) | (start == 0)
    return Truth(labels=labels, distance_m=distance, settled=settled)


def make_decisions(random, t_s, truth):
    late = np.maximum(0, np.searchsorted(t_s, t_s - 0.42))
    logits = 4.2 * np.eye(len(LABELS))[truth.labels[late]]
    wander = np.cumsum(random.normal(0, 0.25, logits.shape), 0)
    logits += 2.6 * np.tanh(wander - wander.mean(0)) + random.normal(0, 0.15, logits.shape)
    odds = np.exp(logits - logits.max(1, keepdims=True))
    distance = np.where(np.isnan(truth.distance_m), 100, truth.distance_m)
    distance = np.clip(distance + 9 * np.sin(t_s * 1.7) + random.normal(0, 2.5, len(t_s)), 0, 200)
    newest = np.floor(((t_s - 0.004) * CAMERA_HZ).round(6)) / CAMERA_HZ
    age = {"image": np.maximum(0.0, (t_s - newest) * 1e3), "audio": np.zeros(len(t_s))}
    return Decisions(t_s=t_s, probabilities=odds / odds.sum(1, keepdims=True), distance_m=distance, age_ms=age)


def make_spectrogram(random):
    hz = 700 * (np.exp(np.linspace(np.log1p(20 / 700), np.log1p(8000 / 700), 66)[1:-1]) - 1)
    t = np.arange(0, DURATION_S, 0.01)
    level = -62 - 6 * np.log2(hz[:, None] / 100 + 1) + random.normal(0, 2.2, (len(hz), len(t)))
    tone = np.where((t * 1.1) % 1 < 0.5, 450.0, 600.0)
    loud = np.interp(t, [4.2, 9, 11, 13], [-42, -12, -6, -30]) * 1.0
    for harmonic in range(1, 8):
        near = np.exp(-0.5 * ((np.log(hz)[:, None] - np.log(tone * harmonic)) / 0.05) ** 2)
        level = np.where((t >= 4.2) & (t < 13), np.maximum(level, loud - 5 * harmonic - 40 * (1 - near)), level)
    horn = (t >= 6.1) & (t < 7.4)
    for tone_hz in (400, 500, 800, 1000, 1500):
        near = np.exp(-0.5 * ((np.log(hz)[:, None] - np.log(tone_hz)) / 0.04) ** 2)
        level = np.where(horn, np.maximum(level, -14 - 40 * (1 - near)), level)
    return level, hz


def make_picture(random, t_s, caption):
    picture = np.zeros((240, 320, 3), np.uint8)
    picture[:120] = np.linspace((190, 160, 130), (215, 205, 195), 120)[:, None]
    picture[120:] = np.linspace((95, 100, 100), (60, 62, 64), 120)[:, None]
    cv2.fillPoly(picture, [np.array([(150, 120), (170, 120), (330, 240), (-10, 240)])], (70, 70, 72))
    cv2.line(picture, (160, 122), (160, 240), (200, 210, 210), 2)
    size = 6 + 60 * max(0.0, 1 - abs(t_s - 12.5) / 5)
    x, y = 150 - size * 1.2, 124 + size * 0.6
    cv2.rectangle(picture, (int(x - size / 2), int(y - size)), (int(x + size / 2), int(y)), (235, 235, 235), -1)
    if 8 <= t_s < 16.4:
        cv2.circle(picture, (int(x), int(y - size)), int(3 + size / 8), (255, 120, 30), -1)
    noise = random.normal(0, 5, picture.shape)
    picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    return Picture(t_s=t_s, jpeg=cv2.imencode(".jpg", picture)[1].tobytes(), caption=caption)


def make_latency(random, median_ms, spread, decisions, *, keeps_up):
    if not keeps_up:
        return np.linspace(38.0, 2 * median_ms, decisions)
    latency = median_ms * np.exp(random.normal(0, spread / 2.5, decisions))
    waits = random.random(decisions) < 0.3
    return latency + waits * random.uniform(0, 1.2 * median_ms, decisions)


def make_result(*, seed=0, contestants=3, whole=False, labels=LABELS, window=8):
    """A demo as it could have been: 20 s, 15 pictures and 50 decisions per second."""
    random = np.random.default_rng(seed)
    t_s = np.arange(1.0, DURATION_S, 1 / DECISIONS_HZ)
    truth = make_truth(t_s)
    decided = make_decisions(random, t_s, truth)
    manifest = make_manifest(whole=whole, window=window)
    costs = make_costs(manifest)
    level, hz = make_spectrogram(random)
    moments = (1.6, 4.9, 7.3, 9.4, 11.8, 13.6, 15.9, 18.0)
    fields = CONTESTANTS[1][1:6] if whole else CONTESTANTS[3][1:6]
    last = (CONTESTANTS[3][0], *fields, 0.0)
    rows = [(*CONTESTANTS[:3], last)[i] for i in {1: (3,), 2: (1, 3), 3: (0, 1, 3), 4: (0, 1, 2, 3)}[contestants]]
    return DemoResult(
        manifest=manifest,
        labels=labels,
        duration_s=DURATION_S,
        camera_hz=CAMERA_HZ,
        decisions_hz=DECISIONS_HZ,
        spectrogram_db=level,
        spectrogram_hz=hz,
        truth=truth,
        decided=decided,
        pictures=tuple(
            make_picture(random, t, _caption(truth, decided, labels, int(np.searchsorted(t_s, t)))) for t in moments
        ),
        events=EVENTS,
        contestants=tuple(
            Contestant(
                name=name,
                decisions=len(t_s),
                work_ms_per_s=work,
                latency_ms=make_latency(random, median, spread, len(t_s), keeps_up=work < 1000),
                keeps_up=work < 1000,
                peak_mb=peak,
                first_decision_s=start,
                worst_difference=difference,
            )
            for name, work, median, spread, peak, start, difference in rows
        ),
        costs=costs,
        saving=predict_saving(manifest, list(costs), {"image": CAMERA_HZ, "audio": DECISIONS_HZ}),
        parity_worst={"event": (4.8e-6, 1e-4), "distance": (3.1e-5, 1e-3)},
        machine={
            "processor": "Example CPU @ 2.4 GHz",
            "cores used": "1 of 4",
            "Python": "3.11.7",
            "onnxruntime": "1.23.2",
            "PyTorch": "2.13.0",
        },
    )


def _caption(truth, decided, labels, at):
    return f"truth: {labels[truth.labels[at]]}; decision: {labels[decided.labels[at]]}, {decided.distance_m[at]:.0f} m"


@pytest.fixture(name="make_result")
def make_result_fixture():
    return make_result
