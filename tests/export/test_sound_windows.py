"""Windows of sound that are encoded part by part: exactly where that changes nothing, and equal to the whole."""

from dataclasses import replace

import numpy as np
import pytest
import sound_models
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmedge_export.checkpoint import save_checkpoint
from mmedge_export.pipeline import ExportOptions, export

import mmedge
from mmedge.backends.ort import OrtSession
from mmedge.cost import StageCost, predict_saving
from mmedge.feeds import AudioFeed, front_end
from mmedge.types import NS, AudioChunk

ROUNDING = 2e-6  # the kernels for one part may add in another order than those for all


def exported(folder, which):
    torch.manual_seed(3)
    checkpoint, out, whole = folder / "m.safetensors", folder / "m.mmedge", folder / "whole.onnx"
    save_checkpoint(checkpoint, sound_models.together(which), sound_models.spec(which))
    return export(checkpoint, out, ExportOptions(random_samples=True, keep_whole=whole)).manifest


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    return exported(folder, "split"), mmedge.load(folder / "m.mmedge"), (folder / "whole.onnx").read_bytes()


def push(feed, samples, settings, first=0, begin_ns=0):
    """Samples from a number on, of sound that began at a time, into the window."""
    t_ns = begin_ns + first * NS // settings.rate_hz
    feed.accept(AudioChunk(samples=samples, t_ns=t_ns, rate_hz=settings.rate_hz))
    feed.ingest()


def end_of(feed, settings, begin_ns=0):
    """The sample at which the newest window ends."""
    return round((feed.newest_ns - begin_ns) * settings.rate_hz / NS)


def test_sound_is_taken_part_by_part_where_the_hop_meets_the_parts(split):
    manifest = split[0]
    stages = {stage.name: stage for stage in manifest.stages}
    for name, (_, _, size, items) in sound_models.SPLIT.items():
        assert stages[f"{name}.item"].per_item, name
        assert (manifest.tensors[name].item_size, stages[f"{name}.item"].items) == (size, items), name
    assert manifest.notes == ()


@settings(max_examples=12, deadline=None, derandomize=True)
@given(chunks=st.lists(st.sampled_from([1, 100, 160, 319, 480, 2000, 7000, 20000]), min_size=4, max_size=10))
def test_a_stream_in_any_chunks_equals_the_unsplit_graph_on_the_window(split, chunks):
    manifest, model, whole = split
    graph, session = model.new_graph(), OrtSession(whole, threads=1, name="whole")
    feeds = {name: AudioFeed(name, port, graph) for name, port in manifest.ports.items()}
    samples = np.random.default_rng(1).uniform(-0.5, 0.5, sum(chunks)).astype(np.float32)
    start = 0
    for chunk in chunks:
        for name, feed in feeds.items():
            push(feed, samples[start : start + chunk], manifest.ports[name].audio, start)
        start += chunk
        if not all(feed.ready for feed in feeds.values()):
            continue
        windows = {}
        for name, feed in feeds.items():
            feed.fill()
            settings = manifest.ports[name].audio
            end = end_of(feed, settings)
            assert start - end < settings.hop_samples
            windows[name] = front_end(manifest.ports[name]).window(samples[end - settings.window_samples : end])[None]
        graph.run()
        for name, expected in session.run(windows).items():
            np.testing.assert_allclose(graph.tensors[name], expected, rtol=0, atol=ROUNDING, err_msg=name)


def test_each_part_of_a_stream_is_computed_once(split):
    manifest, model, _ = split
    samples = np.random.default_rng(1).uniform(-0.5, 0.5, 16000).astype(np.float32)
    graph = model.new_graph()
    for name, port in manifest.ports.items():
        feed = AudioFeed(name, port, graph)
        for start in range(0, 16000, 320):
            push(feed, samples[start : start + 320], port.audio, start)
            feed.fill()
        spec, hop = manifest.tensors[name], port.audio.mel.hop_length if port.audio.mel else 1
        windows = (16000 - port.audio.window_samples) // (spec.item_size * hop)
        assert graph.runs[f"{name}.item"] == spec.items + windows, name


def test_a_gap_longer_than_a_window_is_survived(split):
    manifest, model, whole = split
    port, graph = manifest.ports["two_chunks"], model.new_graph()
    feed = AudioFeed("two_chunks", port, graph)
    samples = np.random.default_rng(1).uniform(-0.5, 0.5, 30000).astype(np.float32)
    push(feed, samples[:15000], port.audio)
    feed.fill()
    push(feed, samples[15000:], port.audio, begin_ns=60 * NS)
    feed.fill()
    end = end_of(feed, port.audio, begin_ns=60 * NS)
    window = front_end(port).window(samples[15000:][end - port.audio.window_samples : end])[None]
    other = {n: np.zeros((1, *p.shape), np.float32) for n, p in manifest.ports.items() if n != "two_chunks"}
    graph.run()
    expected = OrtSession(whole, threads=1, name="whole").run({"two_chunks": window} | other)["two_chunks.y"]
    np.testing.assert_allclose(graph.tensors["two_chunks.y"], expected, rtol=0, atol=ROUNDING)


def test_sound_whose_parts_differ_from_window_to_window_is_encoded_whole_with_the_reason(tmp_path):
    manifest = exported(tmp_path, "kept")
    assert not any(stage.per_item for stage in manifest.stages)
    notes = {note.partition(" is encoded a window at a time: ")[0]: note for note in manifest.notes}
    for name, (_, _, why) in sound_models.KEPT.items():
        assert why in notes[name]


def test_a_manifest_that_takes_unlike_columns_one_by_one_is_refused(split):
    manifest = split[0]
    port = manifest.ports["columns"]
    clamped = replace(port.audio, mel=replace(port.audio.mel, top_db=80.0))
    with pytest.raises(mmedge.BundleError, match="port columns cannot be taken item by item: its values are raised"):
        replace(manifest, ports={**manifest.ports, "columns": replace(port, audio=clamped)})


def test_the_predicted_work_counts_every_part_of_sound(split):
    manifest = split[0]
    costs = [
        StageCost(name=s.name, ms=float(s.name == "two_chunks.item"), whole_ms=1, macs=1, bytes_out=1, runs_unsplit=20)
        for s in manifest.stages
    ]
    saving = predict_saving(manifest, costs, dict.fromkeys(manifest.ports, 50.0))
    assert saving.staged_ms == pytest.approx(25)  # both chunks of 20 ms at once
    assert predict_saving(manifest, costs, dict.fromkeys(manifest.ports, 10.0)).staged_ms == pytest.approx(25)
