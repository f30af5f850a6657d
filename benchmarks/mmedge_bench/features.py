"""What the front end of a stream costs per 10 ms of sound, beside the usual ways: ``python -m mmedge_bench.features``.

The ways take turns in blocks of hops, so that whatever else the machine does falls on each of them alike. Set
OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 for comparable tails: mmedge calls no BLAS here, the others do.
"""

import time
from collections.abc import Callable
from importlib import import_module, util
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from mmedge.features.audio import AudioFrontEnd
from mmedge.features.settings import AudioSettings, MelSettings, mel_settings

__all__ = ["main", "measure"]

RATE_HZ = 16000
WINDOW = 16000
BLOCK = 100  # hops in a row
WARM = 5  # pairs of them not counted, while the caches fill

Samples = npt.NDArray[np.float32]
Way = Callable[[Samples, Samples], object]  # takes the new hop and the window that ends with it


def measure(blocks: int) -> dict[str, npt.NDArray[np.float64]]:
    """Time every way on the same sound.

    Args:
        blocks: Blocks of 100 hops of 10 ms; the first 10 hops of each are not counted.

    Returns:
        Microseconds of a hop, mean of two that follow one another, [45 * blocks], by the name of the way; libraries
        that are not installed are left out.
    """
    mel = mel_settings("kaldi", RATE_HZ, mels=64)
    hop = mel.hop_length
    sound = np.random.default_rng(0).standard_normal(WINDOW + blocks * BLOCK * hop).astype(np.float32) * 0.1
    times: dict[str, list[float]] = {}
    ways = _ways(mel, sound[:WINDOW])
    for block in range(blocks):
        for name, way in ways.items():
            taken = []
            for tick in range(block * BLOCK, (block + 1) * BLOCK, 2):
                first, second = (sound[i * hop : i * hop + WINDOW] for i in (tick + 1, tick + 2))
                start = time.perf_counter_ns()
                way(first[-hop:], first)
                way(second[-hop:], second)
                taken.append((time.perf_counter_ns() - start) / 2000)
            times.setdefault(name, []).extend(taken[WARM:])
    return {name: np.array(taken) for name, taken in times.items()}


def _ways(mel: MelSettings, history: Samples) -> dict[str, Way]:
    settings = AudioSettings(
        rate_hz=RATE_HZ, window_samples=WINDOW, hop_samples=mel.hop_length, features="log-mel", layout="TM", mel=mel
    )
    whole = AudioFrontEnd(settings)
    ways: dict[str, Way] = {
        "mmedge, a window every 10 ms": _incremental(settings, history, hops=1),
        "mmedge, a window every 20 ms": _incremental(settings, history, hops=2),
        "mmedge, whole window": lambda _, window: whole.window(window),
    }
    if util.find_spec("kaldi_native_fbank"):
        ways["kaldi-native-fbank, new frames only"] = _kaldi(import_module("kaldi_native_fbank"), mel, history)
    if util.find_spec("librosa"):
        ways["librosa, whole window"] = _librosa(import_module("librosa"), mel)
    return ways


def _incremental(settings: AudioSettings, history: Samples, hops: int) -> Way:
    """New frames only, and the window put together after so many hops, as decisions need it."""
    stream, count = AudioFrontEnd(settings), 0
    stream.push(history)
    tensor = np.empty(settings.shape, np.float32)

    def step(new: Samples, _: Samples) -> None:
        nonlocal count
        stream.push(new)
        count += 1
        if count % hops == 0:
            stream.write(tensor)

    return step


def _kaldi(knf: Any, mel: MelSettings, history: Samples) -> Way:
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = mel.mels
    online = knf.OnlineFbank(options)
    online.accept_waveform(RATE_HZ, history.tolist())
    done = online.num_frames_ready

    def step(new: Samples, _: Samples) -> None:
        nonlocal done
        online.accept_waveform(RATE_HZ, new.tolist())
        for frame in range(done, online.num_frames_ready):
            online.get_frame(frame)
        done = online.num_frames_ready

    return step


def _librosa(librosa: Any, mel: MelSettings) -> Way:
    options = {"n_fft": mel.n_fft, "win_length": mel.frame_length, "hop_length": mel.hop_length, "n_mels": mel.mels}

    def step(_: Samples, window: Samples) -> None:
        librosa.power_to_db(librosa.feature.melspectrogram(y=window, sr=RATE_HZ, **options))

    return step


@click.command()
@click.option("--blocks", default=20, show_default=True, help="Blocks of 100 hops of 10 ms to time.")
def main(blocks: int) -> None:
    """Time the ways to keep 1 s of 64 log-mel bins up to date."""
    times = measure(blocks)
    unit = np.median(next(iter(times.values())))
    click.echo(f"{'per 10 ms of sound':38}{'p50 us':>9}{'p99 us':>9}{'ratio':>8}")
    for name, taken in times.items():
        middle, tail = np.percentile(taken, [50, 99])
        click.echo(f"{name:38}{middle:9.1f}{tail:9.1f}{middle / unit:8.1f}")


if __name__ == "__main__":
    main()
