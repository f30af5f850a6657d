"""forward() takes and gives what its author wanted; the graph has flat names."""

import copy
import random

import numpy as np
import pytest
import torch
from fusion_models import late, spec_text
from mmedge_export.call import Call
from mmedge_export.isolate import run_isolated
from mmedge_export.spec import read_spec
from mmedge_export.trace import reference_outputs, rounds_inside, signatures, trace
from trap_models import Counting, Gives, Positional, Takes, WeightNorm, copied

import mmedge

OUTPUTS = ["event", "level"]


@pytest.fixture
def inputs():
    generator = np.random.default_rng(4)
    return {
        "image": generator.random((1, 3, 16, 16), dtype=np.float32),
        "audio": generator.standard_normal((1, 48, 20)).astype(np.float32),
    }


def same_weights(model, like):
    model.load_state_dict(like.state_dict())
    return model


def reference(model, inputs, call=None):
    return reference_outputs(model, [inputs], OUTPUTS, torch.float32, call or Call())


@pytest.mark.parametrize(
    ("model", "call"),
    [
        (Takes("list"), Call(style="list", constants={"training": False})),
        (Takes("dict"), Call(style="dict", argument="batch", constants={"training": False})),
        (Takes("dataclass"), Call(style="dataclass", type="trap_models:Batch", constants={"training": False})),
        (Positional(), Call(style="positional", constants={"scale": 1.0})),
    ],
    ids=lambda value: value.style if isinstance(value, Call) else "",
)
def test_inputs_come_in_what_forward_wants_them_in(model, call, inputs, tmp_path):
    plain = late()
    expected = reference(plain, inputs)
    given = reference(same_weights(model, plain), inputs, call)
    assert all(np.array_equal(given[name], expected[name]) for name in OUTPUTS)
    if call.style == "dataclass":  # the furthest from plain arguments stands for all: tracing takes a second
        trace(model, inputs, OUTPUTS, tmp_path / "whole.onnx", call)
        graph = run_isolated(tmp_path / "whole.onnx", [inputs])
        np.testing.assert_allclose(graph["event"][:, 0], expected["event"], atol=1e-5)  # another order of summation


@pytest.mark.parametrize(
    "style",
    [
        *("tuple", "list", "dict", "dataclass", "named tuple", "ModelOutput"),
        *("tuple in tuple", "dict in tuple", "dict in dict"),
    ],
)
def test_outputs_are_taken_by_key_and_else_in_their_order(style, inputs, tmp_path):
    plain = late()
    model = same_weights(Gives(style), plain)
    expected = reference(plain, inputs)
    assert all(np.array_equal(array, expected[name]) for name, array in reference(model, inputs).items())
    if style == "ModelOutput":
        trace(model, inputs, OUTPUTS, tmp_path / "whole.onnx")
        graph = run_isolated(tmp_path / "whole.onnx", [inputs])
        np.testing.assert_allclose(graph["event"][:, 0], expected["event"], atol=1e-5)  # another order of summation


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("too many", r"returns 3 tensors, the spec has 2 output\(s\): event, level"),
        ("other names", "returns a, b, the spec expects event, level"),
        ("nothing", "returns NoneType"),
    ],
)
def test_other_outputs_than_the_spec_s_are_listed(style, text, inputs):
    with pytest.raises(mmedge.SpecError, match=text):
        reference(Gives(style), inputs)


def test_a_class_that_is_not_there_is_named(inputs):
    with pytest.raises(mmedge.SpecError, match=r"model\.call\.type = 'trap_models:Bach' cannot be imported"):
        reference(late(), inputs, Call(style="dataclass", type="trap_models:Bach"))


def seeded():
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the global generator, as a user's own script may use it
    random.seed(5)


def next_random_numbers():
    return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002


@pytest.mark.parametrize("model", [Counting(), Counting().eval().to(torch.bfloat16)])
def test_the_users_module_is_left_as_it_was(model, inputs, tmp_path):
    model.drop.train()
    before = copied(model)
    seeded()
    expected = next_random_numbers()
    seeded()
    program = trace(model, inputs, OUTPUTS, tmp_path / "whole.onnx")
    program.values([inputs], OUTPUTS, torch.float64)
    reference_outputs(model, [inputs], OUTPUTS, torch.float64)
    rounds_inside(model, inputs, OUTPUTS)
    signatures(model, inputs, OUTPUTS)
    assert next_random_numbers() == expected
    after = copied(model)
    states = before.pop("state"), after.pop("state")
    assert before == after
    assert all(
        kind == states[1][name][0] and torch.equal(t, states[1][name][1]) for name, (kind, t) in states[0].items()
    )


def test_a_module_that_python_cannot_copy_is_copied(inputs):
    model = WeightNorm()
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(model)
    with torch.inference_mode():
        expected = model.eval()(*map(torch.from_numpy, inputs.values()))[0]
    np.testing.assert_array_equal(reference(model, inputs)["event"], expected)


def test_a_call_is_read_from_the_spec():
    table = '[model.call]\nstyle = "dict"\nargument = "batch"\nconstants = { training = false }\n[inputs.image]'
    spec = read_spec(spec_text("late").replace("[inputs.image]", table), "SPEC.toml")
    assert spec.call == Call(style="dict", argument="batch", constants={"training": False})


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ('style = "tuple"', "model.call.style is 'tuple', expected one of keyword"),
        ("style = 3", "model.call.style is 3, expected str"),
        ('styl = "list"', "model.call.styl is not known; expected style"),
        ('style = "dataclass"', "model.call.type goes with"),
        ('type = "m:Batch"', "model.call.type goes with"),
        ('argument = "batch"', "model.call.argument is for list"),
        ('style = "list"\nargument = "x"\nconstants = { x = 1 }', "which takes the inputs"),
        ("constants = { image = 1 }", "image is an input and a constant"),
        ("constants = 3", "model.call.constants is 3, expected dict"),
    ],
)
def test_a_mistake_in_the_call_is_named(lines, text):
    with pytest.raises(mmedge.SpecError, match=text) as refused:
        read_spec(spec_text("late").replace("[inputs.image]", f"[model.call]\n{lines}\n[inputs.image]"), "SPEC.toml")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "x y"])
def test_a_name_that_could_leave_the_folder_is_refused(name):
    with pytest.raises(mmedge.SpecError, match="cannot be the name"):
        read_spec(spec_text("late").replace("[inputs.image]", f'[inputs."{name}"]'), "SPEC.toml")


def test_an_input_and_an_output_cannot_share_a_name():
    with pytest.raises(mmedge.SpecError, match="image is the name of an input and of an output"):
        read_spec(spec_text("late").replace("[outputs.level]", "[outputs.image]"), "SPEC.toml")
