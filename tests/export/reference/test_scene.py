from dataclasses import replace

import numpy as np
import pytest
from mmedge_export.reference.scene.beacons import BEACON_HZ, BLUE, PULSES, Flasher, draw_beacons
from mmedge_export.reference.scene.motion import Track
from mmedge_export.reference.scene.optics import HEIGHT_PX, WIDTH_PX, project
from mmedge_export.reference.scene.render import render
from mmedge_export.reference.scene.vehicles import Vehicle, lamp_spots
from mmedge_export.reference.scene.weather import draw_look
from mmedge_export.reference.scene.window import draw_window
from mmedge_export.reference.scene.world import ALWAYS, draw_world

SAMPLED_HZ = 60


def test_same_seed_gives_the_same_window():
    first, second, other = draw_window(7, 3), draw_window(7, 3), draw_window(8, 3)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.audio, second.audio)
    assert (first.distance_m, first.place) == (second.distance_m, second.place)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("event", range(4))
def test_window_is_what_it_was_asked_to_be(event):
    window = draw_window(11, event)
    assert window.event == event
    assert (window.image.shape, window.image.dtype) == ((8, 240, 320, 3), np.uint8)
    assert (window.audio.shape, window.audio.dtype) == ((16000,), np.float32)
    assert (window.place == (-1.0, -1.0)) == (event < 2)


@pytest.mark.parametrize("seed", range(8))
def test_beacons_are_inside_of_the_picture(seed):
    column, row = draw_window(100 + seed, 2).place
    assert 0 < column < 1
    assert 0 < row < 1


@pytest.mark.parametrize("seed", range(20))
def test_beacons_flash_at_a_legal_rate_and_take_turns(seed):
    left, right = draw_beacons(np.random.default_rng(seed))
    assert BEACON_HZ[0] <= left.rate_hz <= BEACON_HZ[1]
    assert left.rate_hz == right.rate_hz
    assert abs((left.phase - right.phase) % 1 - 0.5) < 1e-9


@pytest.mark.parametrize("rate_hz", [2.0, 3.0, 4.0])
def test_rendered_beacon_flashes_at_its_rate(rate_hz):
    flasher = Flasher(rate_hz=rate_hz, phase=0.0, pulses=PULSES["single"], color=BLUE)
    dark = replace(flasher, pulses=())
    car = Vehicle(
        kind="police",
        paint=(200.0, 200.0, 200.0),
        track=Track.straight(x_m=0.0, z_m=20.0, at_s=0.0, speed_mps=0.0),
        towards=True,
        beacons=(flasher, dark),
        lit_s=(ALWAYS,),
    )
    random = np.random.default_rng(0)
    look = replace(draw_look(random), daylight=0.2, rain=0.0, noise=0.0, shake_px=0.0, swing=0.0, visibility_m=500.0)
    world = draw_world(
        random, seed=0, span_s=(0.0, 2.0), ego_mps=0.0, cast=(car,), sirens=(), distractors=(), look=look
    )
    u, v = project(*lamp_spots(car, 0.0)[0])
    column, row = round(u) - 8, round(v) - 8
    pictures = [render(world, frame / SAMPLED_HZ) for frame in range(2 * SAMPLED_HZ)]
    blue = np.array([p[row - 1 : row + 2, column - 1 : column + 2, 2].mean() for p in pictures])
    spectrum = np.abs(np.fft.rfft(blue - blue.mean()))
    assert np.fft.rfftfreq(len(blue), 1 / SAMPLED_HZ)[spectrum.argmax()] == pytest.approx(rate_hz, abs=0.25)
    assert np.ptp(blue) > 100


def test_picture_is_a_function_of_world_and_time():
    random = np.random.default_rng(1)
    world = draw_world(random, seed=3, span_s=(0.0, 1.0), ego_mps=10.0, cast=(), sirens=(), distractors=())
    first = render(world, 0.4)
    render(world, 0.9)
    assert first.shape == (HEIGHT_PX, WIDTH_PX, 3)
    np.testing.assert_array_equal(first, render(world, 0.4))
    assert not np.array_equal(first, render(world, 0.5))
