"""An export whose graph computes the features of its sound, beside the same export whose host does."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from fusion_models import spec_text
from mmedge_export.cut import cut_graph
from mmedge_export.front_stages import place_front_ends
from mmedge_export.parity.comparison import require_parity
from mmedge_export.peers import write_whole
from mmedge_export.pipeline import ExportOptions, export
from mmedge_export.samples import port_tensors
from mmedge_export.spec import read_spec
from onnx import TensorProto, helper, numpy_helper
from onnx_models import late_graph

import mmedge
from mmedge.backends.ort import OrtSession
from mmedge.bundle import open_bundle
from mmedge.commands.check import replay_golden
from mmedge.feeds import front_end
from mmedge.manifest import Port

IN_GRAPH = 'modality = "audio"\nfront_end = "graph"'
OFF = 1e-5  # measured 1e-6; outputs are up to 8


def exported(folder, where, model=None):
    text = spec_text("late").replace('activation = "softmax"', "")  # which would hide what differs
    text = text.replace('modality = "audio"', IN_GRAPH) if where == "graph" else text
    (folder / f"{where}.toml").write_text(text)
    onnx.save(model or late_graph(), folder / "late.onnx")
    options = ExportOptions(spec=folder / f"{where}.toml", random_samples=True, keep_whole=folder / f"{where}.onnx")
    return export(folder / "late.onnx", folder / f"{where}.mmedge", options)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("front")
    return folder, exported(folder, "host"), exported(folder, "graph")


def sensors(seed=1):
    random = np.random.default_rng(seed)
    sound = (random.standard_normal(8000) * np.linspace(1e-3, 0.3, 8000)).astype(np.float32)
    return {"image": random.integers(0, 256, (16, 16, 3), dtype=np.uint8), "audio": sound}


def test_the_port_takes_samples_and_keeps_its_constants(both):
    _, host, graph = both
    port = graph.manifest.ports["audio"]
    assert (port.shape, graph.manifest.tensors["audio"].shape) == ((8000,), (1, 8000))
    assert replace(port.audio, front_end="host") == host.manifest.ports["audio"].audio
    assert [stage.name for stage in graph.manifest.stages] == ["image", "audio", "head"]
    assert graph.manifest.macs["audio"] > host.manifest.macs["audio"]
    assert "audio is encoded a window at a time: its front end is in the graph" in graph.manifest.notes


def test_the_proof_compares_features_and_outputs_with_those_of_the_host(both):
    _, host, graph = both
    rows = graph.parity.comparisons[len(host.parity.comparisons) :]
    assert [row.tensor for row in rows] == ["audio.front_end", "event", "level"]
    assert all(row.holds and 0 < row.tolerance < 1e-3 * row.scale for row in rows)
    assert [row.what for row in graph.parity.comparisons[: -len(rows)]] == [r.what for r in host.parity.comparisons]


def test_decisions_are_those_of_the_host(both):
    folder = both[0]
    with mmedge.load(folder / "host.mmedge") as host, mmedge.load(folder / "graph.mmedge") as graph:
        for seed in range(3):
            expected, made = host.infer(**sensors(seed)), graph.infer(**sensors(seed))
            for name in expected.outputs:
                np.testing.assert_allclose(made.outputs[name], expected.outputs[name], rtol=0, atol=OFF)


@pytest.mark.parametrize("tick", ["audio", "camera", "33hz"])
def test_a_stream_decides_on_the_windows_of_the_host(both, tick):
    random = np.random.default_rng(2)
    sound = (0.2 * random.standard_normal(24000)).astype(np.float32)
    decisions = {}
    for where in ("host", "graph"):
        with mmedge.load(both[0] / f"{where}.mmedge") as model, model.stream(tick=tick) as stream:
            for i in range(20):
                stream.push_frame(sensors(i)["image"], i * 75_000_000)
                stream.push_audio(sound[1200 * i : 1200 * (i + 1)], i * 75_000_000)
            decisions[where] = stream.poll()
    assert len(decisions["host"]) == len(decisions["graph"]) > 8
    for expected, made in zip(decisions["host"], decisions["graph"], strict=True):
        assert (made.t_ns, made.age_ms, made.fresh) == (expected.t_ns, expected.age_ms, expected.fresh)
        np.testing.assert_allclose(made.outputs["event"], expected.outputs["event"], rtol=0, atol=OFF)


def test_the_golden_replay_and_the_whole_graph_take_samples(both):
    folder, given = both[0], sensors()
    rows = {row.tensor: row for row in replay_golden(open_bundle(folder / "graph.mmedge"))}
    assert all(row.holds for row in rows.values())
    assert {"event", "level"} <= rows.keys()
    with mmedge.load(folder / "graph.mmedge") as model:
        expected = model.infer(**given)
    image = front_end(both[2].manifest.ports["image"]).window(given["image"])[None]
    whole = OrtSession((folder / "graph.onnx").read_bytes(), threads=1, name="whole")
    made = whole.run({"image": image, "audio": given["audio"][None]})
    np.testing.assert_allclose(made["level"][0], expected.outputs["level"], rtol=0, atol=OFF)


def gated_graph():
    """Sound with an encoder of its own, and a head that looks at the spectrogram again where the picture says."""
    random = np.random.default_rng(3)
    shapes = {"ws": (3, 20), "wh": (20, 3), "wa": (20, 40), "wb": (40, 3), "wl": (20, 1)}
    weights = {name: 0.3 * random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    weights |= {"row": np.array([1, 1, 3]), "flat": np.array([1, 20])}
    nodes = [
        ("GlobalAveragePool", ["image"], ["pooled"], {}),
        ("Reshape", ["pooled", "row"], ["rows"], {}),
        ("MatMul", ["rows", "ws"], ["seen"], {}),
        ("Reshape", ["seen", "flat"], ["seen_flat"], {}),
        ("MatMul", ["seen_flat", "wl"], ["level"], {}),
        ("MatMul", ["audio", "wa"], ["a"], {}),
        ("Relu", ["a"], ["ra"], {}),
        ("MatMul", ["ra", "wb"], ["heard"], {}),
        ("Mul", ["audio", "seen"], ["gated"], {}),
        ("MatMul", ["gated", "wh"], ["looked"], {}),
        ("Add", ["heard", "looked"], ["both"], {}),
        ("ReduceMean", ["both"], ["event"], {"axes": [1], "keepdims": 0}),
    ]
    shapes = {"image": [1, 3, 16, 16], "audio": [1, 48, 20], "level": [1, 1], "event": [1, 3]}
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    graph = helper.make_graph(
        [helper.make_node(kind, *tensors, **keys) for kind, *tensors, keys in nodes],
        "gated",
        values[:2],
        values[2:],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_features_that_the_head_reads_too_are_made_once_by_a_stage_of_their_own(tmp_path):
    manifest, given = exported(tmp_path, "graph", gated_graph()).manifest, sensors()
    assert [stage.name for stage in manifest.stages] == ["audio.front_end", "image", "audio", "head"]
    assert manifest.stages[2].inputs == ("audio.front_end",)
    assert "audio.front_end" in manifest.stages[-1].inputs
    assert all(row.holds for row in replay_golden(open_bundle(tmp_path / "graph.mmedge")))
    ports = read_spec(spec_text("late"), "SPEC.toml").ports
    on_host = {name: front_end(port).window(given[name])[None] for name, port in ports.items()}
    expected = OrtSession(gated_graph().SerializeToString(), threads=1, name="whole").run(on_host)["event"][0]
    with mmedge.load(tmp_path / "graph.mmedge") as model:
        np.testing.assert_allclose(model.infer(**given).outputs["event"], expected, rtol=0, atol=OFF)


def test_features_that_differ_from_those_of_the_host_are_refused(both):
    folder = both[0]
    spec = read_spec((folder / "graph.toml").read_text(), "graph.toml")
    audio = spec.ports["audio"].audio
    other = Port(audio=replace(audio, mel=replace(audio.mel, preemphasis=0.96)))
    raw = {"image": sensors()["image"][None], "audio": sensors()["audio"]}
    fitting = [(raw, port_tensors(spec.ports, raw))]
    deviating = [(raw, port_tensors({**spec.ports, "audio": other}, raw))]
    cut = cut_graph(late_graph(batch=1), spec.ports, [fitting[0][1]], folder, spec.in_graph)
    require_parity(place_front_ends(cut, spec, fitting, folder).comparisons)
    with pytest.raises(mmedge.ParityError, match="the host's front end against the graph's: audio.front_end differs"):
        require_parity(place_front_ends(cut, spec, deviating, folder).comparisons)


SOUND = '[model]\nname = "m"\n[inputs.a]\nmodality = "audio"\nrate_hz = 16000\nwindow_ms = 1000\n{}\n[outputs.y]\n'
LOG_MEL = 'features = "log-mel"\nlayout = "TM"\nfront_end = "graph"\n'


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ('front_end = "graph"', "inputs.a: .*a waveform goes to the graph as it is"),
        ('front_end = "gpu"', "front_end = 'gpu' is not one of host, graph"),
        (LOG_MEL + 'convention = "librosa"\nn_fft = 8192', "inputs.a: n_fft = 8192 would put a kernel of 256 MiB in"),
        ('front_end = "graph"\nfeatures = "log-mel"\nlayout = "TM"', "inputs.a.convention is missing"),
    ],
)
def test_a_spec_that_asks_for_what_cannot_be_is_refused_in_one_line(keys, text):
    with pytest.raises(mmedge.SpecError, match=text) as caught:
        read_spec(SOUND.format(keys), "SPEC.toml")
    assert "\n" not in str(caught.value)


def test_comparisons_with_the_checkpoint_are_refused_because_it_takes_features(both):
    folder = both[0]
    with pytest.raises(mmedge.InputError, match="computes the features of audio in its graph, .* takes features"):
        write_whole(folder / "late.onnx", folder / "host.toml", open_bundle(folder / "graph.mmedge"), folder / "w.onnx")
