"""Gates over the sensors: found, proved, weighed, and compared with what torch makes of its own gates times weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import gate_models
import numpy as np
import onnx
import pytest
import torch
from mmedge_export.checkpoint import save_checkpoint
from mmedge_export.cut import cut_graph
from mmedge_export.gates.find import Weighed, weigh_gates
from mmedge_export.graph import extract
from mmedge_export.source import open_source
from mmedge_export.spec import DeclaredGates, read_spec
from mmedge_export.weights import read_graph
from onnx import helper, numpy_helper

from mmedge.backends.ort import OrtSession
from mmedge.errors import SpecError
from mmedge.features.settings import TensorSettings
from mmedge.gates import GATE_VALUES, GATE_WEIGHTS
from mmedge.manifest import Port

KINDS = {
    **dict.fromkeys(["softmax", "crossed", "stacked", "attention", "tokens"], "softmax"),
    "complement": "complement",
    **dict.fromkeys(["sigmoids", "vector"], "sigmoid"),
}
Arrays = dict[str, np.ndarray]


class Every(NamedTuple):
    """All forms, in torch and in one graph, and samples of the sensors."""

    model: torch.nn.Module
    graph: onnx.ModelProto
    samples: list[Arrays]

    def alone(self, form: str) -> onnx.ModelProto:
        """The graph of one form."""
        outputs = [f"scores_{form}", f"gates_{form}"]
        return extract(self.graph, range(len(self.graph.graph.node)), self.sensors(form), outputs, form)

    def sensors(self, form: str) -> list[str]:
        return list(self.samples[0])[: gate_models.FORMS[form]]

    def weigh(self, form: str, folder: Path, declared: Sequence[str] = ()) -> Weighed:
        output = DeclaredGates(output=f"gates_{form}", ports=tuple(declared)) if declared else None
        samples = [{name: sample[name] for name in self.sensors(form)} for sample in self.samples]
        return weigh_gates(self.alone(form), self.sensors(form), samples, folder, output)

    def torch(self, form: str, weights: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Scores and gates in float64, the gates times the weights."""
        given = [torch.from_numpy(self.samples[0][name]).double() for name in self.sensors(form)]
        made = self.model.forms[form](*given, weights=torch.tensor(weights, dtype=torch.float64))
        return tuple(each.detach().numpy() for each in made)

    def run(self, form: str, model: onnx.ModelProto, weights: Sequence[float] | None = None) -> Arrays:
        feed = {name: self.samples[0][name] for name in self.sensors(form)}
        feed |= {} if weights is None else {GATE_WEIGHTS: np.array(weights, np.float32)}
        return OrtSession(model.SerializeToString(), threads=1, name=form).run(feed)


@pytest.fixture(scope="module")
def every(tmp_path_factory) -> Every:
    folder = tmp_path_factory.mktemp("gates")
    torch.manual_seed(5)
    model, path = gate_models.every().eval(), folder / "gated.safetensors"
    save_checkpoint(path, model, gate_models.spec_text())
    source, random = open_source(path, None, trust_pickle=False), np.random.default_rng(5)
    sizes = gate_models.SIZES.items()
    samples = [{n: random.normal(size=(1, size)).astype(np.float32) for n, size in sizes} for _ in range(3)]
    source.write_graph(samples[0], folder / "whole.onnx")
    return Every(model.double(), read_graph(folder / "whole.onnx"), samples)


@pytest.mark.parametrize("form", KINDS)
def test_weighed_gates_give_what_torch_makes_of_its_gates_times_the_weights(every, tmp_path, form):
    found = every.weigh(form, tmp_path)
    assert found.gates is not None, found.note
    assert (found.gates.kind, list(found.gates.ports)) == (KINDS[form], every.sensors(form))
    count, plain = len(found.gates.ports), every.run(form, every.alone(form))
    same = every.run(form, found.model, np.ones(count))
    for name in (f"scores_{form}", f"gates_{form}"):
        np.testing.assert_array_equal(same[name], plain[name])  # to the last bit
    random = np.random.default_rng(1)
    for weights in [*random.uniform(0, 2, (6, count)), np.eye(count)[0], 2 * np.eye(count)[1]]:
        scores, gates = every.torch(form, weights)
        made = every.run(form, found.model, weights)
        np.testing.assert_allclose(made[f"scores_{form}"], scores, atol=2e-6)  # float32 of values of about one
        np.testing.assert_allclose(made[f"gates_{form}"], gates, atol=1e-6)
        np.testing.assert_allclose(made[GATE_VALUES], gates[0], atol=1e-6)


@pytest.mark.parametrize("form", ["complement", "softmax"])
def test_the_last_sensor_is_believed_wholly_even_if_its_gate_was_shut(every, tmp_path, form):
    model = every.weigh(form, tmp_path).model
    for tensor in model.graph.initializer:  # gates that believe the first sensor, as far as float32 goes
        if "look" in tensor.name and tensor.name.endswith("bias"):
            values = onnx.numpy_helper.to_array(tensor).copy()
            values[: len(values) // len(every.sensors(form))] += 300
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    count = len(every.sensors(form))
    np.testing.assert_array_equal(every.run(form, model, np.ones(count))[GATE_VALUES], np.eye(count)[0])
    np.testing.assert_array_equal(every.run(form, model, np.eye(count)[-1])[GATE_VALUES], np.eye(count)[-1])


@pytest.mark.parametrize(
    ("form", "told"),
    [("beside", ""), ("experts", "could not be proved"), ("twice", "could not be proved"), ("own", "")],
)
def test_what_is_no_gate_of_a_sensor_or_not_the_only_one_is_left_alone(every, tmp_path, form, told):
    found = every.weigh(form, tmp_path)
    assert found.gates is None
    assert [value.name for value in found.model.graph.input] == every.sensors(form)
    assert told in found.note
    assert bool(found.note) == bool(told)


@pytest.mark.parametrize("form", ["own", "crossed"])
def test_gates_that_a_spec_names_are_taken(every, tmp_path, form):
    gates = every.weigh(form, tmp_path, ["image", "audio"]).gates
    assert gates is not None
    assert gates.ports == ("image", "audio")


@pytest.mark.parametrize(
    ("form", "ports"),
    [("crossed", ["audio", "image"]), ("experts", ["image", "audio"]), ("softmax", ["image", "audio"])],
)
def test_a_spec_that_says_what_is_not_so_is_refused(every, tmp_path, form, ports):
    with pytest.raises(SpecError, match=f"gates_{form} is said to be gates of {', '.join(ports)}"):
        every.weigh(form, tmp_path, ports)


def test_of_two_sets_of_gates_the_spec_says_which(every, tmp_path):
    names = [f"{kind}_{form}" for form in ("crossed", "stacked") for kind in ("scores", "gates")]
    both = extract(every.graph, range(len(every.graph.graph.node)), ["image", "audio"], names, "both")
    samples = [{name: sample[name] for name in ("image", "audio")} for sample in every.samples]
    found = weigh_gates(both, ["image", "audio"], samples, tmp_path)
    assert found.gates is None
    assert "2 sets of gates" in found.note
    declared = DeclaredGates(output="gates_stacked", ports=("image", "audio"))
    found = weigh_gates(both, ["image", "audio"], samples, tmp_path, declared)
    made, plain = every.run("stacked", found.model, [1.0, 0.0]), every.run("stacked", both)
    np.testing.assert_array_equal(made["gates_stacked"], [[1, 0]])
    np.testing.assert_array_equal(made["scores_crossed"], plain["scores_crossed"])


def test_gates_inside_of_encoders_are_refused_as_nothing_would_be_left_to_the_encoders(tmp_path):
    nodes = []
    for port in ("image", "audio"):
        nodes += [
            helper.make_node("MatMul", [port, "look"], [f"{port}.raw"]),
            helper.make_node("Sigmoid", [f"{port}.raw"], [f"{port}.gate"]),
            helper.make_node("Mul", [port, f"{port}.gate"], [f"{port}.gated"]),
            helper.make_node("MatMul", [f"{port}.gated", "mix"], [f"{port}.seen"]),
        ]
    nodes += [
        helper.make_node("Concat", ["image.gate", "audio.gate"], ["gates"], axis=1),
        helper.make_node("Add", ["image.seen", "audio.seen"], ["sum"]),
    ]
    random = np.random.default_rng(2)
    sizes = {"look": (16, 1), "mix": (16, 16)}
    weights = [numpy_helper.from_array(random.normal(size=s).astype(np.float32), n) for n, s in sizes.items()]
    ends = {"image": [1, 16], "audio": [1, 16], "sum": [1, 16], "gates": [1, 2]}
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in ends.items()]
    graph = helper.make_graph(nodes, "inside", values[:2], values[2:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    ports = {name: Port(tensor=TensorSettings(shape=(16,), rate_hz=50)) for name in ("image", "audio")}
    samples = [{name: random.normal(size=(1, 16)).astype(np.float32) for name in ports} for _ in range(2)]
    assert cut_graph(model, ports, samples, tmp_path).gates is None  # they look at one sensor each
    declared = DeclaredGates(output="gates", ports=("image", "audio"))
    with pytest.raises(SpecError, match="its gates lie inside of encoders"):
        cut_graph(model, ports, samples, tmp_path, declared=declared)


@pytest.mark.parametrize(
    ("gates", "told"),
    [
        ('["image"]', "is not a list of several of image, audio"),
        ('["image", "sonar"]', "is not a list of several of image, audio"),
        ('["image", "image"]', "is not a list of several of image, audio"),
        ('"image"', "is not a list of several of image, audio"),
    ],
)
def test_a_spec_names_the_sensors_of_its_gates(gates, told):
    text = gate_models.spec_text("own")
    with pytest.raises(SpecError, match=told):
        read_spec(text.replace("[outputs.gates]\n", f"[outputs.gates]\ngates = {gates}\n"), "SPEC.toml")
