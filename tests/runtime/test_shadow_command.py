"""A second bundle beside the one that decides, on the command line, with bundles that were exported."""

import json
import re
import shutil
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from duo import T0, Duo, manifest, push_hops, show

from mmedge.commands.shadowing import Shadow
from mmedge.errors import InputError, StreamError

SCENE = "synthetic://?seconds={}"


@pytest.fixture(scope="module")
def other_bundle(reference_bundle, tmp_path_factory):
    """The same model with an event renamed, and so with another name for itself."""
    copy = tmp_path_factory.mktemp("other") / "next.mmedge"
    shutil.copytree(reference_bundle, copy)
    manifest = copy / "manifest.json"
    document = json.loads(manifest.read_text())
    document["name"] = "next"
    document["outputs"]["event"]["labels"][0] = "nothing"
    manifest.write_text(json.dumps(document))
    return copy


@pytest.fixture
def run(mmedge_cli, reference_bundle, tmp_path):
    """The command, what it told on stderr, and the decisions."""

    def call(scene, *arguments):
        out = tmp_path / "out.jsonl"
        ended = mmedge_cli("run", reference_bundle, "--camera", scene, "--jsonl", out, *arguments)
        lines = out.read_text().splitlines() if out.exists() else []
        return ended, [json.loads(line) for line in lines]

    return call


def models(decisions):
    return [line["model"].partition("@")[0] for line in decisions]


@pytest.mark.parametrize("scene", [SCENE.format(2.5), "paced:" + SCENE.format(2.5)])
def test_a_shadow_is_compared_and_never_heard(run, reference_bundle, scene):
    ended, decisions = run(scene, "--shadow", reference_bundle)
    assert ended.status == 0, ended.err
    exactly = "100.0" if "paced" not in scene else "[0-9.]+"  # live, a busy machine may show them different pictures
    assert re.search(f"event: same label in {exactly} %", ended.err)
    assert "ms of work per tick" in ended.err
    assert "decides from here on" not in ended.err
    assert set(models(decisions)) == {"emergency-vehicle"}


def test_a_shadow_changes_no_decision(run, other_bundle):
    alone, beside = (run(SCENE.format(2), *options)[1] for options in ((), ("--shadow", other_bundle)))
    for line in (*alone, *beside):
        del line["latency_ns"]
    assert alone == beside


@pytest.mark.parametrize("scene", [SCENE.format(3), "paced:" + SCENE.format(3)])
def test_it_takes_over_when_it_agrees_and_no_tick_is_lost(run, reference_bundle, scene):
    ended, decisions = run(scene, "--shadow", reference_bundle, "--switch-at", 50, "--tick", "50hz")
    assert ended.status == 0, ended.err
    assert "decides from here on" in ended.err
    steps = {after["t_ns"] - before["t_ns"] for before, after in pairwise(decisions)}
    if "paced" in scene:  # a busy machine passes over ticks, which is counted
        assert min(steps) >= 20_000_000
        assert all(step % 20_000_000 == 0 for step in steps)
    else:
        assert steps == {20_000_000}


def test_from_the_switch_on_decisions_are_described_by_the_new_bundle(run, other_bundle):
    ended, decisions = run(SCENE.format(3), "--shadow", other_bundle, "--switch-at", 0)
    assert ended.status == 0, ended.err
    assert models(decisions) == ["emergency-vehicle"] + ["next"] * (len(decisions) - 1)
    assert "nothing" not in decisions[0]["outputs"]["event"]
    assert "nothing" in decisions[1]["outputs"]["event"]


def test_a_shadow_that_disagrees_does_not_take_over(run, other_bundle):
    ended, decisions = run(SCENE.format(2.5), "--shadow", other_bundle, "--switch-at", 99)
    assert ended.status == 0, ended.err
    assert set(models(decisions)) == {"emergency-vehicle"}
    assert "it did not take over: 99 % over at least 50 ticks was asked for" in ended.err


def test_a_run_that_is_too_short_to_tell_does_not_switch(run, reference_bundle):
    ended, _ = run(SCENE.format(1.5), "--shadow", reference_bundle, "--switch-at", 50)
    assert ended.status == 0, ended.err
    assert "it did not take over" in ended.err


def test_a_shadow_with_other_sensors_is_refused_before_anything_is_decided(run, bundle_copy):
    manifest = bundle_copy / "manifest.json"
    text = manifest.read_text()
    assert '"rate_hz": 16000' in text
    manifest.write_text(text.replace('"rate_hz": 16000', '"rate_hz": 17000'))
    ended, decisions = run(SCENE.format(2), "--shadow", bundle_copy)
    assert ended.status == 1
    assert "has other sensors" in ended.err
    assert decisions == []


class Broken(Duo):
    """The duo as a second model, whose encoder of sound will break."""

    id = "broken"
    manifest = manifest()

    def stream_like(self, stream):
        return self.stream(stream.tick.text, live=stream.options.live)


def test_a_shadow_that_breaks_leaves_the_decisions_and_is_an_error_at_the_end(duo, capsys):
    stream, other = duo.warm(live=False), Broken()
    with Shadow(SimpleNamespace(stream=stream, model=Broken()), other, 0) as shadow:
        stream.push_tensor(np.ones(3, np.float32), T0)
        show(stream, 0, T0)
        push_hops(stream, 2)
        other.audio.function = None
        push_hops(stream, 4, first=2)
        assert len(list(shadow.watch(stream.poll()))) >= 6
        with pytest.raises(StreamError, match="one of the two models broke, and the other one decided alone"):
            shadow.tell()
    told = capsys.readouterr().err
    assert "beside it, broken: " in told
    assert "it did not take over" in told
    other.close()


def test_labels_are_needed_to_agree_in(duo):
    run = SimpleNamespace(stream=duo.stream(live=False), model=Broken())
    with pytest.raises(InputError, match="compares labels, and there are none; try: --switch-at 0"):
        Shadow(run, Broken(), 90)


def test_a_switch_without_a_second_bundle_says_what_to_give(run):
    ended, _ = run(SCENE.format(2), "--switch-at", 95)
    assert ended.status == 1
    assert "--shadow NEW.mmedge" in ended.err


def test_a_shadow_that_is_no_bundle_is_one_line(run, tmp_path):
    ended, _ = run(SCENE.format(2), "--shadow", tmp_path)
    assert ended.status == 1
    assert len(ended.err.splitlines()) == 1
