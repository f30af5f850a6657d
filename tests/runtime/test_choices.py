"""The seams of a decision: what stands in for a port, who is told, and what attribution may look at."""

import json
import math

import numpy as np
import pytest
from duo import HOP, RATE_HZ, T0, WINDOW, manifest, show, sound, until

import mmedge
from mmedge.choices import Choice
from mmedge.commands.decision_lines import to_json_line
from mmedge.types import NS

MEAN = {"remembered": np.full((1, 2), 0.25, np.float32)}


def serial(duo, policy=None):
    """A serial stream with a window of everything but the scan, which brings the first decision."""
    stream = duo.stream(live=False, policy=policy)
    show(stream, 0, T0)
    stream.push_audio(sound(WINDOW), T0 - WINDOW * NS // RATE_HZ)
    stream.push_tensor(np.ones(3, np.float32), T0)
    return stream


def hear(stream, number):
    stream.push_audio(sound(HOP, seed=number), T0 + number * HOP * NS // RATE_HZ)
    (prediction,) = stream.poll()
    return prediction


class Scripted:
    """A policy that a test changes; it notes what it was told."""

    def __init__(self):
        self.image = Choice()
        self.told = []

    def __call__(self, sensed):
        self.told.append(sensed)
        return self.image if sensed.port == "image" else Choice()


def test_holding_decides_on_what_the_tick_before_was_decided_on(duo):
    policy = Scripted()
    stream = serial(duo, policy)
    before = hear(stream, 0)
    held = duo.head.given[-1][0]
    policy.image = Choice(action="hold", reason="covered")
    show(stream, 50, T0 + 9 * HOP * NS // RATE_HZ)
    prediction = hear(stream, 1)
    np.testing.assert_array_equal(duo.head.given[-1][0], held)
    assert prediction.degraded == ("image: covered",)
    assert not prediction.fresh["image"]
    assert prediction.age_ms["image"] == before.age_ms["image"] + 10
    policy.image = Choice()
    assert hear(stream, 2).age_ms["image"] < 0  # the pictures from further on are used at last
    assert not np.array_equal(duo.head.given[-1][0], held)


def test_a_replaced_port_has_no_age_and_comes_back_when_it_is_used_again(duo):
    policy = Scripted()
    stream = serial(duo, policy)
    expected = hear(stream, 0)
    held = duo.head.given[-1][0]
    policy.image = Choice(action="replace", reason="black", tensors=MEAN)
    prediction = hear(stream, 1)
    np.testing.assert_array_equal(duo.head.given[-1][0], MEAN["remembered"])
    assert (prediction.age_ms["image"], prediction.fresh["image"]) == (math.inf, False)
    assert json.loads(to_json_line(prediction, manifest().outputs))["age_ms"]["image"] is None
    policy.image = Choice()
    again = hear(stream, 2)
    np.testing.assert_array_equal(duo.head.given[-1][0], held)
    assert again.age_ms["image"] == expected.age_ms["image"] + 20


def test_a_port_that_gave_nothing_yet_may_be_replaced(duo):
    for policy, decided in ((None, 0), (_replaced_if_missing, 1)):
        stream = duo.stream(live=True, policy=policy)
        stream.push_tensor(np.ones(3, np.float32), T0)
        until(lambda stream=stream: stream.branches["lidar"].encoded)
        stream.push_audio(sound(WINDOW), T0 - WINDOW * NS // RATE_HZ)
        until(lambda stream=stream: stream.branches["audio"].encoded)
        stream.close()
        assert len(stream.poll()) == decided


def _replaced_if_missing(sensed):
    missing = sensed.port == "image" and sensed.age_ms is None
    return Choice(action="replace", reason="nothing came yet", tensors=MEAN) if missing else Choice()


def test_abstaining_gives_no_outputs_and_leaves_the_states_as_they_are(duo):
    policy = Scripted()
    stream = serial(duo, policy)
    hear(stream, 0)
    runs, state = stream.runs["head"], stream.decider.head.tensors["h"].copy()
    policy.image = Choice(action="abstain", reason="gone for too long")
    prediction = hear(stream, 1)
    assert (prediction.abstained, dict(prediction.outputs), dict(prediction.labels)) == (True, {}, {})
    assert prediction.degraded == ("image: gone for too long",)
    assert stream.runs["head"] == runs
    np.testing.assert_array_equal(stream.decider.head.tensors["h"], state)
    policy.image = Choice()
    assert not hear(stream, 2).abstained


def test_a_replacement_needs_every_tensor_that_the_model_reads_of_the_port(duo):
    policy = Scripted()
    stream = serial(duo, policy)
    policy.image = Choice(action="replace", tensors={"seen": np.zeros((1, 3, 2), np.float32)})
    with pytest.raises(mmedge.InputError, match="image is replaced by seen; the model reads remembered"):
        hear(stream, 0)


def test_a_policy_is_told_the_ages_of_what_is_new_and_of_what_is_held(duo):
    policy = Scripted()
    stream = serial(duo, policy)
    hear(stream, 0)
    show(stream, 50, T0 + NS // 20)
    policy.told.clear()
    hear(stream, 1)
    image = next(sensed for sensed in policy.told if sensed.port == "image")
    assert (image.t_ns, image.overdue) == (T0 + 2 * HOP * NS // RATE_HZ, False)
    assert (image.age_ms, image.held_age_ms) == (-30, 20)


def test_attribution_and_observers_see_every_decision_before_states_advance(duo):
    stream = serial(duo)
    seen, told = [], []

    def attribute(head):
        seen.append({name: head.tensors[name].copy() for name in ("remembered", "heard", "h")})
        return {"out": {"image": 0.75, "audio": 0.25}}

    stream.decider.attribute = attribute
    stream.decider.observers.append(told.append)
    made = [hear(stream, i) for i in range(3)]
    assert told == made
    assert all(prediction.attribution == {"out": {"image": 0.75, "audio": 0.25}} for prediction in made)
    for at, given in zip(seen, duo.head.given[-3:], strict=True):
        for values, expected in zip(
            (at["remembered"], at["heard"], at["h"]), (given[0], given[1], given[4]), strict=True
        ):
            np.testing.assert_array_equal(values, expected)
