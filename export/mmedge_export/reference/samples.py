"""Real sensor data to prove an export with, calibrate it and compare its variants."""

from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from mmedge_export.reference.dataset import EVENTS, HELD_OUT_SEED, SAMPLES_SEED
from mmedge_export.reference.scene.window import Window, draw_window

__all__ = ["samples", "write_labelled"]

PER_FILE = 50


def samples(count: int, seed: int) -> list[dict[str, npt.NDArray[np.generic]]]:
    """Raw sensor arrays of scenes that the model was neither trained nor scored on, all four labels in turn, and truth.

    Args:
        count: How many.
        seed: Number of the first scene.

    Returns:
        One dictionary a scene: image [8, 240, 320, 3] uint8 RGB and audio [16000] float32; label/event, its number, and
        label/distance [1] float32, NaN where it means nothing.
    """
    windows = [_window(number) for number in range(SAMPLES_SEED + seed, SAMPLES_SEED + seed + count)]
    return [
        {
            "image": window.image,
            "audio": window.audio,
            "label/event": np.array(window.event),
            "label/distance": np.array([_distance(window)], np.float32),
        }
        for window in windows
    ]


def write_labelled(folder: Path, count: int, first: int) -> None:
    """Files of raw sensor arrays with their truth, as ``mmedge quantize --calibration`` reads them.

    Args:
        folder: Made if it is not there.
        count: How many scenes, 50 to a file.
        first: Number of the first one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, count, PER_FILE):
        numbers = range(first + start, first + min(start + PER_FILE, count))
        windows = [_window(number) for number in numbers]
        far = [_distance(window) for window in windows]
        arrays = {
            "image": np.stack([window.image for window in windows]),
            "audio": np.stack([window.audio for window in windows]),
            "label/event": np.array([number % len(EVENTS) for number in numbers]),
            "label/distance": np.array(far, np.float32)[:, np.newaxis],
        }
        np.savez(folder / f"scenes-{start:05}.npz", **arrays)  # type: ignore[arg-type] # its flags have other names


def _distance(window: Window) -> float:
    """NaN where there is nothing whose distance it could be."""
    return window.distance_m if window.siren or window.beacons else float("nan")


def _window(number: int) -> Window:
    return draw_window(number, number % len(EVENTS))


@click.command()
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write .npz files to.")
@click.option("--windows", default=200, show_default=True, help="How many scenes.")
@click.option(
    "--held-out", is_flag=True, help="The scenes that the model is scored on, and not those to calibrate with."
)
def main(output: Path, windows: int, *, held_out: bool) -> None:
    """Write raw sensor data of the reference model, with labels."""
    write_labelled(output, windows, HELD_OUT_SEED if held_out else SAMPLES_SEED)


if __name__ == "__main__":
    main()
