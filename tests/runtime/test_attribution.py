"""How much each sensor contributed: the axioms, and that looking changes nothing."""

from itertools import permutations

import numpy as np
import pytest
from duo import HOP, RATE_HZ, T0, WINDOW, baseline, join, show, sound
from hypothesis import given
from hypothesis import strategies as st

import mmedge
from mmedge.attribution import coalitions, leave_one_out, shapley, worth_of
from mmedge.manifest import Output
from mmedge.types import NS

PORTS = ("a", "b", "c", "d")
PERIOD = HOP * NS // RATE_HZ


@st.composite
def games(draw):
    """Up to four players, and what each set of them is worth."""
    ports = PORTS[: draw(st.integers(1, 4))]
    values = st.floats(-100, 100)
    return ports, {which: draw(values) for which in coalitions(ports)}


def by_permutations(ports, worth):
    """The definition: what a port adds when it joins, averaged over every order."""
    orders = list(permutations(ports))
    values = dict.fromkeys(ports, 0.0)
    for order in orders:
        for place, port in enumerate(order):
            values[port] += worth[frozenset(order[: place + 1])] - worth[frozenset(order[:place])]
    return {port: value / len(orders) for port, value in values.items()}


@given(games())
def test_shares_are_those_of_all_orders_and_add_up(game):
    ports, worth = game
    values = shapley(ports, worth)
    assert values == pytest.approx(by_permutations(ports, worth), abs=1e-9)
    assert sum(values.values()) == pytest.approx(worth[frozenset(ports)] - worth[frozenset()], abs=1e-9)


@given(games())
def test_a_port_that_changes_nothing_has_no_share(game):
    ports, worth = game
    worth = {which: worth[which - {"a"}] for which in worth}
    assert shapley(ports, worth)["a"] == 0
    assert leave_one_out(ports, worth)["a"] == 0


@given(games())
def test_ports_that_may_be_exchanged_have_equal_shares(game):
    ports, worth = game
    if len(ports) < 2:
        return
    other = {"a": "b", "b": "a"}
    same = {which: (worth[which] + worth[frozenset(other.get(port, port) for port in which)]) / 2 for which in worth}
    values = shapley(ports, same)
    assert values["a"] == pytest.approx(values["b"], abs=1e-9)


def test_five_ports_are_only_left_out_one_by_one():
    ports = (*PORTS, "e")
    assert len(coalitions(ports)) == 6
    worth = {which: float(sum(2 ** ports.index(port) for port in which)) for which in coalitions(ports)}
    assert leave_one_out(ports, worth) == {"a": 1, "b": 2, "c": 4, "d": 8, "e": 16}


def decide(duo, count=4, **options):
    """A stream that has decided some times, and its predictions."""
    stream = duo.stream(live=False, baseline=baseline, **options)
    stream.push_tensor(np.ones(3, np.float32), T0)
    show(stream, 0, T0)
    stream.push_audio(sound(WINDOW), T0 - WINDOW * NS // RATE_HZ)
    for number in range(count - 1):
        stream.push_audio(sound(HOP, seed=number), T0 + number * PERIOD)
    return stream, stream.poll()


def test_attribution_changes_neither_outputs_nor_states(duo):
    _, plain = decide(duo)
    stream, told = decide(duo, attribution=1)
    assert len(plain) == 4
    assert stream.runs["head"] == 4
    for one, other in zip(plain, told, strict=True):
        np.testing.assert_array_equal(one.outputs["out"], other.outputs["out"])
        assert one.attribution is None
        assert set(other.attribution["out"]) == {"image", "audio", "lidar"}


def test_contributions_are_those_of_the_head_against_the_mean(duo):
    stream, told = decide(duo, count=3, attribution=1)
    image, audio, raw, lidar, h = duo.head.given[-8]  # the decision itself, before its seven other coalitions
    means = {name: moment.mean for name, moment in baseline().moments.items()}
    decided = join(image, audio, raw, lidar, h)[0]
    np.testing.assert_array_equal(decided[0], told[-1].outputs["out"])
    real = {"image": {"remembered": image}, "audio": {"heard": audio, "audio": raw}, "lidar": {"lidar": lidar}}
    worth = {}
    for which in coalitions(tuple(real)):
        given_to = means | {name: value for port in which for name, value in real[port].items()}
        made = join(*(given_to[name] for name in ("remembered", "heard", "audio", "lidar")), h)[0]
        worth[which] = -float(np.sqrt(np.mean(np.square(made - decided))))  # the output is raw
    assert told[-1].attribution["out"] == pytest.approx(by_permutations(tuple(real), worth), abs=1e-6)
    assert stream.totals["attribution_head_calls"] == 3 * 7
    assert stream.totals["attributed"] == 3
    assert stream.totals["attribution_ns"] > 0


def test_attribution_comes_every_so_often_and_when_asked_for(duo):
    _, told = decide(duo, count=5, attribution=2)
    assert [p.attribution is not None for p in told] == [True, False, True, False, True]
    stream, told = decide(duo, count=2, attribution=0)
    assert [p.attribution for p in told] == [None, None]
    stream.attribute_next()
    for number in range(1, 3):
        stream.push_audio(sound(HOP, seed=number), T0 + number * PERIOD)
    assert [p.attribution is not None for p in stream.poll()] == [True, False]


def test_a_port_that_stands_at_its_mean_contributes_nothing(duo):
    stream = duo.stream(live=False, baseline=baseline, attribution=1, policies={"image": ["mean"]})
    stream.push_tensor(np.ones(3, np.float32), T0)
    stream.push_audio(sound(WINDOW), T0 - WINDOW * NS // RATE_HZ)
    stream.push_audio(sound(HOP), T0)
    assert stream.poll()[-1].attribution["out"]["image"] == 0


@pytest.mark.parametrize("every", [-1, True, 1.5])
def test_attribution_that_cannot_be_is_refused(duo, every):
    with pytest.raises(mmedge.InputError, match="expected every how many decisions"):
        duo.stream(live=False, baseline=baseline, attribution=every)


def test_attribution_that_was_not_asked_for_cannot_be_had(duo):
    with pytest.raises(mmedge.InputError, match="open it with model.stream"):
        duo.stream(live=False).attribute_next()
    with pytest.raises(mmedge.InputError, match="mean embeddings of a bundle"):
        duo.stream(live=False, attribution=1)


def test_two_sensors_cost_at_most_three_head_calls_and_then_two(model):
    """Without states, the answer without any sensor is computed once."""
    head = model.new_graph()
    with model.stream(attribution=1) as stream:
        attribute = stream.decider.attribute
    for calls in (3, 5, 7):
        head.run()
        found = attribute(head)
        assert attribute.head_calls == calls
        assert found is not None
        assert set(found) == {"event", "distance"}


@pytest.mark.parametrize(
    ("output", "answer", "decided", "worth"),
    [
        (Output(tensor="x", task="classification", labels=("a", "b")), [0.7, 0.3], [0.1, 0.9], 0.3),
        (Output(tensor="x", task="multilabel", labels=("a", "b", "c")), [0.5, 0.25, 1], [0.6, 0.7, 0.1], 0.75),
        (Output(tensor="x", task="multilabel", labels=("a", "b")), [0.5, 0.25], [0.1, 0.2], 0.25),
        (Output(tensor="x", task="regression"), [-3.0], [5.0], -3.0),
        (Output(tensor="x", task="regression"), [3.0, 4.0], [0.0, 4.0], -3 / np.sqrt(2)),
    ],
)
def test_what_a_decision_is_worth_depends_on_its_output(output, answer, decided, worth):
    assert worth_of(np.array(answer), np.array(decided), output) == pytest.approx(worth)
