from dataclasses import replace

import numpy as np
import pytest
from mmedge_export.reference.clip import make_clip
from mmedge_export.reference.scene.hearing import REFERENCE_M, hear, siren_at_microphone
from mmedge_export.reference.scene.motion import Track
from mmedge_export.reference.scene.sirens import draw_siren
from mmedge_export.reference.scene.sounds import DISTRACTORS, RATE_HZ
from mmedge_export.reference.scene.world import ALWAYS, SirenSource

SECOND = np.arange(RATE_HZ) / RATE_HZ


def source(*, distance_m=REFERENCE_M, level_db=0.0, on_s=(ALWAYS,)):
    track = Track.straight(x_m=0.0, z_m=distance_m, at_s=0.0, speed_mps=0.0)
    siren = draw_siren(np.random.default_rng(0), "yelp")
    return SirenSource(siren=siren, track=track, on_s=on_s, level_db=level_db)


@pytest.fixture(scope="module")
def world():
    return make_clip(seed=5, duration_s=1.0).world


def decibels(wave):
    return 10 * np.log10(np.mean(wave**2))


@pytest.mark.parametrize("distance_m", [10.0, 20.0, 80.0])
def test_siren_weakens_by_six_decibels_when_the_distance_doubles(distance_m):
    level = decibels(siren_at_microphone(source(distance_m=distance_m), SECOND, 0.0))
    assert level == pytest.approx(-20 * np.log10(distance_m / REFERENCE_M), abs=0.3)  # a second is no whole cycle


@pytest.mark.parametrize("snr_db", [-5.0, 5.0, 20.0])
def test_mix_has_the_ratio_that_was_asked_for(world, snr_db):
    silent = hear(replace(world, sirens=()), (0.0, 1.0))
    heard = hear(replace(world, sirens=(source(level_db=snr_db),)), (0.0, 1.0))
    # the recorder keeps its level: what the siren takes, the rest loses
    share = np.dot(heard, silent) / np.dot(silent, silent)
    found = 20 * np.log10(np.sqrt(1 - share**2) / share)
    assert found == pytest.approx(snr_db, abs=1.5)  # the microphone is not flat


def test_siren_is_silent_outside_of_its_range():
    wave = siren_at_microphone(source(on_s=((0.5, 0.8),)), SECOND, 0.0)
    assert not wave[: RATE_HZ // 2].any()
    assert not wave[int(0.8 * RATE_HZ) :].any()
    assert wave[int(0.6 * RATE_HZ) : int(0.7 * RATE_HZ)].any()


@pytest.mark.parametrize("name", DISTRACTORS)
def test_distractor_is_finite_and_follows_its_seed(name):
    waves = [DISTRACTORS[name](SECOND, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert all(np.isfinite(wave).all() and wave.shape == SECOND.shape for wave in waves)
    np.testing.assert_array_equal(waves[0], waves[1])
    assert not np.array_equal(waves[0], waves[2]) or not waves[0].any()


def test_recording_is_float32_and_never_clips_beyond_one(world):
    heard = hear(world, (0.0, 1.0))
    assert heard.dtype == np.float32
    assert heard.shape == (RATE_HZ,)
    assert np.abs(heard).max() < 1
