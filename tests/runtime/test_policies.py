"""What a stream decides on while a sensor is missing."""

import math

import numpy as np
import pytest
from duo import HOP, RATE_HZ, T0, WINDOW, baseline, manifest, show, sound, until

import mmedge
from mmedge.baseline import Baseline
from mmedge.branches import shares
from mmedge.choices import Choice, Sensed
from mmedge.errors import InputError
from mmedge.health import Ailment
from mmedge.ladder import Ladder
from mmedge.policies import PortPolicy, merge_policies
from mmedge.types import NS

MS = NS // 1000
PERIOD = HOP * NS // RATE_HZ
ALL = ("hold", "mean", "abstain")


def sensed(*, age_ms=None, held_age_ms=None, t_ns=0, overdue=False):
    return Sensed(port="image", t_ns=t_ns, age_ms=age_ms, held_age_ms=held_age_ms, overdue=overdue)


def ladder(*missing, max_age_ms=300, ailment=None):
    policy = PortPolicy(max_age_ms=max_age_ms, missing=missing)
    return Ladder({"image": policy}, {"image": baseline().mean("image")}, lambda _port, _t_ns: ailment)


def hear(stream, number):
    stream.push_audio(sound(HOP, seed=number), T0 + number * PERIOD)
    return stream.poll()


def without_pictures(duo, **options):
    """A serial stream that has heard a whole window and felt, and has seen nothing; and what it decided."""
    stream = duo.stream(live=False, baseline=baseline, **options)
    stream.push_tensor(np.ones(3, np.float32), T0 - WINDOW * NS // RATE_HZ)
    stream.push_audio(sound(WINDOW), T0 - WINDOW * NS // RATE_HZ)
    return stream, stream.poll()


def test_what_is_young_and_well_is_used_without_a_word():
    assert ladder(*ALL)(sensed(age_ms=300)) == Choice()


def test_no_limit_means_no_degradation():
    assert ladder(max_age_ms=None)(sensed(age_ms=1e9)) == Choice()
    assert ladder(max_age_ms=5)(sensed(age_ms=1e9)) == Choice(reason="1000000000 ms old, more than 5 ms")


def test_old_data_goes_down_the_ladder():
    choices = [ladder(*steps)(sensed(age_ms=301)) for steps in (("hold", "mean"), ("hold", "abstain"), ("hold",))]
    assert [choice.action for choice in choices] == ["replace", "abstain", "use"]
    assert all(choice.reason.startswith("301 ms old, more than 300 ms") for choice in choices)
    np.testing.assert_array_equal(choices[0].tensors["remembered"], baseline().moments["remembered"].mean)


def test_a_sensor_that_is_gone_is_held_until_its_data_is_too_old():
    gone = Ailment(name="disconnected", since_ns=0)
    policy = ladder(*ALL, ailment=gone)
    held, replaced = (policy(sensed(t_ns=t_ms * MS, age_ms=t_ms, held_age_ms=t_ms)) for t_ms in (299, 301))
    assert (held.action, held.reason) == ("use", "disconnected for 0.3 s; held, 299 ms old")
    assert replaced.action == "replace"


def test_without_hold_a_sensor_that_is_gone_is_replaced_at_once():
    gone = Ailment(name="disconnected", since_ns=0)
    assert ladder("mean", ailment=gone)(sensed(t_ns=10 * MS, age_ms=10, held_age_ms=10)).action == "replace"


def test_data_from_after_a_sensor_fell_sick_is_not_held():
    covered = Ailment(name="covered", since_ns=500 * MS)
    tainted = sensed(t_ns=600 * MS, age_ms=0, held_age_ms=50)
    sound_still = sensed(t_ns=600 * MS, age_ms=0, held_age_ms=150)
    assert ladder(*ALL, ailment=covered)(tainted).action == "replace"
    choice = ladder(*ALL, ailment=covered)(sound_still)
    assert (choice.action, choice.reason) == ("hold", "covered for 0.1 s; held, 150 ms old")


def test_what_is_only_unusual_is_used_and_said():
    odd = Ailment(name="unusual", since_ns=0, sick=False)
    assert ladder(*ALL, ailment=odd)(sensed(t_ns=2 * NS, age_ms=0)) == Choice(reason="unusual for 2.0 s")


def test_a_sensor_whose_clock_was_set_forward_is_used_and_said():
    choice = ladder(*ALL)(sensed(age_ms=-4000))
    assert choice.action == "use"
    assert "ahead of the tick" in choice.reason


def test_a_sensor_that_never_came_is_replaced_by_its_mean(duo):
    stream, (first,) = without_pictures(duo, policies={"image": ["mean"]})
    assert first.degraded == ("image: nothing came yet; its mean stands in",)
    assert math.isinf(first.age_ms["image"])
    np.testing.assert_array_equal(duo.head.given[-1][0], baseline().moments["remembered"].mean)
    show(stream, 0, T0)
    (second,) = hear(stream, 0)
    assert second.degraded == ()
    assert second.fresh["image"]


def test_a_sensor_that_never_came_is_waited_for_as_long_as_it_may_be_held(duo):
    stream, made = without_pictures(duo, policies={"image": ["hold", "mean"]}, max_age_ms={"image": 25})
    assert made == []
    assert [len(hear(stream, number)) for number in range(4)] == [0, 1, 1, 1]  # the first tick was at the first hop


def test_without_a_policy_a_sensor_that_never_came_is_waited_for(duo):
    stream, made = without_pictures(duo)
    assert made == []
    assert [len(hear(stream, number)) for number in range(3)] == [0, 0, 0]


def test_a_live_stream_decides_without_a_sensor_that_never_came(duo):
    stream = duo.stream(live=True, baseline=baseline, policies={"image": ["mean"], "lidar": ["abstain"]})
    stream.push_audio(sound(WINDOW), T0 - WINDOW * NS // RATE_HZ)
    until(lambda: stream.totals["ticks"])
    (prediction,) = stream.poll()
    assert prediction.abstained
    assert "lidar: nothing came yet; no answer" in prediction.degraded
    stream.push_tensor(np.ones(3, np.float32), T0)
    until(lambda: stream.branches["lidar"].encoded)
    stream.push_audio(sound(HOP), T0)
    until(lambda: stream.totals["ticks"] == 2)
    (prediction,) = stream.poll()
    assert prediction.degraded == ("image: nothing came yet; its mean stands in",)
    assert not prediction.abstained


def test_a_camera_that_stops_is_held_then_replaced_then_used_again(duo):
    stream = duo.stream(live=False, baseline=baseline, policies={"image": ["hold", "mean"]}, max_age_ms={"image": 320})
    stream.push_tensor(np.ones(3, np.float32), T0)
    show(stream, 0, T0)
    stream.push_audio(sound(WINDOW), T0 - WINDOW * NS // RATE_HZ)
    stream.poll()
    told = [hear(stream, number)[0].degraded for number in range(40)]
    assert told[:25] == [()] * 25  # 250 ms, the shortest silence that counts as disconnected
    assert told[25] == ("image: disconnected for 0.3 s; held, 260 ms old",)
    assert told[31] == ("image: disconnected for 0.3 s; held, 320 ms old",)
    assert told[32] == ("image: disconnected for 0.3 s; its mean stands in",)
    assert stream.health["image"].state == "disconnected"
    show(stream, 9, T0 + 40 * PERIOD)
    assert hear(stream, 40)[0].degraded == ()
    assert stream.health["image"].state == "healthy"


def test_what_the_caller_wants_goes_before_what_the_bundle_declares():
    declared = {"image": PortPolicy(max_age_ms=100, missing=("hold", "mean"))}
    assert merge_policies(declared, None, {}, ["image", "sound"]) == declared | {"sound": PortPolicy()}
    merged = merge_policies(declared, {"image": ["abstain"]}, {"sound": 5}, ["image", "sound"])
    assert merged == {
        "image": PortPolicy(max_age_ms=100, missing=("abstain",)),
        "sound": PortPolicy(max_age_ms=5),
    }


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"smell": ["hold"]}, "policies name 'smell'; the model has image"),
        ({"image": ["pray"]}, "the policy of image has 'pray'; expected some of hold, reweight, mean, abstain"),
        ({"image": "hold"}, "expected a list"),
        ({"image": ["abstain", "hold"]}, "the order is hold, reweight, mean, abstain"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(given, told):
    with pytest.raises(InputError, match=told):
        merge_policies({}, given, {}, ["image"])


def test_a_mean_that_nobody_measured_is_refused(duo):
    with pytest.raises(mmedge.InputError, match="of random data; calibrate with"):
        duo.stream(live=False, baseline=lambda: baseline(real=False), policies={"image": ["mean"]})
    empty = Baseline(shares=shares(manifest()), moments={}, statistics={}, windows=0, real=True)
    with pytest.raises(mmedge.InputError, match="no statistics of remembered; calibrate with"):
        empty.mean("image")
