"""Windows as the network gets them, made by the front ends that also run on the device."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from multiprocessing import get_context

import cv2
import numpy as np
import numpy.typing as npt

from mmedge.features.audio import AudioFrontEnd
from mmedge.features.camera import CameraFrontEnd
from mmedge.features.settings import AudioSettings, CameraSettings
from mmedge_export.reference.scene.window import Window, draw_window
from mmedge_export.spec import Spec, read_spec

__all__ = ["EVENTS", "HELD_OUT_SEED", "SAMPLES_SEED", "Dataset", "draw_dataset", "reference_spec", "spec_text"]

EVENTS = ("clear", "siren heard", "beacons seen", "emergency vehicle approaching")
HELD_OUT_SEED = 1_000_000
"""Scenes from here on are never trained on."""
SAMPLES_SEED = 2_000_000
CHUNK = 16

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Windows of N scenes, before normalisation, and the truth about them.

    Attributes:
        image: [N, 8, 3, 120, 160] uint8 RGB.
        audio: [N, 98, 64] float32, log-mel.
        siren: [N] bool, whether one is heard.
        beacons: [N] bool, whether they are seen.
        distance_m: [N] float32; meaningless where neither is true.
        place: [N, 2] float32, column and row of the beacons as shares 0..1 of the picture; -1 where none are seen.
        snr_db: [N] float32 of the siren; 0 where none is heard.
    """

    image: npt.NDArray[np.uint8]
    audio: Floats
    siren: npt.NDArray[np.bool_]
    beacons: npt.NDArray[np.bool_]
    distance_m: Floats
    place: Floats
    snr_db: Floats

    def __len__(self) -> int:
        return len(self.siren)

    def __repr__(self) -> str:
        return f"Dataset({len(self)} windows)"

    @property
    def event(self) -> npt.NDArray[np.int64]:
        """[N] labels, as in EVENTS."""
        return self.siren.astype(np.int64) + 2 * self.beacons


def spec_text() -> str:
    """The SPEC.toml of the reference model."""
    return files("mmedge_export.reference").joinpath("spec.toml").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def reference_spec() -> Spec:
    """The reference model's spec, read."""
    return read_spec(spec_text(), "mmedge_export/reference/spec.toml")


def port_settings() -> tuple[CameraSettings, AudioSettings]:
    """What the spec says about the two inputs."""
    camera, audio = reference_spec().ports["image"].camera, reference_spec().ports["audio"].audio
    if camera is None or audio is None:
        raise TypeError("the reference spec has a camera port and an audio port")
    return camera, audio


def draw_dataset(count: int, *, seed: int, workers: int) -> Dataset:
    """Windows of ``count`` scenes with all four labels in turn; the same seed always gives the same windows.

    Args:
        count: How many.
        seed: Number of the first scene; the others follow it.
        workers: Processes to share the work; 1 works in this one.
    """
    numbers = range(seed, seed + count)
    if workers == 1:
        return _stacked([_inputs(number) for number in numbers])
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_be_single) as pool:
        return _stacked(list(pool.map(_inputs, numbers, chunksize=CHUNK)))


Row = tuple[npt.NDArray[np.uint8], Floats, Window]


def _be_single() -> None:
    cv2.setNumThreads(1)


def _inputs(number: int) -> Row:
    """The tensors of one scene before normalisation; the window comes without its raw data."""
    camera, audio = port_settings()
    window = draw_window(number, number % len(EVENTS))
    image = CameraFrontEnd(replace(camera, scale=255.0, mean=(0.0,), std=(1.0,))).window(window.image)
    mel = AudioFrontEnd(replace(audio, mean=(0.0,), std=(1.0,))).window(window.audio)
    truth = replace(window, image=window.image[:0], audio=window.audio[:0])
    return image.astype(np.uint8), mel, truth


def _stacked(rows: Sequence[Row]) -> Dataset:
    truths = [truth for _, _, truth in rows]
    return Dataset(
        image=np.stack([image for image, _, _ in rows]),
        audio=np.stack([audio for _, audio, _ in rows]),
        siren=np.array([truth.siren for truth in truths]),
        beacons=np.array([truth.beacons for truth in truths]),
        distance_m=np.array([truth.distance_m for truth in truths], np.float32),
        place=np.array([truth.place for truth in truths], np.float32),
        snr_db=np.array([truth.snr_db for truth in truths], np.float32),
    )
