import numpy as np
import pytest
from mmedge_export.reference.scene.motion import Track, doppler_factor, emission_times
from mmedge_export.reference.scene.sirens import CYCLES_PER_MINUTE, LIMITS_HZ, draw_siren, frequency_hz, siren_wave
from mmedge_export.reference.scene.sounds import RATE_HZ

KINDS = ("wail", "yelp", "hi-lo")
MINUTE = np.arange(60 * RATE_HZ) / RATE_HZ


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_fundamental_stays_within_the_cited_range(kind, seed):
    hz = frequency_hz(draw_siren(np.random.default_rng(seed), kind), MINUTE)
    low, high = LIMITS_HZ[kind]
    assert low <= hz.min() < hz.max() <= high


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_siren_cycles_at_the_cited_rate(kind, seed):
    hz = frequency_hz(draw_siren(np.random.default_rng(seed), kind), MINUTE)
    above = hz > np.sqrt(hz.min() * hz.max())
    cycles = np.sum(~above[:-1] & above[1:])
    low, high = CYCLES_PER_MINUTE[kind]
    assert low - 1 <= cycles <= high + 1  # a minute may cut a cycle in two


def test_hi_lo_is_a_perfect_fourth():
    siren = draw_siren(np.random.default_rng(3), "hi-lo")
    assert set(np.round(frequency_hz(siren, MINUTE) / siren.low_hz, 9)) == {1.0, np.round(4 / 3, 9)}


@pytest.mark.parametrize("kind", KINDS)
def test_wave_has_the_fundamental_that_it_claims(kind):
    siren = draw_siren(np.random.default_rng(1), kind)
    t_s = np.arange(RATE_HZ) / RATE_HZ
    wave = siren_wave(siren, t_s)
    middle = slice(8000, 8512)
    spectrum = np.abs(np.fft.rfft(wave[middle] * np.hanning(512), 8192))
    expected = frequency_hz(siren, t_s)[middle].mean()
    found = np.fft.rfftfreq(8192, 1 / RATE_HZ)[spectrum.argmax()]
    ratio = found / expected
    assert abs(ratio - round(ratio)) < 0.05  # the strongest harmonic, within a bin of the sweep
    assert np.mean(wave**2) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("ego_mps", "source_mps"), [(0.0, 20.0), (15.0, 0.0), (12.0, 18.0), (10.0, -25.0)])
def test_doppler_shift_is_the_textbook_formula(ego_mps, source_mps):
    # relative to the camera, a source that approaches over the ground at source_mps
    track = Track.straight(x_m=0.0, z_m=200.0, at_s=0.0, speed_mps=-(ego_mps + source_mps))
    t_s = np.arange(RATE_HZ) / RATE_HZ
    heard = np.diff(emission_times(t_s, track, ego_mps)) * RATE_HZ
    expected = doppler_factor(toward_source_mps=ego_mps, toward_listener_mps=source_mps)
    np.testing.assert_allclose(heard, expected, rtol=1e-9)  # constant speeds: the time map is a straight line


def test_sound_takes_its_time():
    track = Track.straight(x_m=3.0, z_m=4.0, at_s=0.0, speed_mps=0.0)
    emitted = emission_times(np.array([1.0, 2.0]), track, 0.0)
    np.testing.assert_allclose(emitted, [1.0 - 5 / 343, 2.0 - 5 / 343], atol=1e-12)


def test_track_agrees_at_one_time_and_at_many():
    track = Track(t_s=(0.0, 1.0, 3.0), x_m=(0.0, 2.0, 2.0), z_m=(50.0, 40.0, 10.0))
    times = np.array([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.5])
    np.testing.assert_allclose(np.array([track.now(t) for t in times]).T, track.at(times), atol=1e-12)
