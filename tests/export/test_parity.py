import platform
import signal

import numpy as np
import onnx
import pytest
from mmedge_export.checkpoint import build_model, load_checkpoint
from mmedge_export.isolate import run_isolated
from mmedge_export.parity.comparison import compare, noise_tolerance, require_parity
from mmedge_export.samples import draw_samples, port_tensors
from mmedge_export.trace import reference_outputs, trace
from onnx import helper, numpy_helper

import mmedge


def cosine(a, b):
    return float(np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.fixture
def traced(save, tmp_path):
    checkpoint = load_checkpoint(save("late"))
    model = build_model(checkpoint)
    samples = draw_samples(checkpoint.spec, None, random=True)
    tensors = [port_tensors(checkpoint.spec.ports, sample) for sample in samples]
    names = list(checkpoint.spec.outputs)
    trace(model, tensors[0], names, tmp_path / "whole.onnx")
    import torch

    exact = reference_outputs(model, tensors, names, torch.float64)
    rounded = reference_outputs(model, tensors, names, torch.float32)
    return tmp_path / "whole.onnx", tensors, exact, noise_tolerance(exact, rounded)


def outputs_of(path, tensors, names):
    made = run_isolated(path, tensors)
    return {name: made[name][:, 0] for name in names}


def test_a_faithful_graph_passes(traced):
    path, tensors, exact, tolerances = traced
    rows = compare("torch against onnx", exact, outputs_of(path, tensors, exact), tolerances)
    require_parity(rows)
    assert all(0 < row.tolerance < 1e-4 for row in rows)  # derived from noise, so it can fail


def test_onnx_s_own_reference_evaluator_agrees(traced):
    from onnx.reference import ReferenceEvaluator

    path, tensors, exact, tolerances = traced
    evaluator = ReferenceEvaluator(str(path))
    rows = [evaluator.run(None, dict(sample)) for sample in tensors]
    made = {name: np.stack([row[i][0] for row in rows]) for i, name in enumerate(exact)}
    require_parity(compare("torch against the reference evaluator", exact, made, tolerances))


def test_one_perturbed_encoder_is_refused_though_its_cosine_is_above_0999(traced):
    path, tensors, exact, tolerances = traced
    model = onnx.load(path)
    weight = next(t for t in model.graph.initializer if t.name == "model.sound.layers.0.weight")
    values = numpy_helper.to_array(weight)
    noise = np.random.default_rng(0).standard_normal(values.shape).astype(np.float32)
    weight.CopyFrom(numpy_helper.from_array(values + 1e-3 * values.std() * noise, weight.name))
    onnx.save(model, path)
    made = outputs_of(path, tensors, exact)
    assert cosine(made["event"], exact["event"]) > 0.999
    with pytest.raises(mmedge.ParityError, match="event differs by"):
        require_parity(compare("torch against onnx", exact, made, tolerances))


def test_nan_is_a_difference():
    exact = {"x": np.array([1.0, 2.0])}
    rows = compare("a against b", exact, {"x": np.array([1.0, np.nan])}, {"x": 1e9})
    with pytest.raises(mmedge.ParityError, match="x differs by inf"):
        require_parity(rows)


def test_another_shape_is_a_difference():
    with pytest.raises(mmedge.ParityError, match=r"x is \[3\], expected \[2\]"):
        compare("a against b", {"x": np.zeros(2)}, {"x": np.zeros(3)}, {"x": 1.0})


@pytest.mark.skipif(platform.machine() not in {"x86_64", "AMD64"}, reason="other processors wrap around")
def test_a_graph_that_kills_its_process_is_an_error_not_the_end(tmp_path):
    x, by, y = (helper.make_tensor_value_info(name, onnx.TensorProto.INT64, [1, 2]) for name in ("x", "by", "y"))
    graph = helper.make_graph([helper.make_node("Div", ["x", "by"], ["y"])], "overflow", [x, by], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "bad.onnx")
    smallest = np.full((1, 2), np.iinfo(np.int64).min)
    with pytest.raises(mmedge.ExportError, match=rf"bad\.onnx killed its process \(signal {signal.SIGFPE.value}\)"):
        run_isolated(tmp_path / "bad.onnx", [{"x": smallest, "by": np.full((1, 2), -1)}])


def test_a_graph_that_cannot_be_loaded_is_an_error(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x0a garbage")
    with pytest.raises(mmedge.ExportError, match=r"bad\.onnx failed: .*cannot load"):
        run_isolated(tmp_path / "bad.onnx", [{"x": np.zeros((1, 2), np.float32)}])
