import json
import shutil
import wave

import numpy as np
import pytest
from hostile_models import raw
from mmedge_export.quantize.data import read_windows
from mmedge_export.quantize.runner import run_windows

from mmedge.bundle import open_bundle
from mmedge.decode import activate
from mmedge.errors import InputError, SourceError
from mmedge.model import load
from mmedge.running import open_run


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """Two seconds for the reference model: a folder with a video and the WAV beside it."""
    cv2 = pytest.importorskip("cv2")
    folder = tmp_path_factory.mktemp("drive")
    random = np.random.default_rng(2)
    writer = cv2.VideoWriter(str(folder / "drive.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 15, (320, 240))
    for _ in range(30):
        writer.write(random.integers(0, 255, (240, 320, 3), dtype=np.uint8))
    writer.release()
    with wave.open(str(folder / "drive.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((8000 * random.standard_normal(32000)).clip(-32768, 32767).astype("<i2").tobytes())
    return folder


@pytest.fixture
def drive_copy(drive, tmp_path):
    return shutil.copytree(drive, tmp_path / "drive")


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


def graphs(bundle):
    return {name: bundle.read(file) for name, file in bundle.manifest.variants["fp32"].files.items()}


def test_windows_of_a_clip_are_those_that_the_runtime_decides_on(reference_bundle, drive):
    bundle = open_bundle(reference_bundle)
    windows = read_windows(drive, bundle, 1000)
    tensors = run_windows(bundle.manifest, graphs(bundle), windows)
    with load(reference_bundle) as model, open_run(model, camera=drive / "drive.mp4") as run:
        predictions = list(run)
    assert len(windows) == len(predictions) > 40
    for name, output in bundle.manifest.outputs.items():
        made = np.stack([activate(row, output) for row in tensors[output.tensor]])
        expected = np.stack([prediction.outputs[name] for prediction in predictions])
        np.testing.assert_array_equal(made, expected)  # the same graphs on the same windows


def test_fewer_windows_are_spread_over_the_clip_and_counted_by_file(reference_bundle, drive):
    bundle = open_bundle(reference_bundle)
    every = read_windows(drive, bundle, 1000)
    few = read_windows(drive, bundle, 5)
    assert few.sources == {"drive.mp4": 5}
    np.testing.assert_array_equal(few.ports["audio"][0], every.ports["audio"][0])
    places = [next(i for i, w in enumerate(every.ports["audio"]) if np.array_equal(w, f)) for f in few.ports["audio"]]
    assert places[-1] > 0.8 * len(every)
    assert few.sha256 != every.sha256


def test_labels_hold_for_a_clip_or_for_a_part_of_it(reference_bundle, drive_copy):
    bundle = open_bundle(reference_bundle)
    said = {"drive": {"event": [[0, 1.5, "clear"], [1.5, 9, "siren heard"]], "distance": 12.5}}
    (drive_copy / "labels.json").write_text(json.dumps(said))
    windows = read_windows(drive_copy, bundle, 1000)
    assert windows.labels["event"][0] == 0
    assert windows.labels["event"][-1] == 1
    assert np.all(windows.labels["distance"] == 12.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"drive": {"event": "clare"}}', "expected one of clear"),
        ('{"other": {"event": "clear"}}', "'other', which is no clip"),
        ('{"drive": {"loud": 1}}', "the model's outputs are event, distance"),
        ("[1]", "labels.json cannot be read"),
    ],
)
def test_labels_that_do_not_fit_are_refused(reference_bundle, drive_copy, text, message):
    (drive_copy / "labels.json").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_windows(drive_copy, open_bundle(reference_bundle), 4)
    one_line(caught)


def test_a_clip_without_sound_is_refused_for_a_model_that_hears(reference_bundle, drive_copy):
    (drive_copy / "drive.wav").unlink()
    with pytest.raises(SourceError, match=r"drive\.mp4") as caught:
        read_windows(drive_copy, open_bundle(reference_bundle), 4)
    one_line(caught)


def test_a_clip_that_was_cut_off_is_refused(reference_bundle, drive_copy):
    video = drive_copy / "drive.mp4"
    video.write_bytes(video.read_bytes()[:-20_000])
    with pytest.raises(SourceError, match=r"drive\.mp4") as caught:
        read_windows(drive_copy, open_bundle(reference_bundle), 4)
    one_line(caught)


def refused(made, path, match):
    with pytest.raises(InputError, match=match) as caught:
        read_windows(path, open_bundle(made("tame")), 8)
    return one_line(caught)


def test_nan_in_calibration_data_is_refused_by_its_row(made, tmp_path):
    arrays = raw(4)
    arrays["audio"][2, 17] = np.nan
    np.savez(tmp_path / "a.npz", **arrays)
    refused(made, tmp_path, "audio, row 2: NaN")


def test_a_truncated_file_is_refused(made, tmp_path):
    np.savez(tmp_path / "a.npz", **raw(4))
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:5000])
    refused(made, tmp_path, r"a\.npz is not a whole \.npz")


def test_files_that_do_not_fit_the_ports_are_refused(made, tmp_path):
    np.savez(tmp_path / "a.npz", image=raw(4)["image"])
    refused(made, tmp_path, "no array named audio; expected image, audio")
    np.savez(tmp_path / "a.npz", **raw(4), lidar=np.zeros(4))
    refused(made, tmp_path, "'lidar'; expected audio, image, label/event")
    np.savez(tmp_path / "a.npz", image=raw(4)["image"], audio=raw(3)["audio"])
    refused(made, tmp_path, "image 4, audio 3 rows")
    np.savez(tmp_path / "a.npz", **raw(4), **{"label/event": np.array(["a", "b", "c", "d"])})
    refused(made, tmp_path, "expected one of a, b, c")


def test_pickles_are_not_opened(made, tmp_path):
    np.savez(tmp_path / "a.npz", image=np.array([{}], dtype=object), audio=raw(1)["audio"])
    refused(made, tmp_path, "not a whole .npz of plain arrays")


def test_folders_without_anything_to_calibrate_with_are_refused(made, tmp_path):
    refused(made, tmp_path, "neither videos nor .npz")
    refused(made, tmp_path / "nowhere", "does not exist")
    np.savez(tmp_path / "a.npz", **raw(2))
    (tmp_path / "b.mp4").write_bytes(b"")
    refused(made, tmp_path, "both .npz files and recordings")


def test_labels_of_arrays_are_names_or_numbers(made, tmp_path):
    np.savez(tmp_path / "a.npz", **raw(3), **{"label/event": np.array(["c", "a", "b"])})
    np.savez(tmp_path / "b.npz", **raw(3), **{"label/event": np.array([2, -1, 1])})
    windows = read_windows(tmp_path, open_bundle(made("tame")), 100)
    assert windows.labels["event"].tolist() == [2, 0, 1, 2, -1, 1]
    assert windows.sources == {"a.npz": 3, "b.npz": 3}
