"""Whether a sensor that is sick is noticed, and one that is well is left alone."""

import numpy as np
import pytest
from duo import HOP, RATE_HZ, T0, manifest

from mmedge.features.settings import AudioSettings, CameraSettings, TensorSettings
from mmedge.health import Alarm, Health
from mmedge.manifest import Port
from mmedge.types import NS, AudioChunk, TensorReading, VideoFrame

MS = NS // 1000
FRAME_NS = NS // 15
PORTS = {
    "image": Port(camera=CameraSettings(width_px=160, height_px=120, rate_hz=15, color="rgb", layout="CHW")),
    "sound": Port(audio=AudioSettings(rate_hz=RATE_HZ, window_samples=RATE_HZ, hop_samples=HOP)),
    "lidar": Port(tensor=TensorSettings(shape=(3,), rate_hz=10)),
    "command": Port(tensor=TensorSettings(shape=(3,))),
}


def scene(seed):
    """A picture with coarse structure and a sensor's noise."""
    random = np.random.default_rng(seed)
    coarse = np.random.default_rng(1).integers(30, 220, (12, 16, 1))
    pixels = np.kron(coarse, np.ones((20, 20, 1))) + random.normal(0, 3, (240, 320, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def cap(seed):
    """A lens cap: nothing but the noise of a dark sensor."""
    return np.random.default_rng(seed).normal(4, 4, (240, 320, 3)).clip(0, 255).astype(np.uint8)


def hand(seed):
    """A hand over the lens: no structure, some red light, noise."""
    shade = np.linspace(30, 60, 240)[:, None, None] * np.array([1.3, 0.8, 0.7])
    return (shade + np.random.default_rng(seed).normal(0, 4, (240, 320, 3))).clip(0, 255).astype(np.uint8)


def noise(count, level=0.05, seed=0):
    return (level * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def look(health, picture, start, seconds):
    """Show pictures; returns the time of the first one after which something was wrong, and what."""
    for i in range(int(seconds * 15)):
        t_ns = start + i * FRAME_NS
        health.see("image", VideoFrame(pixels=picture(i), t_ns=t_ns))
        if (ailment := health.at("image", t_ns)) is not None:
            return t_ns - start, ailment
    return None


def listen(health, samples, start, chunk=160):
    """Play samples; returns when something was wrong first, and what."""
    for i in range(0, len(samples), chunk):
        packet = AudioChunk(samples=samples[i : i + chunk], t_ns=start + i * NS // RATE_HZ, rate_hz=RATE_HZ)
        health.see("sound", packet)
        if (ailment := health.at("sound", packet.end_ns)) is not None:
            return packet.end_ns - start, ailment
    return None


@pytest.mark.parametrize(("sick", "name"), [(cap, "black"), (hand, "covered")])
@pytest.mark.parametrize("before_s", [0, 5])
def test_a_lens_that_is_covered_is_noticed_within_a_second(sick, name, before_s):
    health = Health(PORTS)
    assert look(health, scene, T0, before_s) is None
    start = T0 + before_s * NS
    after_ns, ailment = look(health, sick, start, 2)
    assert (ailment.name, ailment.since_ns, ailment.sick) == (name, start, True)
    assert after_ns <= NS
    assert health.states["image"].state == name


def test_a_frozen_picture_is_noticed_and_noise_is_not_frozen():
    health = Health(PORTS)
    assert look(health, scene, T0, 3) is None
    start = T0 + 3 * NS
    after_ns, ailment = look(health, lambda _: scene(0), start, 2)
    assert ailment.name == "frozen"
    assert NS < after_ns < 1.2 * NS
    states = []
    for i in range(5):
        health.see("image", VideoFrame(pixels=scene(1 + i), t_ns=start + 2 * NS + i * FRAME_NS))
        states.append(health.states["image"].state)
    assert states == ["frozen", "frozen", "healthy", "healthy", "healthy"]  # one new picture is not enough


@pytest.mark.parametrize("quiet", [0.0, 1e-5])
def test_a_muted_microphone_is_noticed_within_a_second(quiet):
    health = Health(PORTS)
    assert listen(health, noise(3 * RATE_HZ), T0) is None
    start = T0 + 3 * NS
    after_ns, ailment = listen(health, noise(2 * RATE_HZ, quiet), start)
    assert ailment.name == "muted"
    assert after_ns <= NS
    assert start - 20 * MS <= ailment.since_ns <= start + 20 * MS


def test_sound_far_below_what_is_usual_is_muted_and_a_quiet_room_is_not():
    health = Health(PORTS)
    assert listen(health, noise(4 * RATE_HZ, 0.1), T0) is None
    assert listen(health, noise(3 * RATE_HZ, 0.004), T0 + 4 * NS) is None  # 28 dB quieter
    assert listen(health, noise(RATE_HZ, 0.0002), T0 + 7 * NS)[1].name == "muted"


def test_clipped_sound_is_said_and_is_not_sick():
    health = Health(PORTS)
    loud = np.clip(noise(2 * RATE_HZ, 2.0), -1, 1)
    after_ns, ailment = listen(health, loud, T0)
    assert (ailment.name, ailment.sick) == ("clipped", False)
    assert after_ns <= NS
    assert health.states["sound"].facts["clipped"] > 0.3


def test_health_does_not_depend_on_how_sound_is_cut():
    sound = np.concatenate([noise(2 * RATE_HZ), np.zeros(RATE_HZ, np.float32), noise(RATE_HZ)])
    known = []
    for chunk in (160, 777, len(sound)):
        health = Health(PORTS)
        for i in range(0, len(sound), chunk):
            part = AudioChunk(samples=sound[i : i + chunk], t_ns=T0 + i * NS // RATE_HZ, rate_hz=RATE_HZ)
            health.see("sound", part)
        known.append([health.at("sound", T0 + t * 50 * MS) for t in range(80)])
    names = [[ailment and (ailment.name, round(ailment.since_ns / MS)) for ailment in row] for row in known]
    assert names[0] == names[1] == names[2]
    assert ("muted", T0 // MS + 2020) in names[0]


def test_a_sensor_that_stops_is_disconnected_and_comes_back():
    health = Health(PORTS)
    health.see("image", VideoFrame(pixels=scene(0), t_ns=T0))
    health.see("lidar", TensorReading(values=np.zeros(3, np.float32), t_ns=T0))
    health.see("command", TensorReading(values=np.zeros(3, np.float32), t_ns=T0))
    assert health.at("image", T0 + 5 * FRAME_NS) is None
    gone = health.at("image", T0 + 6 * FRAME_NS)
    assert (gone.name, gone.since_ns) == ("disconnected", T0)
    assert (health.at("lidar", T0 + 500 * MS), health.at("lidar", T0 + 501 * MS).name) == (None, "disconnected")
    assert health.at("command", T0 + 60 * NS) is None  # it comes when it comes
    assert health.at("sound", T0 + 60 * NS) is None  # it never came, which is no ailment
    assert health.states["sound"].state == "waiting"
    health.see("image", VideoFrame(pixels=scene(1), t_ns=T0 + 60 * NS))
    assert health.at("image", T0 + 60 * NS) is None


def test_an_alarm_waits_before_it_rings_and_before_it_stops():
    alarm, states = Alarm("muted", enter_ms=100, leave_ms=200), []
    for t_ms, bad, well in [
        (0, True, False), (50, False, True), (60, True, False), (150, True, False), (160, True, False),
        (200, False, True), (300, False, False), (310, False, True), (500, False, True), (510, False, True),
    ]:  # fmt: skip
        alarm.update(t_ms * MS, bad=bad, well=well)
        states.append(alarm.ailment and alarm.ailment.since_ns // MS)
    assert states == [None, None, None, None, 60, 60, 60, 60, 60, None]


def test_embeddings_far_from_the_calibration_data_are_unusual_but_not_sick():
    health = Health(PORTS)
    health.see("image", VideoFrame(pixels=scene(0), t_ns=T0))
    for i in range(12):
        health.see("image", VideoFrame(pixels=scene(i), t_ns=T0 + i * 100 * MS))
        health.see_distance("image", T0 + i * 100 * MS, 3.0)
    ailment = health.at("image", T0 + 1100 * MS)
    assert (ailment.name, ailment.sick, health.states["image"].facts["distance"]) == ("unusual", False, 3.0)


def test_pictures_too_small_to_judge_raise_nothing_but_what_they_are():
    health = Health(manifest().ports)
    for i in range(60):
        pixels = np.random.default_rng(i).integers(0, 256, (4, 5, 3), dtype=np.uint8)
        health.see("image", VideoFrame(pixels=pixels, t_ns=T0 + i * 10 * MS))
    assert health.states["image"].state == "healthy"
