import math
from itertools import pairwise

import numpy as np
import pytest
from mmedge_export.reference.clip import DEFAULT_SCRIPT, in_view, make_clip
from mmedge_export.reference.dataset import EVENTS

NS = 1_000_000_000


@pytest.fixture(scope="module")
def clip():
    return make_clip(seed=1, duration_s=20.0)


def test_clip_goes_through_all_labels(clip):
    labels = [clip.truth(k * NS // 15).label for k in range(clip.frame_count)]
    changes = [labels[0]] + [b for a, b in pairwise(labels) if a != b]
    assert set(changes) == set(EVENTS)
    assert len(changes) == 9


def test_truth_follows_the_script(clip):
    assert clip.truth(0).label == "clear"
    assert math.isnan(clip.truth(0).distance_m)
    heard, seen = clip.truth(3 * NS), clip.truth(int(13.5 * NS))
    assert heard.label == "siren heard"
    assert seen.label == "beacons seen"
    assert seen.distance_m == pytest.approx(math.hypot(3.0, 47.5))
    assert clip.truth(7 * NS).label == "emergency vehicle approaching"


def test_distance_shrinks_while_a_vehicle_approaches(clip):
    distances = [clip.truth(int(t * NS)).distance_m for t in np.arange(2.1, 8.0, 0.1)]
    assert all(later < earlier for earlier, later in pairwise(distances))


def test_beacons_are_in_view_whenever_the_truth_says_so():
    for passage in DEFAULT_SCRIPT.passages:
        for t_s in np.arange(*passage.seen_s, 0.05):
            assert in_view(passage.track, float(t_s))


def test_moments_after_a_change_are_not_settled(clip):
    assert clip.settled(int(1.9 * NS))
    assert not clip.settled(int(2.5 * NS))
    assert clip.settled(int(3.5 * NS))


def test_clip_has_pictures_and_sound_of_one_length(clip):
    assert clip.frame_count == 300
    assert clip.audio.shape == (320_000,)
    assert clip.audio.dtype == np.float32
    assert next(clip.frames()).shape == (240, 320, 3)


def test_same_seed_gives_the_same_clip():
    first, second = make_clip(seed=2, duration_s=1.0), make_clip(seed=2, duration_s=1.0)
    np.testing.assert_array_equal(first.audio, second.audio)
    np.testing.assert_array_equal(first.frame(7), second.frame(7))


def test_long_clip_starts_over():
    clip = make_clip(seed=2, duration_s=25.0)
    assert clip.truth(23 * NS) == pytest.approx(clip.truth(3 * NS))
    assert clip.audio.shape == (400_000,)
