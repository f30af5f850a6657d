"""Scenes of the digits task: a handwritten digit and the same digit spoken, as the sensors would give them.

Sources: E. Alpaydin and C. Kaynak, "Optical recognition of handwritten digits", UCI machine learning repository, 1998
(its test part ships inside scikit-learn); Z. Jackson et al., "Free Spoken Digit Dataset",
https://github.com/Jakobovski/free-spoken-digit-dataset.
"""

import io
import re
import wave
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mmedge.errors import SourceError, needs
from mmedge.types import Array

__all__ = ["LABELS", "RATE_HZ", "WINDOW_SAMPLES", "Scene", "clips", "noisy", "read_scenes"]

LABELS = 10
RATE_HZ = 8000
WINDOW_SAMPLES = 8000
HELD_OUT_INDEX = 5
"""FSDD's own rule: recordings 0 to 4 of every speaker and digit are the test set."""
HELD_OUT_PICTURES = 360
"""The last fifth, as in scikit-learn's own example; near neighbours in the file are often of one hand."""
ROOM = 1e-3
"""Noise of the room and the microphone, -60 dB of full scale: no real silence is digital zero."""
NAME = re.compile(r"(?:.*/)?(\d)_([a-z]+)_(\d+)\.wav")
MOST_BYTES = 1 << 20

Pictures = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.float32]


class Scene(NamedTuple):
    """A digit, seen and heard.

    Attributes:
        image: [8, 8, 3] uint8 RGB.
        audio: [8000] float32 in -1..1 at 8 kHz; the digit is somewhere in it.
        label: 0 to 9.
    """

    image: Pictures
    audio: Samples
    label: int


def read_scenes(recordings: Path, *, seed: int = 0) -> tuple[list[Scene], list[Scene]]:
    """Scenes to train on and scenes to score with; no recording and no picture is in both.

    The speakers are the same in both, as FSDD's rule has it.

    Args:
        recordings: The archive of the Free Spoken Digit Dataset, ``{digit}_{speaker}_{index}.wav`` in any folder.
        seed: Decides where in its second each digit is spoken, on the room's noise, and on the pairs.

    Raises:
        SourceError: The archive is missing, damaged, or does not hold the recordings.
        MissingLibraryError: scikit-learn is not installed.
    """
    sounds = _read_sounds(recordings)
    pictures, written = _read_pictures()
    random = np.random.default_rng(seed)
    training, held_out = slice(None, -HELD_OUT_PICTURES), slice(-HELD_OUT_PICTURES, None)
    parts = []
    for part, wanted in ((training, False), (held_out, True)):
        spoken = [(label, samples) for label, index, samples in sounds if (index < HELD_OUT_INDEX) == wanted]
        parts.append(_paired(spoken, pictures[part], written[part], random))
    return parts[0], parts[1]


def noisy(scenes: Sequence[Scene], *, sigma: float, seed: int = 0) -> list[Scene]:
    """The same scenes in the dark: Gaussian noise of ``sigma`` grey levels on every pixel."""
    random = np.random.default_rng(seed)
    dark = []
    for scene in scenes:
        pixels = scene.image + random.normal(0, sigma, scene.image.shape[:2])[:, :, None]
        dark.append(scene._replace(image=pixels.round().clip(0, 255).astype(np.uint8)))
    return dark


def clips(scenes: Sequence[Scene]) -> dict[str, Array]:
    """Arrays by port for ``np.savez`` and ``mmedge export --samples``, and the truth about them.

    Returns:
        image [S, 8, 8, 3] uint8, audio [S, 8000] float32, and the labels, digit [S] int64.
    """
    return {
        "image": np.stack([scene.image for scene in scenes]),
        "audio": np.stack([scene.audio for scene in scenes]),
        "digit": np.array([scene.label for scene in scenes], np.int64),
    }


def _read_sounds(recordings: Path) -> list[tuple[int, int, Samples]]:
    """Label, index and samples of every recording, in the order of their names."""
    try:
        with zipfile.ZipFile(recordings) as archive:
            found = {match.groups(): info for info in archive.infolist() if (match := NAME.fullmatch(info.filename))}
            sounds = [
                (int(digit), int(index), _samples(archive, found[digit, speaker, index]))
                for digit, speaker, index in sorted(found, key=lambda key: (key[0], key[1], int(key[2])))
            ]
    except (OSError, zipfile.BadZipFile, wave.Error, EOFError) as error:
        raise SourceError(
            f"{recordings} cannot be read ({error}); expected the archive of FSDD's recordings"
        ) from error
    for wanted in (True, False):
        labels = {label for label, index, _ in sounds if (index < HELD_OUT_INDEX) == wanted}
        if len(labels) != LABELS:
            raise SourceError(
                f"{recordings} holds {len(sounds)} recordings, not all digits to train on and to score with; "
                "expected files named {digit}_{speaker}_{index}.wav"
            )
    return sounds


def _samples(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Samples:
    if info.file_size > MOST_BYTES:
        raise SourceError(f"{info.filename} has {info.file_size} bytes, too many for a spoken digit")
    with wave.open(io.BytesIO(archive.read(info))) as sound:
        rate_hz, channels, bits = sound.getframerate(), sound.getnchannels(), 8 * sound.getsampwidth()
        if (rate_hz, channels, bits) != (RATE_HZ, 1, 16):
            given = f"{rate_hz} Hz, {channels} channels, {bits} bits"
            raise SourceError(f"{info.filename} is {given}; expected 8000 Hz, 1 channel, 16 bits")
        data = sound.readframes(WINDOW_SAMPLES)
    samples: Samples = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)
    return samples


def _read_pictures() -> tuple[Pictures, npt.NDArray[np.int64]]:
    """[N, 8, 8, 3] uint8 RGB and [N] labels."""
    bunch = needs("sklearn.datasets", fix="pip install 'mmedge[examples]'").load_digits()
    gray = (bunch.images * (255 / 16)).round().astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=3), bunch.target.astype(np.int64)


def _paired(
    spoken: Sequence[tuple[int, Samples]],
    pictures: Pictures,
    written: npt.NDArray[np.int64],
    random: np.random.Generator,
) -> list[Scene]:
    """Every recording with a picture of its digit; each picture is used once before any is used twice."""
    waiting: dict[int, list[int]] = {label: [] for label in range(LABELS)}
    scenes = []
    for label, samples in spoken:
        if not waiting[label]:
            waiting[label] = random.permutation(np.flatnonzero(written == label)).tolist()
        scenes.append(Scene(pictures[waiting[label].pop()], _in_a_room(samples, random), label))
    return scenes


def _in_a_room(samples: Samples, random: np.random.Generator) -> Samples:
    """A second of the room's noise with the digit somewhere in it."""
    audio = random.normal(0, ROOM, WINDOW_SAMPLES).astype(np.float32)
    start = random.integers(WINDOW_SAMPLES - len(samples) + 1)
    audio[start : start + len(samples)] += samples
    return audio
