"""Traps met when exporting trained fusion models: each works, or is refused in one line; none gives a wrong bundle.

``TRAPS`` says which test is about which trap, here and elsewhere; ``pytest -m traps`` runs them all.
"""

import ast
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import trap_models
from fusion_models import late, spec_text
from mmedge_export.checkpoint import build_model, load_checkpoint, save_checkpoint
from mmedge_export.graph_check import check_graph
from mmedge_export.isolate import run_isolated
from mmedge_export.pipeline import ExportOptions, export
from mmedge_export.trace import OPSET, reference_outputs, trace
from onnx import helper
from onnx_models import late_graph
from safetensors.torch import save_file
from streaming_graphs import model as graph_model
from streaming_graphs import value
from traps import TRAPS

import mmedge

RANDOM = ExportOptions(random_samples=True)


def test_every_trap_has_tests_and_they_are_there():
    assert len(TRAPS) == 15
    tests = Path(__file__).parents[1]
    for names in TRAPS.values():
        assert names
        for name in names:
            path, _, function = name.partition("::")
            tree = ast.parse((tests / path).read_text(encoding="utf-8"))
            assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name


@pytest.fixture
def inputs():
    random = np.random.default_rng(4)
    return {
        "image": random.random((1, 3, 16, 16), dtype=np.float32),
        "audio": random.standard_normal((1, 48, 20)).astype(np.float32),
    }


@pytest.fixture
def put(tmp_path):
    """A model's weights, and a spec whose factory is of trap_models."""

    def write(factory, *, outputs="event level", arguments=""):
        name = factory.partition(" ")[0]
        lines = f"[model.arguments]\n{arguments}\n[inputs.image]" if arguments else "[inputs.image]"
        text = spec_text("late", outputs=outputs).replace("fusion_models:late", f"trap_models:{name}")
        (tmp_path / "SPEC.toml").write_text(text.replace("[inputs.image]", lines))
        values = [line.split('"')[1] for line in arguments.splitlines()]
        torch.manual_seed(3)
        save_file(getattr(trap_models, name)(*values).state_dict(), tmp_path / "weights.safetensors")
        return tmp_path / "weights.safetensors"

    return write


def agrees(model, inputs, path, outputs):
    """Whether the graph of a model gives what the model gives."""
    trace(model, inputs, outputs, path)
    graph = run_isolated(path, [inputs])
    expected = reference_outputs(model, [inputs], outputs, torch.float32)
    return all(np.allclose(graph[name][:, 0], expected[name], rtol=0, atol=1e-5) for name in outputs)


def test_recurrent_layers_are_exported_twice_in_one_process(inputs, tmp_path):
    for frames in (5, 8):  # a second length: what was traced first must not stay
        given = {**inputs, "audio": inputs["audio"][:, :frames]}
        assert agrees(trap_models.Recurrent(), given, tmp_path / f"{frames}.onnx", ["event"])


def test_pooling_over_three_axes_of_four_is_what_torch_takes_it_for(inputs, tmp_path):
    assert agrees(trap_models.Pool3d(), inputs, tmp_path / "a.onnx", ["event", "level"])


def test_pooling_over_three_axes_of_four_as_other_exporters_write_it_is_refused(tmp_path):
    pool = ("MaxPool", ["image"], ["pooled_too"], {"kernel_shape": [1, 2, 2]})
    onnx.save(late_graph(also=[pool]), tmp_path / "late.onnx")
    (tmp_path / "SPEC.toml").write_text(spec_text("late"))
    with pytest.raises(mmedge.CheckpointError, match=r"late\.onnx is not a valid ONNX model.*kernel_shape"):
        export(tmp_path / "late.onnx", tmp_path / "out.mmedge", RANDOM)


def test_a_squeeze_that_makes_onnx_runtime_abort_at_batch_1_is_refused_and_we_live_on(tmp_path):
    nodes = [
        helper.make_node("Squeeze", ["audio"], ["sound"]),
        helper.make_node("Einsum", ["sound", "lidar"], ["event"], equation="bij,bjk->bik"),
    ]
    inputs = [value("audio", ["n", 3, 4]), value("lidar", ["n", 4, 5])]
    graph = helper.make_graph(nodes, "trap", inputs, [value("event", ["n", 3, 5])])
    onnx.save(graph_model(graph, opset=17, ir=8), tmp_path / "a.onnx")
    ports = "".join(
        f'[inputs.{name}]\nmodality = "tensor"\nshape = {shape}\n'
        for name, shape in (("audio", [3, 4]), ("lidar", [4, 5]))
    )
    (tmp_path / "SPEC.toml").write_text(f'[model]\nname = "a"\n{ports}[outputs.event]\ntask = "raw"\n')
    with pytest.raises(mmedge.ExportError, match="a.onnx does not hold together at the shapes of the spec") as refused:
        export(tmp_path / "a.onnx", tmp_path / "out.mmedge", RANDOM)
    assert "\n" not in str(refused.value)
    given = {"audio": np.ones((1, 3, 4), np.float32), "lidar": np.ones((1, 4, 5), np.float32)}
    with pytest.raises(mmedge.ExportError, match=r"killed its process \(signal 6\).*squeeze"):
        run_isolated(tmp_path / "a.onnx", [given])


def test_a_squeeze_that_drops_the_batch_axis_is_refused(put, tmp_path):
    with pytest.raises(
        mmedge.SpecError, match=r"level with the shape \[\] for a batch of 1.*squeeze\(\) without a dim"
    ):
        export(put("Squeezed"), tmp_path / "out.mmedge", RANDOM)


def test_a_squeeze_that_mixes_up_axes_at_batch_1_is_refused(put, tmp_path):
    with pytest.raises(mmedge.ParityError, match="torch on one sample against a batch of two: event differs"):
        export(put("SqueezedInside"), tmp_path / "out.mmedge", RANDOM)
    assert not (tmp_path / "out.mmedge").exists()


def test_a_python_loop_over_the_batch_is_right_at_batch_1(inputs, tmp_path):
    assert agrees(trap_models.Looped(), inputs, tmp_path / "a.onnx", ["event", "level"])


def test_a_head_outside_of_forward_is_put_back_by_a_wrapper_of_the_users(put, tmp_path):
    manifest = export(put("Score", outputs="event"), tmp_path / "out.mmedge", RANDOM).manifest
    assert {stage.name for stage in manifest.stages} == {"image", "audio", "head"}


def test_cuda_in_forward_is_named_by_its_line_with_what_to_change(save, tmp_path):
    with pytest.raises(mmedge.SpecError, match=r"fusion_models\.py:\d+: .*image\.cuda\(\).*write \.to\(") as refused:
        export(save("on_gpu"), tmp_path / "out.mmedge", RANDOM)
    assert "\n" not in str(refused.value)


def test_a_module_that_is_older_than_its_code_is_refused_by_the_line_that_fails(put, tmp_path):
    put("Aged")
    torch.save(trap_models.Aged(), tmp_path / "module.pt")
    trusting = ExportOptions(random_samples=True, trust_pickle=True)
    with pytest.raises(mmedge.SpecError, match=r"has no attribute 'gain' .*trap_models\.py:\d+"):
        export(tmp_path / "module.pt", tmp_path / "out.mmedge", trusting)


def test_a_pickled_dataparallel_is_taken_without_its_wrapper(put, tmp_path):
    put("Score", outputs="event")
    torch.save(torch.nn.DataParallel(trap_models.Score()), tmp_path / "module.pt")
    model = build_model(load_checkpoint(tmp_path / "module.pt", trust_pickle=True))
    assert isinstance(model, trap_models.Score)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "_orig_mod.module."])
def test_a_prefix_before_every_name_is_taken_off(tmp_path, prefix):
    (tmp_path / "SPEC.toml").write_text(spec_text("late"))
    state = late().state_dict()
    save_file({prefix + name: tensor for name, tensor in state.items()}, tmp_path / "a.safetensors")
    model = build_model(load_checkpoint(tmp_path / "a.safetensors"))
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("key", ["state_dict", "model", "net"])
def test_a_state_dict_is_found_beside_the_optimizer(tmp_path, key):
    (tmp_path / "SPEC.toml").write_text(spec_text("late"))
    model = late()
    optimizer = torch.optim.Adam(model.parameters()).state_dict()
    torch.save({key: model.state_dict(), "optimizer": optimizer, "epoch": 3}, tmp_path / "a.pt")
    build_model(load_checkpoint(tmp_path / "a.pt"))


def test_tied_weights_are_saved_and_read(tmp_path):
    model = late()
    model.sound.layers[2].bias = model.camera.layers[3].bias
    save_checkpoint(tmp_path / "a.safetensors", model, spec_text("late"))
    state = build_model(load_checkpoint(tmp_path / "a.safetensors")).state_dict()
    assert torch.equal(state["sound.layers.2.bias"], model.camera.layers[3].bias)


def test_a_torchscript_archive_is_refused_with_what_to_save_instead(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and still what people have
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "a.pt")
    with pytest.raises(mmedge.CheckpointError, match=r"TorchScript archive.*state_dict\(\)"):
        load_checkpoint(tmp_path / "a.pt", trust_pickle=True)


def test_two_state_dicts_in_one_file_are_not_guessed_between(tmp_path):
    state = late().state_dict()
    torch.save({"model": state, "ema": state}, tmp_path / "a.pt")
    with pytest.raises(mmedge.CheckpointError, match="model, ema, expected one state dict"):
        load_checkpoint(tmp_path / "a.pt")


def test_bfloat16_weights_are_computed_with_in_float32_and_the_bundle_says_so(put, tmp_path):
    manifest = export(put("half", arguments='kind = "bfloat16"'), tmp_path / "out.mmedge", RANDOM).manifest
    assert manifest.notes[0] == "weights in bfloat16 are computed with in float32"
    for path in (tmp_path / "out.mmedge").rglob("*.onnx"):
        assert {t.data_type for t in onnx.load(path).graph.initializer} <= {
            onnx.TensorProto.FLOAT,
            onnx.TensorProto.INT64,
        }


def test_the_opset_is_the_one_that_was_asked_for(inputs, tmp_path):
    trace(late(), inputs, ["event", "level"], tmp_path / "a.onnx")
    assert [entry.version for entry in onnx.load(tmp_path / "a.onnx").opset_import if not entry.domain] == [OPSET]


def test_an_opset_that_the_exporter_did_not_keep_to_is_refused(inputs, tmp_path):
    trace(late(), inputs, ["event", "level"], tmp_path / "a.onnx")
    with pytest.raises(mmedge.ExportError, match=f"wrote opset .*{OPSET}.* asked was opset 17"):
        check_graph(tmp_path / "a.onnx", inputs, ["event", "level"], 17)


def test_a_time_axis_that_the_exporter_froze_at_another_length_is_refused(inputs, tmp_path):
    trace(trap_models.Recurrent(), inputs, ["event"], tmp_path / "a.onnx")
    longer = {**inputs, "audio": inputs["audio"][:, :40]}
    with pytest.raises(mmedge.ExportError, match=r"gave input audio the shape \[1, 48, 20\], not \[1, 40, 20\]"):
        check_graph(tmp_path / "a.onnx", longer, ["event"], OPSET)


@pytest.mark.parametrize("name", ["mistyped:build", "raising:build"])
def test_a_factory_whose_code_fails_is_refused_in_one_line(tmp_path, monkeypatch, name):
    (tmp_path / "mistyped.py").write_text("def build(:\n")
    (tmp_path / "raising.py").write_text("def build():\n    return {}['weights']\n")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "SPEC.toml").write_text(spec_text("late").replace("fusion_models:late", name))
    save_file(late().state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(
        mmedge.SpecError, match=f"{name.split(':')[0]}.*(cannot be imported|failed: 'weights' .*raising.py:2)"
    ):
        build_model(load_checkpoint(tmp_path / "a.safetensors"))
