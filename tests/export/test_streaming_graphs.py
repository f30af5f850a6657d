"""Graphs of others that remember: run tick by tick, against ONNX Runtime with the states carried by hand."""

import numpy as np
import onnx
import onnxruntime
import pytest
import streaming_graphs
from mmedge_export.pipeline import ExportOptions, export
from onnx.reference import ReferenceEvaluator

import mmedge
from mmedge.types import NS

RANDOM = ExportOptions(random_samples=True)
TICKS = 12


@pytest.fixture
def put(tmp_path):
    def write(model, spec):
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, tmp_path / "model.onnx")
        (tmp_path / "SPEC.toml").write_text(spec)
        return tmp_path / "model.onnx"

    return write


def stepped(path, inputs, states, output, constants=None):
    """What the original gives at every step, its states handed on by hand."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    evaluator = ReferenceEvaluator(str(path))
    names = [output, *(source for source, _ in states.values())]
    carried, rows = {name: zeros for name, (_, zeros) in states.items()}, []
    for i, given in enumerate(inputs):
        feeds = given | carried | (constants or {})
        made = session.run(names, feeds)
        if i == 1:
            for ours, theirs in zip(evaluator.run(names, feeds), made, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)
        rows.append(made[0][0])
        carried = dict(zip(carried, made[1:], strict=True))
    return np.stack(rows)


@pytest.mark.parametrize("rate_hz", [16000, 8000])
def test_a_voice_detector_remembers_as_it_does_in_its_own_loop(put, tmp_path, rate_hz):
    path = put(streaming_graphs.voice_detector(), streaming_graphs.DETECTS.replace("RATE", str(rate_hz)))
    manifest = export(path, tmp_path / "out.mmedge", RANDOM).manifest
    count = rate_hz * 32 // 1000
    sound = (0.3 * np.random.default_rng(1).standard_normal(TICKS * count)).astype(np.float32)
    frames = [{"input": frame[np.newaxis]} for frame in sound.reshape(TICKS, count)]
    states = {"state": ("stateN", np.zeros((2, 1, 8), np.float32))}
    expected = stepped(path, frames, states, "output", {"sr": np.array(rate_hz, np.int64)})
    with mmedge.load(tmp_path / "out.mmedge") as model, model.stream("audio") as stream:
        for i, frame in enumerate(frames):
            stream.push_audio(frame["input"][0], i * count * NS // rate_hz)
        given = np.stack([now.outputs["output"] for now in stream.poll()])
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-6)
    assert np.abs(np.diff(expected[:, 0])).min() > 1e-4  # it is not the same at every tick
    assert [stage.name for stage in manifest.stages] == ["input", "head"]  # both are inside of a branch in the file
    stages = [onnx.load(path) for path in (tmp_path / "out.mmedge").rglob("*.onnx")]
    assert {"If", "Equal"} & {node.op_type for stage in stages for node in stage.graph.node} == set()


FRAMES = {
    "denoiser": (
        streaming_graphs.DENOISES,
        (1, 16, 1, 2),
        {
            "conv_cache": ("conv_cache_out", np.zeros((1, 2, 2, 16), np.float32)),
            "tra_cache": ("tra_cache_out", np.zeros((1, 1, 4), np.float32)),
        },
    ),
    "recognizer": (
        streaming_graphs.RECOGNIZES,
        (1, 4, 12),
        {
            "cached_key": ("new_cached_key", np.zeros((6, 1, 8), np.float32)),
            "processed_lens": ("new_processed_lens", np.zeros(1, np.int64)),
        },
    ),
}


@pytest.mark.parametrize("graph", FRAMES)
def test_caches_of_any_shape_and_type_are_carried(put, tmp_path, graph):
    spec, shape, states = FRAMES[graph]
    path = put(getattr(streaming_graphs, graph)(), spec)
    manifest = export(path, tmp_path / "out.mmedge", RANDOM).manifest
    (port,) = (name for name, each in manifest.ports.items() if each.tensor)
    (output,) = manifest.outputs
    random = np.random.default_rng(2)
    frames = [{port: random.standard_normal(shape).astype(np.float32)} for _ in range(TICKS)]
    expected = stepped(path, frames, states, output)
    with mmedge.load(tmp_path / "out.mmedge") as model, model.stream("tensor") as stream:
        for i, frame in enumerate(frames):
            stream.push_tensor(frame[port][0], i * NS // 25)
        given = np.stack([now.outputs[output] for now in stream.poll()])
        forgetful = model.infer(**{port: frames[-1][port][0]}).outputs[output]
    np.testing.assert_allclose(given, expected, rtol=0, atol=2e-6)
    assert np.abs(forgetful - expected[-1]).max() > 1e-3  # what was remembered mattered


def test_a_state_of_another_size_is_refused(put, tmp_path):
    path = put(streaming_graphs.denoiser(), streaming_graphs.DENOISES.replace("[1, 4]", "[2, 4]"))
    with pytest.raises(mmedge.SpecError, match=r"the graph is \[1, 1, 4\], the spec gives \[1, 2, 4\]"):
        export(path, tmp_path / "out.mmedge", RANDOM)
    path = put(streaming_graphs.recognizer(), streaming_graphs.RECOGNIZES.replace("[6, 1, 8]", "[5, 1, 8]"))
    with pytest.raises(mmedge.SpecError, match=r"cached_key of the graph is \[6, 'N', 8\], the spec gives \[5, 1, 8\]"):
        export(path, tmp_path / "out.mmedge", RANDOM)
