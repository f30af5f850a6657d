import io
import json
from dataclasses import replace

import numpy as np
import pytest

from mmedge.calibration import Calibration, EmbeddingStatistics, Moments, TensorRange, read_calibration, read_moments
from mmedge.errors import BundleError

RANGE = TensorRange(low=-1.0, high=3.0, entropy=2.0, percentile=2.5, mse=0.5)
CALIBRATION = Calibration(
    schema=1,
    model_sha256="a",
    data_sha256="b",
    real=True,
    windows=2,
    sources={"clip.npz": 2},
    ranges={"image": {"conv": RANGE}},
    embeddings={"seen": EmbeddingStatistics(ports=("image",), distances={"0.5": 1.0, "1": 2.0}, magnitude=0.7)},
    moments_sha256="c",
)


def packed(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_what_was_written_is_read_back():
    assert read_calibration(CALIBRATION.to_json().encode(), "calibration.json") == CALIBRATION


def test_each_method_clips_at_its_own_magnitude():
    assert RANGE.clipped("minmax") == (-1.0, 3.0)
    assert RANGE.clipped("entropy") == (-1.0, 2.0)
    assert RANGE.clipped("mse") == (-0.5, 0.5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "calibrate again"),
        (b"\xff\xfe", "calibrate again"),
        (b"[]", "calibrate again"),
        (replace(CALIBRATION, schema=2).to_json().encode(), "pip install --upgrade mmedge"),
        (CALIBRATION.to_json().replace("-1.0", "NaN").encode(), "the range of conv in stage image is no range"),
        (CALIBRATION.to_json().replace("-1.0", "9.0").encode(), "is no range"),
        (CALIBRATION.to_json().replace('"windows": 2', '"windows": "2"').encode(), "windows"),
    ],
)
def test_a_damaged_calibration_is_refused_in_one_line(content, message):
    with pytest.raises(BundleError, match=message) as caught:
        read_calibration(content, "calibration.json")
    assert "\n" not in str(caught.value)
    assert "calibration.json" in str(caught.value)


def test_the_distance_is_one_where_every_element_is_one_spread_away():
    moments = Moments(mean=np.ones((1, 4), np.float32), std=np.full((1, 4), 2, np.float32))
    assert moments.distance(np.full((1, 4), 3, np.float32)) == 1
    assert moments.distance(moments.mean) == 0


@pytest.mark.parametrize(
    "content",
    [
        b"nothing",
        packed(**{"mean/seen": np.zeros((1, 4), np.float32)}),
        packed(**{"mean/seen": np.zeros((1, 3), np.float32), "std/seen": np.ones((1, 3), np.float32)}),
        packed(**{"mean/seen": np.zeros((1, 4)), "std/seen": np.ones((1, 4))}),
        packed(**{"mean/seen": np.full((1, 4), np.nan, np.float32), "std/seen": np.ones((1, 4), np.float32)}),
        packed(**{"mean/seen": np.zeros((1, 4), np.float32), "std/seen": np.zeros((1, 4), np.float32)}),
        packed(**{"mean/seen": np.array([{}], object), "std/seen": np.ones((1, 4), np.float32)}),
    ],
    ids=["no zip", "no spread", "shape", "dtype", "nan", "zero spread", "pickle"],
)
def test_damaged_moments_are_refused(content):
    with pytest.raises(BundleError, match="calibrate again"):
        read_moments(content, {"seen": (1, 4)}, "calibration.npz")


def test_moments_are_read_by_name():
    mean, std = np.zeros((1, 4), np.float32), np.ones((1, 4), np.float32)
    moments = read_moments(packed(**{"mean/seen": mean, "std/seen": std}), {"seen": (1, 4)}, "calibration.npz")
    np.testing.assert_array_equal(moments["seen"].std, std)
    assert json.loads(CALIBRATION.to_json())["embeddings"]["seen"]["ports"] == ["image"]
