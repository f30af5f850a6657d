import io
import wave
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner
from mmedge_export.reference.digits.__main__ import main
from mmedge_export.reference.digits.scenes import Scene, clips, noisy, read_scenes

import mmedge


def sound(level, *, samples=400, rate_hz=8000, channels=1):
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(channels)
        written.setsampwidth(2)
        written.setframerate(rate_hz)
        written.writeframes(np.full(samples * channels, level, "<i2").tobytes())
    return file.getvalue()


@pytest.fixture
def archive(tmp_path):
    """Recordings of constant levels: digit d, index i is 1000 * (d + 1) + 10 * i."""

    def write(indices=(0, 4, 5, 49), **form):
        path = tmp_path / "sounds.zip"
        with zipfile.ZipFile(path, "w") as file:
            for digit in range(10):
                for index in indices:
                    name = f"some/folder/{digit}_anna_{index}.wav"
                    file.writestr(name, sound(1000 * (digit + 1) + 10 * index, **form))
            file.writestr("some/folder/README.md", "about")
        return path

    return write


def level(scene):
    """Of the recording that was put into the second, in int16."""
    return round(float(np.median(scene.audio[np.abs(scene.audio) > 0.015])) * 32768)


def test_recordings_0_to_4_are_held_out(archive):
    training, held_out = read_scenes(archive())
    assert (len(training), len(held_out)) == (20, 20)
    assert {scene.label for scene in training} == {scene.label for scene in held_out} == set(range(10))
    for scenes, indices in ((training, {5, 49}), (held_out, {0, 4})):
        assert all(min(abs(level(s) - 1000 * (s.label + 1) - 10 * i) for i in indices) < 10 for s in scenes)


def test_no_picture_is_in_both_parts_and_all_are_of_their_label(archive):
    from sklearn.datasets import load_digits

    gray = (load_digits().images * (255 / 16)).round().astype(np.uint8)
    of = {picture.tobytes(): label for picture, label in zip(gray, load_digits().target, strict=True)}
    training, held_out = read_scenes(archive(indices=(0, 1, 2, 3, 5, 6, 7, 8)))
    assert all(of[s.image[:, :, 0].tobytes()] == s.label for s in training + held_out)
    last = {picture.tobytes() for picture in gray[-360:]}
    assert all(s.image[:, :, 0].tobytes() in last for s in held_out)
    assert not any(s.image[:, :, 0].tobytes() in last for s in training)


def test_scenes_are_sensor_data_and_follow_their_seed(archive):
    first, again, other = (read_scenes(archive(), seed=seed)[0] for seed in (1, 1, 2))
    assert (first[0].image.shape, first[0].image.dtype) == ((8, 8, 3), np.uint8)
    assert (first[0].audio.shape, first[0].audio.dtype) == ((8000,), np.float32)
    assert all(
        np.array_equal(a.audio, b.audio) and np.array_equal(a.image, b.image) for a, b in zip(first, again, strict=True)
    )
    assert not np.array_equal(first[0].audio, other[0].audio)


def test_long_recordings_are_cut_to_the_window(archive):
    training, _ = read_scenes(archive(samples=9000))
    assert (np.abs(training[0].audio) > 0.015).all()


@pytest.mark.parametrize(
    ("indices", "form", "message"),
    [
        ((0,), {}, r"holds 10 recordings, not all digits to train on"),
        (
            (0, 5),
            {"rate_hz": 16000},
            r"0_anna_0.wav is 16000 Hz, 1 channels, 16 bits; expected 8000 Hz, 1 channel, 16 bits",
        ),
        ((0, 5), {"channels": 2}, r"2 channels"),
    ],
)
def test_archives_of_other_things_are_refused(archive, indices, form, message):
    with pytest.raises(mmedge.SourceError, match=message):
        read_scenes(archive(indices=indices, **form))


def test_the_command_says_in_one_line_that_there_is_no_archive(tmp_path):
    out = tmp_path / "digits.safetensors"
    given = CliRunner().invoke(main, ["--recordings", str(tmp_path / "no.zip"), "-o", str(out)])
    assert given.exit_code == 1
    assert "no.zip cannot be read" in given.output
    assert given.output.count("\n") == 1
    assert not out.exists()


def test_noise_has_its_strength_and_leaves_the_rest_alone():
    scene = Scene(np.full((8, 8, 3), 128, np.uint8), np.zeros(8000, np.float32), 4)
    dark = noisy([scene] * 200, sigma=20.0)
    pixels = np.stack([each.image for each in dark]).astype(float)
    assert pixels.std() == pytest.approx(20, rel=0.05)
    assert (pixels[..., 0] == pixels[..., 2]).all()
    assert dark[0].audio is scene.audio
    assert (scene.image == 128).all()


def test_clips_keep_each_picture_with_its_sound_and_label(archive):
    _, held_out = read_scenes(archive())
    arrays = clips(held_out)
    assert {name: array.shape for name, array in arrays.items()} == {
        "image": (20, 8, 8, 3), "audio": (20, 8000), "digit": (20,),
    }  # fmt: skip
    for i, scene in enumerate(held_out):
        assert arrays["digit"][i] == scene.label
        np.testing.assert_array_equal(arrays["image"][i], scene.image)
        np.testing.assert_array_equal(arrays["audio"][i], scene.audio)
