"""The demo's steps: from a made-up drive to everything that the report shows."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.bundle import open_bundle
from mmedge.cost import measure_stages, predict_saving
from mmedge.errors import InputError, needs
from mmedge.features.audio import log_mel
from mmedge.features.conventions import mel_settings
from mmedge.manifest import Manifest
from mmedge.measured import processor_name
from mmedge.types import NS, Array
from mmedge_export.demo.clip_files import write_clip
from mmedge_export.demo.contestant import Job, Kind, Log, race
from mmedge_export.demo.result import Contestant, Decisions, DemoResult, Picture, Truth
from mmedge_export.parity.comparison import SAMPLES, ParityReport
from mmedge_export.pipeline import ExportOptions, export
from mmedge_export.reference import CHECKPOINT
from mmedge_export.reference.clip import Clip, make_clip
from mmedge_export.reference.scene.window import FRAME_RATE_HZ

__all__ = ["Demo", "run_demo"]

TICK_HZ = 50
NAMES: Mapping[Kind, str] = {
    "torch": "PyTorch eager, whole model at every tick",
    "whole": "ONNX Runtime, whole model at every tick",
    "staged": "mmedge, each stage at its own rate",
}
PICTURES = 10
MARK = ".mmedge-demo"
SPECTROGRAM_BANDS = 96
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """Where the demo's files are.

    Attributes:
        folder: It holds all of them.
    """

    folder: Path

    @property
    def video(self) -> Path:
        """The clip's pictures."""
        return self.folder / "clip.mp4"

    @property
    def sound(self) -> Path:
        """The clip's sound."""
        return self.folder / "clip.wav"

    @property
    def bundle(self) -> Path:
        """The exported model."""
        return self.folder / "emergency.mmedge"

    @property
    def whole(self) -> Path:
        """The unsplit graph."""
        return self.folder / "whole.onnx"

    @property
    def numbers(self) -> Path:
        """The headline and the table, as JSON."""
        return self.folder / "numbers.json"

    @property
    def report(self) -> Path:
        """The page."""
        return self.folder / "report.html"


def run_demo(demo: Demo, *, seed: int, duration_s: float, progress: Progress) -> DemoResult:
    """Make a clip, export the reference model, and run it on the clip in three ways.

    Args:
        demo: Where to put the files; those of an earlier run are replaced.
        seed: Of the clip.
        duration_s: Of the clip.
        progress: Told the name of each step as it begins.

    Raises:
        InputError: The folder holds something that is not the demo's.
    """
    _take_folder(demo.folder)
    progress(f"making a clip of {duration_s:g} s")
    clip = make_clip(seed=seed, duration_s=duration_s)
    write_clip(clip, demo.video, demo.sound)
    exported = export(CHECKPOINT, demo.bundle, ExportOptions(force=True, keep_whole=demo.whole), progress)
    progress("measuring the stages")
    manifest = exported.manifest
    costs = measure_stages(open_bundle(demo.bundle))
    rates = {name: float(FRAME_RATE_HZ if port.camera else TICK_HZ) for name, port in manifest.ports.items()}
    logs: dict[Kind, Log] = {}
    for kind, name in NAMES.items():
        progress(name)
        logs[kind] = race(_job(demo, kind))
    progress("comparing with the truth")
    decided = _decisions(logs["staged"])
    truth = _truth(clip, logs["staged"], manifest)
    bands_hz, spectrogram = _spectrogram(clip.audio)
    return DemoResult(
        manifest=manifest,
        labels=manifest.outputs["event"].labels,
        duration_s=duration_s,
        camera_hz=FRAME_RATE_HZ,
        decisions_hz=TICK_HZ,
        spectrogram_db=spectrogram,
        spectrogram_hz=bands_hz,
        truth=truth,
        decided=decided,
        pictures=_pictures(clip, decided, truth, manifest.outputs["event"].labels),
        events=_events(clip),
        contestants=tuple(_contestant(NAMES[kind], log, logs["staged"], duration_s) for kind, log in logs.items()),
        costs=tuple(costs),
        saving=predict_saving(manifest, costs, rates),
        parity_worst=_parity(exported.parity),
        machine=_machine(),
    )


def _take_folder(folder: Path) -> None:
    """Make the folder ours, unless somebody else's files are in it."""
    mark = folder / MARK
    if folder.is_dir() and any(folder.iterdir()) and not mark.exists():
        raise InputError(f"{folder} holds files that no demo made; choose another -o")
    folder.mkdir(parents=True, exist_ok=True)
    mark.touch()


def _job(demo: Demo, kind: Kind) -> Job:
    return Job(
        kind=kind,
        bundle=str(demo.bundle),
        whole=str(demo.whole),
        checkpoint=str(CHECKPOINT),
        camera=str(demo.video),
        audio=str(demo.sound),
        tick=f"{TICK_HZ}hz",
        out=str(demo.folder / f"{kind}.npz"),
    )


def _contestant(name: str, log: Log, staged: Log, duration_s: float) -> Contestant:
    differences = [np.abs(log.outputs[key] - staged.outputs[key]).max() for key in staged.outputs]
    return Contestant(
        name=name,
        decisions=len(log.t_ns),
        work_ms_per_s=log.work_ns / 1e6 / duration_s,
        latency_ms=log.latency_on_one_core(),
        keeps_up=float(log.cost_ns.sum()) < duration_s * NS,
        peak_mb=log.peak_kib / 1024,
        first_decision_s=log.first_ns / NS,
        worst_difference=float(max(differences)),
    )


def _decisions(log: Log) -> Decisions:
    return Decisions(
        t_s=log.t_ns / NS,
        probabilities=log.outputs["event"].astype(np.float64),
        distance_m=log.outputs["distance"].reshape(-1).astype(np.float64),
        age_ms=log.age_ms,
    )


def _truth(clip: Clip, log: Log, manifest: Manifest) -> Truth:
    labels = manifest.outputs["event"].labels
    moments = [clip.truth(int(t_ns)) for t_ns in log.t_ns]
    return Truth(
        labels=np.array([labels.index(moment.label) for moment in moments]),
        distance_m=np.array([moment.distance_m for moment in moments]),
        settled=np.array([clip.settled(int(t_ns)) for t_ns in log.t_ns]),
    )


def _pictures(clip: Clip, decided: Decisions, truth: Truth, labels: tuple[str, ...]) -> tuple[Picture, ...]:
    """Frames spread over the clip, each with what was true and what was decided then."""
    cv2: Any = needs("cv2", fix="pip install 'mmedge[cpu]'")
    pictures = []
    step_s = (decided.t_s[-1] - decided.t_s[0]) / PICTURES
    for t_s in decided.t_s[0] + step_s * (np.arange(PICTURES) + 0.5):
        at = int(np.searchsorted(decided.t_s, t_s))
        frame = int(t_s * FRAME_RATE_HZ)
        _, jpeg = cv2.imencode(
            ".jpg", cv2.cvtColor(clip.frame(frame), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85]
        )
        caption = f"true: {labels[truth.labels[at]]}; decided: {labels[decided.labels[at]]}"
        pictures.append(Picture(t_s=frame / FRAME_RATE_HZ, jpeg=jpeg.tobytes(), caption=caption))
    return tuple(pictures)


def _events(clip: Clip) -> tuple[tuple[float, float, str], ...]:
    script = clip.script
    events = [(*passage.heard_s, f"{passage.siren} siren, {passage.kind}") for passage in script.passages]
    events += [(*passage.seen_s, f"blue lights, {passage.kind}") for passage in script.passages]
    events += [(*on_s, sound.name) for sound in script.distractors for on_s in sound.on_s]
    return tuple(sorted((begin, end, text) for begin, end, text in events if begin < clip.duration_s))


def _spectrogram(samples: Array) -> tuple[Array, Array]:
    """Log-mel in decibels, and the frequency of each band."""
    settings = mel_settings("torchaudio", 16000, mels=SPECTROGRAM_BANDS, log="db", floor=1e-8, hop_length=320)
    rows = log_mel(samples, settings).astype(np.float64)
    edges = np.linspace(0, 2595 * np.log10(1 + settings.high_hz / 700), SPECTROGRAM_BANDS + 2)  # the HTK mel scale
    return 700 * (10 ** (edges[1:-1] / 2595) - 1), rows.T


def _parity(report: ParityReport) -> dict[str, tuple[float, float]]:
    against = f"{report.original} against the ONNX graph"
    rows = [row for row in report.comparisons if (row.what, row.case) == (against, SAMPLES)]
    return {row.tensor: (row.difference, row.tolerance) for row in rows}


def _machine() -> dict[str, str]:
    return {
        "processor": f"{processor_name()}, {cpu_count()} cores, one thread used",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "onnxruntime", "numpy")},
    }
