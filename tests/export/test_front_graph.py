"""The front end as a graph gives what the runtime's front end gives, within bounds that follow from float32."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from mmedge_export.front_graph import FRONT_END, behind_front_end, features_of, front_end_model
from mmedge_export.front_tables import front_tables
from mmedge_export.front_tolerance import front_end_bounds
from mmedge_export.quantize.variants import VARIANTS, made_stage, prepared
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from mmedge.backends.ort import OrtSession
from mmedge.calibration import TensorRange
from mmedge.errors import SpecError
from mmedge.features.audio import AudioFrontEnd
from mmedge.features.settings import AudioSettings, mel_settings
from mmedge.manifest import StagePlan


def like(opset=20):
    graph = helper.make_graph([], "like", [], [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


KNOWN_TO_TENSORRT = {
    *("Add", "Concat", "Conv", "Div", "Gather", "Log", "MatMul", "Max", "Mul", "ReduceMax", "ReduceSum", "Reshape"),
    *("Sqrt", "Sub", "Transpose"),
}
FRONT_ENDS = {
    "torchaudio": {},
    "torchaudio mfcc": {"coefficients": 13},
    "torchaudio padded with zeros": {"pad_mode": "constant", "n_fft": 512, "frame_length": 401, "hop_length": 160},
    "librosa": {"n_fft": 1024, "hop_length": 256},
    "librosa mfcc": {"n_fft": 1024, "coefficients": 13},
    "kaldi": {},
    "kaldi mfcc": {"coefficients": 13},
    "kaldi with energy": {"coefficients": 13, "energy": "frame"},
    "kaldi centred": {"center": True},
    "kaldi with gaps": {"hop_length": 700},
    "htk": {},
    "htk mfcc": {"coefficients": 13},
    "htk with energy": {"coefficients": 13, "energy": "frame"},
    "whisper": {},
    "whisper not centred": {"center": False},
    "python_speech_features": {},
    "python_speech_features mfcc": {"coefficients": 13},
    "python_speech_features without emphasis": {"preemphasis": 0.0, "coefficients": 13},
}


def audio(name, window=4000, **options):
    mel = options.pop("mel", None) or mel_settings(name.split()[0], 16000, **FRONT_ENDS[name])
    known = {"layout": "TM", "features": "mfcc" if mel.coefficients else "log-mel", **options}
    return AudioSettings(rate_hz=16000, window_samples=window, hop_samples=320, mel=mel, **known)


def sounds(window=4000):
    """Speech-like noise that swells, digital silence with a click, a loud tone over nothing, an offset."""
    random = np.random.default_rng(5)
    noise = random.standard_normal(window) * np.linspace(1e-4, 0.3, window)
    click = np.zeros(window)
    click[window // 2] = 0.9
    tone = 0.9 * np.sin(2 * np.pi * 1000 * np.arange(window) / 16000)
    return [each.astype(np.float32) for each in (noise, click, tone, 0.5 + noise / 10)]


def computed(model, samples):
    session = OrtSession(model.SerializeToString(), threads=1, name="front end")
    return session.run({"sound": samples[None]})[model.graph.output[0].name][0]


def assert_within_bounds(made, samples, port):
    bounds, host = front_end_bounds(samples, port), AudioFrontEnd(port).window(samples)
    assert made.shape == bounds.values.shape == port.shape
    np.testing.assert_array_less(np.abs(host - bounds.values), bounds.radius)
    np.testing.assert_array_less(np.abs(made.astype(np.float64) - bounds.values), bounds.radius)


@pytest.mark.parametrize("name", FRONT_ENDS)
@pytest.mark.parametrize("window", [4000, 3777])
def test_the_graph_gives_what_the_host_gives_within_the_bounds_of_float32(name, window):
    port = audio(name, window)
    model = front_end_model("sound", port, like())
    for samples in sounds(window):
        assert_within_bounds(computed(model, samples), samples, port)


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_the_bounds_are_narrow_where_there_is_no_silence(name):
    samples = np.random.default_rng(5).uniform(-0.5, 0.5, 4000).astype(np.float32)
    bounds = front_end_bounds(samples, audio(name))
    assert np.median(bounds.radius) < 1e-3 * np.abs(bounds.values).max()


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_every_node_is_one_that_tensorrt_knows_and_is_named_after_the_front_end(name):
    graph = front_end_model("sound", audio(name), like()).graph
    assert {node.op_type for node in graph.node} <= KNOWN_TO_TENSORRT
    assert all(each.name.startswith(FRONT_END) for each in (*graph.node, *graph.initializer))


@pytest.mark.parametrize("name", ["kaldi", "torchaudio mfcc", "whisper"])
def test_the_reference_evaluator_of_onnx_agrees(name):
    port, samples = audio(name), sounds()[0]
    made = ReferenceEvaluator(front_end_model("sound", port, like())).run(None, {"sound": samples[None]})
    assert_within_bounds(made[0][0], samples, port)


@pytest.mark.parametrize("layout", ["TM", "MT", "CMT", "TMC", "TCM"])
@pytest.mark.parametrize("values", [1, 13])
def test_layout_mean_and_std_are_those_of_the_port(layout, values):
    mean, std = tuple(np.linspace(-5, 5, values)), tuple(np.linspace(-2, 3, values) + 0.1)
    port = audio("kaldi mfcc", layout=layout, mean=mean, std=std)
    assert_within_bounds(computed(front_end_model("sound", port, like()), sounds()[0]), sounds()[0], port)


OVERRIDES = {
    "center": st.booleans(),
    "pad_mode": st.sampled_from(["reflect", "constant"]),
    "last_frame": st.sampled_from(["whole", "padded", "dropped"]),
    "preemphasis_over": st.sampled_from(["frame", "window"]),
    "remove_dc": st.booleans(),
    "power": st.sampled_from([1.0, 2.0]),
    "log": st.sampled_from(["ln", "log10", "db", "whisper"]),
    "floor_mode": st.sampled_from(["max", "add"]),
    "top_db": st.sampled_from([0.0, 30.0]),
    "energy": st.sampled_from(["none", "frame", "spectrum"]),
    "coefficients": st.sampled_from([0, 5]),
    "hop_length": st.sampled_from([100, 777]),
    "fft_padding": st.sampled_from(["end", "both"]),
}


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    convention=st.sampled_from(["torchaudio", "kaldi", "htk", "whisper", "python_speech_features"]),
    overrides=st.fixed_dictionaries({}, optional=OVERRIDES),
    window=st.sampled_from([4000, 3777, 1601]),
)
def test_what_is_not_refused_is_computed_as_the_host_does(convention, overrides, window):
    try:
        mel = mel_settings(convention, 16000, mels=20, **overrides)
        port = audio("kaldi", window, mel=mel)
        model = front_end_model("sound", port, like())
    except SpecError:
        reject()
    assert_within_bounds(computed(model, sounds(window)[0]), sounds(window)[0], port)


@pytest.mark.parametrize("opset", [13, 17, 18])
def test_graphs_of_older_opsets_get_one_too(opset):
    port = audio("librosa mfcc")
    assert_within_bounds(computed(front_end_model("sound", port, like(opset)), sounds()[0]), sounds()[0], port)


def test_a_constant_that_is_a_little_wrong_is_out_of_bounds():
    port, samples = audio("kaldi"), sounds()[0]
    wrong = replace(port, mel=replace(port.mel, low_hz=20.1))
    bounds = front_end_bounds(samples, port)
    made = computed(front_end_model("sound", wrong, like()), samples)
    assert (np.abs(made - bounds.values) > 10 * bounds.radius).any()


def test_the_ten_bits_of_tf32_are_out_of_bounds():
    port, samples = audio("whisper"), sounds()[0]
    model, bounds = front_end_model("sound", port, like()), front_end_bounds(sounds()[0], port)
    kernel = next(node.input[1] for node in model.graph.node if node.op_type == "Conv")
    for tensor in model.graph.initializer:
        if tensor.name == kernel:
            tensor.CopyFrom(numpy_helper.from_array(_ten_bits(numpy_helper.to_array(tensor)), kernel))
    made = computed(model, _ten_bits(samples))
    assert (np.abs(made - bounds.values) > 10 * bounds.radius).any()


def _ten_bits(values):
    fraction, exponent = np.frexp(values)
    return np.ldexp(np.rint(fraction * 2**11) / 2**11, exponent).astype(np.float32)


def on_features(port, nodes, inputs=()):
    shape = [1, *replace(port, front_end="host").shape]
    weights = np.random.default_rng(6).standard_normal((shape[-1], shape[-1])).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("sound", TensorProto.FLOAT, shape), *inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights, "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=8)


def test_a_branch_that_reads_the_port_reads_its_features():
    port, samples = audio("kaldi"), sounds()[0]
    branches = {}
    for name, operator in (("then_branch", "Neg"), ("else_branch", "Identity")):
        made = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        branches[name] = helper.make_graph([helper.make_node(operator, ["sound"], [name])], name, [], [made])
    loud = helper.make_tensor_value_info("loud", TensorProto.BOOL, [])
    model = on_features(port, [helper.make_node("If", ["loud"], ["y"], **branches)], [loud])
    joined = behind_front_end(model, "sound", port)
    session = OrtSession(joined.SerializeToString(), threads=1, name="branches")
    made = session.run({"sound": samples[None], "loud": np.array(True)})["y"][0]
    assert_within_bounds(-made, samples, port)
    assert features_of("sound") not in str(model)


@pytest.mark.parametrize("family", VARIANTS)
def test_a_variant_of_fewer_bits_leaves_the_front_end_as_it_is(family):
    port = audio("whisper", mel=mel_settings("whisper", 16000, mels=128))
    model = on_features(port, [helper.make_node("MatMul", ["sound", "weights"], ["y"])])
    stage = prepared(behind_front_end(model, "sound", port).SerializeToString())
    values = TensorRange(low=-20, high=20, entropy=20, percentile=20, mse=20)
    ranges = {name: values for node in stage.graph.node for name in (*node.input, *node.output)}
    plan = StagePlan(precision=VARIANTS[family].precisions[0])
    made = made_stage(stage, ranges, plan, family)
    assert made.SerializeToString() != stage.SerializeToString()
    assert _front_end(made) == _front_end(stage)


def _front_end(model):
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.name.startswith(FRONT_END)]
    read = [numpy_helper.to_array(weights[name]).tolist() for node in nodes for name in node.input if name in weights]
    return [(node.op_type, list(node.input)) for node in nodes], read


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("python_speech_features", {"energy": "frame", "coefficients": 13}, 'energy = "frame" of a padded last frame'),
        ("kaldi", {"energy": "frame", "coefficients": 1}, "coefficients = 1 with energy"),
        ("librosa", {"n_fft": 8192}, "n_fft = 8192 would put a kernel of 256 MiB in the graph"),
    ],
)
def test_what_a_graph_cannot_compute_is_refused_by_name(name, options, text):
    mel = mel_settings(name, 16000, **options)
    features = "mfcc" if mel.coefficients else "log-mel"
    port = AudioSettings(rate_hz=16000, window_samples=16000, hop_samples=320, mel=mel, features=features, layout="TM")
    with pytest.raises(SpecError, match=text):
        front_tables(port)
    with pytest.raises(SpecError, match="a waveform has no front end"):
        front_tables(AudioSettings(rate_hz=16000, window_samples=16000, hop_samples=320))


@pytest.mark.trt
@pytest.mark.parametrize("name", ["kaldi with energy", "librosa mfcc", "whisper", "python_speech_features mfcc"])
def test_tensorrt_rtx_builds_it_for_an_ampere_card(name):
    trt = pytest.importorskip("tensorrt_rtx")
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    assert parser.parse(front_end_model("sound", audio(name), like()).SerializeToString())
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    assert builder.build_serialized_network(network, config) is not None
