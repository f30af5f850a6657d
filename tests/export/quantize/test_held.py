"""What a bundle says that holding a sensor costs, against streams whose sensor was really cut off."""

import json
import wave
from itertools import pairwise

import numpy as np
import pytest
from mmedge_export.quantize.data import read_clips
from mmedge_export.quantize.held import cut_spans, score_held

from mmedge.bundle import open_bundle
from mmedge.features.settings import AudioSettings
from mmedge.manifest import Port
from mmedge.model import load
from mmedge.sources import Replay, open_sources
from mmedge.types import NS

AGES = {"audio": 300.0, "image": 600.0}


@pytest.fixture
def holding(bundle_copy):
    """The reference bundle, which holds each sensor for a while."""
    manifest = bundle_copy / "manifest.json"
    document = json.loads(manifest.read_text())
    document["policies"] = {name: {"max_age_ms": age, "missing": ["hold", "mean"]} for name, age in AGES.items()}
    manifest.write_text(json.dumps(document))
    return bundle_copy


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Four seconds of noise, and what shall be true in it."""
    cv2 = pytest.importorskip("cv2")
    folder = tmp_path_factory.mktemp("noise")
    random = np.random.default_rng(2)
    writer = cv2.VideoWriter(str(folder / "a.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 15, (160, 120))
    for i in range(60):
        writer.write(random.integers(0, 255 if i % 20 < 10 else 60, (120, 160, 3), dtype=np.uint8))
    writer.release()
    with wave.open(str(folder / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        loud = np.repeat([8000, 100, 4000, 0], 16000)
        file.writeframes((loud * random.standard_normal(64000)).clip(-32768, 32767).astype("<i2").tobytes())
    truth = [[0, 2.1, "beacons seen"], [2.1, 9, "clear"]]
    (folder / "labels.json").write_text(json.dumps({"a": {"event": truth}}))
    return folder


def cut_off(model, folder, name, port, seed):
    """Decisions of a stream that is given nothing of one port during spans, by hand; those that were made meanwhile."""
    video, sound = folder / f"{name}.mp4", folder / f"{name}.wav"
    described, seen = model.manifest.ports[port], {}
    every = decisions(model, video, sound, port, [])
    spans = cut_spans(described, AGES[port], min(every), max(every), seed)
    for t_ns, prediction in decisions(model, video, sound, port, spans).items():
        if any(begin < t_ns < end for begin, end in spans) and prediction.age_ms[port] <= AGES[port]:
            seen[t_ns] = every[t_ns].labels["event"], prediction.labels["event"]
    return seen


def decisions(model, video, sound, port, spans):
    sources = open_sources(str(video), str(sound), audio_rate_hz=16000)
    ports = {"camera": "image", "audio": "audio"}
    made = {}
    policies = {name: [] for name in AGES} | ({port: ["hold"]} if spans else {})
    replay = Replay({ports[kind]: source for kind, source in sources.items()})
    with replay, model.stream("50hz", policies=policies, max_age_ms={port: AGES[port]}) as stream:
        for name, packet in replay:
            if name != port or not any(begin <= packet.t_ns < end for begin, end in spans):
                stream.push(packet, port=name)
            made |= {now.t_ns: now for now in stream.poll()}
    return made


def shares_right(seen, truth_at):
    known = [(whole, held, truth_at(t_ns)) for t_ns, (whole, held) in seen.items() if truth_at(t_ns) is not None]
    return [float(np.mean([pair[i] == pair[2] for pair in known])) for i in range(2)], len(known)


def truths(folder, name):
    spans = json.loads((folder / "labels.json").read_text())[name]["event"]
    return lambda t_ns: next((value for begin, end, value in spans if begin <= t_ns / NS < end), None)


@pytest.mark.parametrize("port", ["audio", "image"])
def test_the_score_of_holding_is_what_a_stream_decides_whose_sensor_is_cut_off(holding, noise, port):
    bundle = open_bundle(holding)
    scores = {(s.port, s.output): s for s in score_held(bundle, read_clips(noise, bundle))}
    score = scores[port, "event"]
    assert (score.step, score.metric, score.truth, score.max_age_ms) == ("hold", "accuracy", True, AGES[port])
    assert score.instead == f"last {AGES[port]:g} ms"
    with load(holding) as model:
        seen = cut_off(model, noise, "a", port, seed=17)
    shares, count = shares_right(seen, truths(noise, "a"))
    assert abs(score.windows - count) <= 2  # of ticks at the very end of a picture or a chunk
    assert abs(score.whole - shares[0]) <= 2 / count
    assert abs(score.score - shares[1]) <= 2 / count
    assert not scores[port, "distance"].truth


@pytest.mark.slow
def test_holding_reproduces_its_score_on_a_drive_at_other_moments(holding, tmp_path):
    from mmedge_export.demo.clip_files import write_clip
    from mmedge_export.reference.clip import make_clip

    drive = make_clip(seed=1, duration_s=20)
    write_clip(drive, tmp_path / "d.mp4", tmp_path / "d.wav")
    step = NS // 50
    spans = [[i / 50, (i + 1) / 50, drive.truth(i * step).label] for i in range(1000) if drive.settled(i * step)]
    (tmp_path / "labels.json").write_text(json.dumps({"d": {"event": spans}}))
    bundle = open_bundle(holding)
    scores = {(s.port, s.output): s for s in score_held(bundle, read_clips(tmp_path, bundle))}
    with load(holding) as model:
        for port in AGES:
            promised = scores[port, "event"]
            seen = cut_off(model, tmp_path, "d", port, seed=5)
            (_, kept), count = shares_right(seen, truths(tmp_path, "d"))
            cuts = count / (AGES[port] / 1000 * 50)  # decisions of one cut are not independent of one another
            noise = np.sqrt(max(promised.score * (1 - promised.score), 0.01) * 2 / cuts)
            assert abs(kept - promised.score) <= 2.5 * noise


def test_a_sensor_is_cut_off_for_as_long_as_it_may_be_held_and_its_window_is_whole_in_between():
    port = Port(audio=AudioSettings(rate_hz=16000, window_samples=16000, hop_samples=320))
    spans = cut_spans(port, 300, 5 * NS, 65 * NS, seed=1)
    assert {end - begin for begin, end in spans} == {300_000_000}
    pauses = [after[0] - before[1] for before, after in pairwise(spans)]
    assert min(pauses) >= 1.5 * NS
    assert spans[0][0] >= 5 * NS
    assert spans[-1][1] < 65 * NS
    assert len(spans) > 20
    assert spans != cut_spans(port, 300, 5 * NS, 65 * NS, seed=2)


def test_without_clips_or_without_an_end_holding_has_no_score(holding, reference_bundle, noise):
    bundle = open_bundle(holding)
    assert score_held(bundle, {}) == ()
    without = open_bundle(reference_bundle)
    assert score_held(without, read_clips(noise, without)) == ()


def test_quantizing_with_recordings_keeps_the_score_and_inspect_shows_it(holding, noise):
    from click.testing import CliRunner
    from mmedge_export.quantize.make import QuantizeOptions, quantize
    from mmedge_export.quantize.produce import Choice
    from mmedge_export.quantize.score import Budget

    from mmedge.commands.inspect import inspect_command

    choice = Choice(budget=Budget(drop=1, error=1))
    quantize(holding, QuantizeOptions(calibration=noise, variants=("fp16",), choice=choice, windows=8), str)
    held = {s.port: s for s in open_bundle(holding).manifest.scores if (s.step, s.output) == ("hold", "event")}
    assert held.keys() == AGES.keys()
    shown = CliRunner().invoke(inspect_command, [str(holding)]).output
    line = next(line for line in shown.splitlines() if "last 300 ms" in line and "accuracy" in line)
    assert f"{held['audio'].score:.1%}" in line
