"""Calibration data in recordings: the windows that the runtime would see, at the ticks at which it would decide."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mmedge.backends.base import Buffers
from mmedge.bundle import Bundle
from mmedge.errors import InputError
from mmedge.manifest import Manifest, Stage
from mmedge.model import LoadReport, Model
from mmedge.running import open_run
from mmedge.types import NS, Array
from mmedge_export.quantize.windows import Moment

__all__ = ["AUDIO_SUFFIXES", "LABELS", "VIDEO_SUFFIXES", "Clips", "Labels", "read_clip", "read_labels", "truths_at"]

VIDEO_SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"}
AUDIO_SUFFIXES = {".flac", ".m4a", ".mp3", ".ogg", ".wav"}
LABELS = "labels.json"

Tensors = dict[str, Array]


class _WindowCapture:
    """Stands where all stages would: keeps the windows of some decisions and computes nothing."""

    def __init__(self, manifest: Manifest, limit: int) -> None:
        self.stage = Stage(
            name="capture",
            ports=tuple(manifest.ports),
            inputs=tuple(manifest.ports),
            outputs=tuple(dict.fromkeys(manifest.results.values())),
        )
        self.inputs, self.outputs = self.stage.inputs, self.stage.outputs
        self.kept: list[tuple[int, Tensors]] = []
        self._limit = limit
        self._consecutive = bool(manifest.states)
        self._every = 1
        self._decisions = 0

    @property
    def full(self) -> bool:
        """Nothing more is wanted."""
        return self._consecutive and len(self.kept) >= self._limit

    def bind(self, buffers: Buffers) -> Callable[[], None]:
        """See :meth:`mmedge.backends.base.Session.bind`; a call keeps every n-th window, fewer when they are many."""

        def call() -> None:
            if self.full:
                return
            if self._decisions % self._every == 0:
                self.kept.append((self._decisions, {name: buffers[name].copy() for name in self.inputs}))
            self._decisions += 1
            if not self._consecutive and len(self.kept) >= 2 * self._limit:
                self._every *= 2
                self.kept = [row for row in self.kept if row[0] % self._every == 0]

        return call


def _capturing(bundle: Bundle, capture: _WindowCapture) -> Model:
    """A model of one stage, which takes all windows whole; a stream proves that items make the same windows."""
    manifest = bundle.manifest
    whole = {
        name: replace(manifest.tensors[name], window_axis=None, item_size=1)
        for name in (*capture.inputs, *capture.outputs)
    }
    single = replace(
        manifest,
        stages=(capture.stage,),
        macs={capture.stage.name: 0},
        tensors=whole,
        variants={},
        gates=None,
        policies={},  # every window is what the sensors gave
    )
    report = LoadReport(backend="none", variant="none", threads=1, reason="nothing is computed", load_ms=0)
    return Model(replace(bundle, manifest=single), {capture.stage.name: capture}, report)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Label:
    """What is true of an output from one time to another, ``[start_s, end_s)``."""

    start_s: float
    end_s: float
    value: object


Labels = Mapping[str, list[_Label]]
Clips = Mapping[Path, Labels]


def read_clip(path: Path, bundle: Bundle, limit: int, labels: Labels) -> list[Moment]:
    """Moments of one recording, at the model's default tick.

    Args:
        path: A video with a WAV of the same name beside it or a sound track inside, or a sound file.
        bundle: Of a model with at most one camera and one microphone.
        limit: How many at most, evenly spread over the clip; of a recurrent model the first ones.
        labels: What is true when, by output.

    Raises:
        InputError: The model needs something else, or the clip is too short for a decision.
        SourceError: It cannot be read, has no sound for a model that hears, or is cut off.
    """
    capture = _WindowCapture(bundle.manifest, limit)
    model = _capturing(bundle, capture)
    modalities = {port.modality for port in bundle.manifest.ports.values()}
    sees, times = "camera" in modalities, []
    with open_run(model, camera=path if sees else None, audio=None if sees else path) as run:
        for prediction in run:
            times.append(prediction.t_ns)
            if capture.full:
                break
    kept = capture.kept
    if not kept:
        raise InputError(f"{path} is too short for one decision; give longer clips")
    chosen = np.unique(np.linspace(0, len(kept) - 1, min(limit, len(kept))).round().astype(int))
    states = bool(bundle.manifest.states)
    return [
        Moment(ports=kept[i][1], labels=truths_at(labels, times[kept[i][0]] / NS), begins=not states or place == 0)
        for place, i in enumerate(chosen)
    ]


def truths_at(labels: Labels, t_s: float) -> dict[str, object]:
    """What is true at a time of a recording, by output; what is not known is left out.

    Args:
        labels: Of the recording.
        t_s: The time.
    """
    found = {}
    for output, spans in labels.items():
        for span in spans:
            if span.start_s <= t_s < span.end_s:
                found[output] = span.value
    return found


def read_labels(path: Path, manifest: Manifest) -> dict[str, Labels]:
    """The labels of clips, by the name of the clip without its suffix.

    Args:
        path: JSON: ``{"CLIP": {"OUTPUT": VALUE}}``; a VALUE that holds for a part only is ``[[from_s, to_s, VALUE]]``.
        manifest: Of the model.

    Raises:
        InputError: It is no such file.
    """
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {
            Path(clip).stem: {name: _spans(value) for name, value in outputs.items()}
            for clip, outputs in document.items()
        }
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        outputs = ", ".join(manifest.outputs)
        raise InputError(
            f'{path} cannot be read ({error}); expected {{"CLIP": {{"OUTPUT": VALUE}}}}, outputs are {outputs}'
        ) from error


def _spans(value: object) -> list[_Label]:
    if isinstance(value, list) and value and all(isinstance(span, list) and len(span) == 3 for span in value):
        return [_Label(start_s=float(start), end_s=float(end), value=truth) for start, end, truth in value]
    return [_Label(start_s=float("-inf"), end_s=float("inf"), value=value)]
