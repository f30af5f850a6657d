import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from mmedge.errors import InputError
from mmedge.features.camera import CameraFrontEnd
from mmedge.features.geometry import placement
from mmedge.features.settings import CameraSettings

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
SIDES = st.integers(1, 2000)


def _picture(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _camera(width=8, height=6, **options):
    return CameraFrontEnd(CameraSettings(width_px=width, height_px=height, **options))


def test_a_picture_of_the_right_size_is_only_normalised():
    pixels = _picture(8, 6)
    # Two roundings to float32 of values up to 2.7.
    expected = (pixels / 255 - np.array(IMAGENET["mean"])) / np.array(IMAGENET["std"])
    assert_allclose(_camera(**IMAGENET).window(pixels), expected.transpose(2, 0, 1), rtol=0, atol=1e-6)


def test_scale_is_the_upper_end_of_the_values():
    assert_array_equal(_camera(scale=255.0, layout="HWC").window(_picture(8, 6)), _picture(8, 6).astype(np.float32))


def test_bgr_swaps_the_channels():
    rgb, bgr = _camera().window(_picture(8, 6)), _camera(color="bgr").window(_picture(8, 6))
    assert_array_equal(bgr, rgb[::-1])


def test_mean_and_std_follow_the_order_of_the_channels():
    front_end = _camera(color="bgr", scale=255.0, mean=(10.0, 20.0, 30.0))
    pixels = np.full((6, 8, 3), 100, np.uint8)
    assert_array_equal(front_end.window(pixels)[:, 0, 0], [90, 80, 70])


@pytest.mark.parametrize(("layout", "shape"), [("HW", (6, 8)), ("CHW", (1, 6, 8)), ("HWC", (6, 8, 1)), ("WH", (8, 6))])
def test_gray_is_rec_601_luma(layout, shape):
    pixels = _picture(8, 6)
    result = _camera(color="gray", layout=layout, scale=255.0).window(pixels)
    assert result.shape == shape
    plain = result.T if layout == "WH" else result.reshape(6, 8)
    # OpenCV rounds to whole grey levels, with 15-bit weights.
    assert_allclose(plain, pixels @ np.array([0.299, 0.587, 0.114]), rtol=0, atol=0.51)


@pytest.mark.parametrize("fit", ["letterbox", "crop", "stretch"])
@pytest.mark.parametrize("source", [(16, 12), (31, 9), (7, 40), (8, 6), (1, 1), (3, 200)])
@pytest.mark.parametrize("color", ["rgb", "gray"])
def test_nearest_neighbours_land_where_the_geometry_says(fit, source, color):
    pixels = _picture(*source)
    front_end = _camera(fit=fit, interpolation="nearest", layout="HWC", scale=255.0, color=color, pad_value=9)
    place = placement(fit, source, (8, 6))
    ramp = pixels
    if color == "gray":
        ramp = _camera(*source, color="gray", layout="HWC", scale=255.0).window(pixels)
    expected = np.full((6, 8, ramp.shape[2]), 9.0)
    for y in range(6):
        for x in range(8):
            row, column = y - place.top, x - place.left
            if 0 <= row < place.height and 0 <= column < place.width:
                expected[y, x] = ramp[row * source[1] // place.height, column * source[0] // place.width]
    assert_array_equal(front_end.window(pixels), expected)


@given(SIDES, SIDES, SIDES, SIDES)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_letterboxed_picture_touches_two_sides_and_stays_inside(width, height, out_width, out_height):
    place = placement("letterbox", (width, height), (out_width, out_height))
    right, below = out_width - place.width - place.left, out_height - place.height - place.top
    assert min(place.left, place.top, right, below) >= 0
    assert place.width == out_width or place.height == out_height
    assert right - place.left in {0, 1}
    assert below - place.top in {0, 1}
    ratio = min(out_width / width, out_height / height)
    assert abs(place.width - width * ratio) <= 0.5 + 1e-9 or place.width == 1
    assert abs(place.height - height * ratio) <= 0.5 + 1e-9 or place.height == 1


@given(SIDES, SIDES, SIDES, SIDES)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_cropped_picture_covers_the_tensor_and_is_cut_in_the_middle(width, height, out_width, out_height):
    place = placement("crop", (width, height), (out_width, out_height))
    right, below = place.width + place.left - out_width, place.height + place.top - out_height
    assert max(place.left, place.top) <= 0 <= min(right, below)
    assert place.width == out_width or place.height == out_height
    assert abs(right + place.left) <= 1
    assert abs(below + place.top) <= 1


@pytest.mark.parametrize(
    ("fit", "source", "target", "expected"),
    [
        ("letterbox", (1920, 1080), (640, 640), (640, 360, 0, 140)),
        ("letterbox", (480, 640), (640, 480), (360, 480, 140, 0)),
        ("letterbox", (810, 1080), (640, 640), (480, 640, 80, 0)),
        ("letterbox", (1000, 201), (500, 500), (500, 101, 0, 199)),
        ("crop", (640, 480), (224, 224), (298, 224, -37, 0)),
        ("crop", (480, 640), (224, 224), (224, 298, 0, -37)),
        ("crop", (1280, 720), (224, 224), (398, 224, -87, 0)),
        ("stretch", (1280, 720), (224, 224), (224, 224, 0, 0)),
    ],
)
def test_known_sizes_land_where_ultralytics_and_torchvision_put_them(fit, source, target, expected):
    place = placement(fit, source, target)
    assert (place.width, place.height, place.left, place.top) == expected


@pytest.mark.parametrize("interpolation", ["linear", "area", "nearest", "cubic"])
def test_a_flat_picture_stays_flat_through_every_kernel(interpolation):
    front_end = _camera(interpolation=interpolation, scale=255.0)
    assert_array_equal(front_end.window(np.full((31, 17, 3), 77, np.uint8)), np.full((3, 6, 8), 77, np.float32))


def test_pictures_that_are_views_give_the_same():
    wide = _picture(20, 15)
    view = wide[::-1, 3:11][:12]
    for options in ({}, {"color": "gray", "layout": "HW"}, {"fit": "letterbox"}):
        assert_array_equal(_camera(**options).window(view), _camera(**options).window(np.ascontiguousarray(view)))


def test_the_picture_is_not_changed():
    pixels = _picture(8, 6)
    pixels.setflags(write=False)
    _camera(**IMAGENET).window(pixels)


@pytest.mark.parametrize(
    ("layout", "color"), [("TCHW", "rgb"), ("CTHW", "rgb"), ("THWC", "bgr"), ("THW", "gray"), ("HWCT", "rgb")]
)
@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
def test_a_stream_of_pictures_equals_the_whole_window(layout, color, fit):
    front_end = _camera(frames=4, layout=layout, color=color, fit=fit)
    pictures = np.stack([_picture(20, 11, seed) for seed in range(10)])
    out = np.empty(front_end.settings.shape, np.float32)
    for count, picture in enumerate(pictures, start=1):
        front_end.push(picture)
        assert front_end.ready == (count >= 4)
        if front_end.ready:
            front_end.write_window(out)
            assert_array_equal(out, front_end.window(pictures[count - 4 : count]))


def test_a_window_is_its_pictures_in_order():
    single, window = _camera(layout="CHW"), _camera(layout="CTHW", frames=3)
    pictures = np.stack([_picture(20, 11, seed) for seed in range(3)])
    result = window.window(pictures)
    for index, picture in enumerate(pictures):
        assert_array_equal(result[:, index], single.window(picture))


def test_a_layout_may_have_t_for_a_single_picture():
    front_end = _camera(layout="TCHW")
    assert_array_equal(front_end.window(_picture(8, 6))[0], _camera().window(_picture(8, 6)))
    front_end.push(_picture(8, 6))
    out = np.empty(front_end.settings.shape, np.float32)
    front_end.write_window(out)
    assert_array_equal(out, front_end.window(_picture(8, 6)[None]))


def test_write_fills_one_slot_of_a_larger_buffer():
    front_end = _camera(layout="CTHW", frames=3)
    buffer = np.full(front_end.settings.shape, -1, np.float32)
    front_end.write(_picture(8, 6), buffer[:, 1])
    assert_array_equal(buffer[:, 1], _camera().window(_picture(8, 6)))
    assert (buffer[:, [0, 2]] == -1).all()


def test_reset_forgets_the_pictures():
    front_end = _camera(frames=2, layout="TCHW")
    front_end.push(_picture(8, 6))
    front_end.push(_picture(8, 6))
    front_end.reset()
    assert not front_end.ready
    with pytest.raises(InputError, match="0 pictures are less than a window of 2"):
        front_end.write_window(np.empty(front_end.settings.shape, np.float32))


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((6, 8), np.uint8), np.zeros((6, 8, 4), np.uint8), np.zeros((6, 8, 3)), np.zeros((0, 8, 3), np.uint8)],
)
def test_other_pictures_than_uint8_rgb_are_refused(pixels):
    with pytest.raises(InputError, match=r"a picture is \[H, W, 3\] uint8 RGB"):
        _camera().push(pixels)


def test_another_number_of_pictures_is_refused():
    with pytest.raises(InputError, match=r"a window has 4 picture\(s\), not 1"):
        _camera(frames=4, layout="TCHW").window(_picture(8, 6))


@pytest.mark.parametrize("out", [np.empty((3, 8, 6), np.float32), np.empty((3, 6, 8))])
def test_a_tensor_that_does_not_fit_is_refused(out):
    with pytest.raises(InputError, match=r"the tensor is \[3, 6, 8\] float32"):
        _camera().write(_picture(8, 6), out)
