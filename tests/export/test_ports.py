import json
import subprocess
import sys

import numpy as np
import port_models
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmedge_export.checkpoint import save_checkpoint
from mmedge_export.pipeline import ExportOptions, export

import mmedge
from mmedge.bundle import open_bundle
from mmedge.commands.check import replay_golden
from mmedge.cost import default_rates, measure_stages, predict_saving
from mmedge.feeds import front_end
from mmedge.types import NS

HOP_NS = NS // 50
WINDOW = 8000  # samples
ATOL = 1e-5  # float32 in another order of summation


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ports")


def exported(folder, name):
    """The torch module and its bundle; made once."""
    torch.manual_seed(5)
    module = getattr(port_models, name)().eval()
    bundle = folder / f"{name}.mmedge"
    if not bundle.exists():
        save_checkpoint(folder / f"{name}.safetensors", module, port_models.spec_text(name))
        export(folder / f"{name}.safetensors", bundle, ExportOptions(random_samples=True))
    return module, bundle


@pytest.fixture(scope="module")
def robot(folder):
    return exported(folder, "Robot")


@pytest.fixture(scope="module")
def listener(folder):
    return exported(folder, "Listener")


@pytest.fixture(scope="module")
def watcher(folder):
    return exported(folder, "Watcher")


@pytest.fixture(scope="module")
def pilot(folder):
    tokenizers = pytest.importorskip("tokenizers")
    words = ["[UNK]", "turn", "left", "right", "stop", "go", "now", "slowly", "[PAD]"]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "words.json"))
    return exported(folder, "Pilot")


def sound(seed, count):
    return (0.1 * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)


def scan(seed):
    return np.random.default_rng(seed).standard_normal((4, 40)).astype(np.float32)


def torch_outputs(module, **arrays):
    with torch.inference_mode():
        return module(**{name: torch.from_numpy(array[np.newaxis]) for name, array in arrays.items()})


def stages(bundle):
    return {stage.name: stage for stage in open_bundle(bundle).manifest.stages}


@settings(max_examples=8, deadline=None)
@given(
    tick=st.sampled_from(["audio", "camera", "tensor", "any", "40hz"]),
    camera_hz=st.integers(5, 30),
    lidar_hz=st.integers(5, 25),
    offset_ms=st.integers(0, 300),
    chunk=st.integers(80, 1600),
)
def test_streams_of_three_rates_equal_torch_on_the_windows_of_each_tick(
    robot, tick, camera_hz, lidar_hz, offset_ms, chunk
):
    """The windows are found here by the ages, which are checked against the times of the packets."""
    module, bundle = robot
    samples = sound(0, 16000)
    frames = {i * NS // camera_hz: picture(i) for i in range(camera_hz)}
    scans = {offset_ms * 1_000_000 + i * NS // lidar_hz: scan(i) for i in range(lidar_hz)}
    packets = [(t_ns, "image", pixels) for t_ns, pixels in frames.items()]
    packets += [(t_ns, "lidar", values) for t_ns, values in scans.items()]
    packets += [((i + chunk) * NS // 16000, "audio", i) for i in range(0, 16000 - chunk + 1, chunk)]
    decided = 0
    with mmedge.load(bundle) as model:
        stream = model.stream(tick)
        ports = model.manifest.ports
        newest = {}
        for t_ns, port, data in sorted(packets, key=lambda packet: packet[:2]):
            if port == "audio":
                stream.push_audio(samples[data : data + chunk], data * NS // 16000)
            elif port == "image":
                stream.push_frame(data, t_ns)
            else:
                stream.push_tensor(data, t_ns)
            for prediction in stream.poll():
                decided += 1
                times = {name: round(prediction.t_ns - age * 1e6) for name, age in prediction.age_ms.items()}
                end = round(times["audio"] * 16000 / NS)
                for name, rate_hz, port_hz in (("image", camera_hz, 15), ("lidar", lidar_hz, 10)):
                    possible = {newest.get(name), t_ns if port == name else None}
                    assert times[name] in possible or rate_hz > port_hz  # a faster sensor's data is left out in part
                expected = torch_outputs(
                    module,
                    image=front_end(ports["image"]).window(frames[times["image"]]),
                    audio=front_end(ports["audio"]).window(samples[end - WINDOW : end]),
                    lidar=scans[times["lidar"]],
                )
                np.testing.assert_allclose(prediction.outputs["event"], expected[0], rtol=0, atol=ATOL)
            newest[port] = t_ns
    assert decided


def test_each_sensor_has_an_encoder_that_runs_at_its_own_rate(robot):
    _, bundle = robot
    assert set(stages(bundle)) == {"image", "audio", "lidar", "head"}
    with mmedge.load(bundle) as model:
        stream = model.stream("audio")
        for i in range(10):
            stream.push_tensor(scan(i), i * NS // 10)
        for i in range(15):
            stream.push_frame(picture(i), i * NS // 15)
        stream.push_audio(sound(0, 16000), 0)
        assert len(stream.poll()) == 26
        assert stream.runs == {"image": 15, "lidar": 10, "audio": 26, "head": 26}


def test_infer_takes_a_tensor_as_it_is(robot):
    module, bundle = robot
    with mmedge.load(bundle) as model:
        audio = sound(1, WINDOW)
        made = model.infer(image=picture(1), audio=audio, lidar=scan(1))
        ports = model.manifest.ports
    windows = {name: front_end(ports[name]).window(data) for name, data in (("image", picture(1)), ("audio", audio))}
    expected = torch_outputs(module, **windows, lidar=scan(1))
    np.testing.assert_allclose(made.outputs["event"], expected[0], rtol=0, atol=ATOL)


def loop(module, bundle, samples, ends):
    """The recurrent listener in torch, one step for each window."""
    front = front_end(open_bundle(bundle).manifest.ports["audio"])
    h = np.zeros(16, np.float32)
    for end in ends:
        event, state = torch_outputs(module, audio=front.window(samples[end - WINDOW : end]), h=h)
        h = state[0].numpy()
        yield event[0].numpy()


@pytest.mark.parametrize("tick", ["audio", "100hz"])
def test_a_recurrent_model_advances_once_per_tick_as_a_loop_in_torch_does(listener, tick):
    module, bundle = listener
    samples = sound(3, 24000)
    with mmedge.load(bundle) as model:
        stream = model.stream(tick)
        stream.push_audio(samples[:10007], 0)
        stream.push_audio(samples[10007:], 10007 * NS // 16000)
        predictions = stream.poll()
    ends = [round((p.t_ns - p.age_ms["audio"] * 1e6) * 16 / 1e6) for p in predictions]
    assert len(predictions) == (51 if tick == "audio" else 101)
    for made, expected in zip(predictions, loop(module, bundle, samples, ends), strict=True):
        np.testing.assert_allclose(made.outputs["event"], expected, rtol=0, atol=1e-4)  # rounding adds up in the loop
    assert not np.allclose(predictions[0].outputs["event"], predictions[-1].outputs["event"], atol=1e-3)


def test_a_state_has_no_age_and_is_no_output(listener):
    _, bundle = listener
    with mmedge.load(bundle) as model:
        prediction = model.infer(audio=sound(1, WINDOW))
    assert (prediction.age_ms, prediction.fresh) == ({"audio": 0.0}, {"audio": True})
    assert set(prediction.outputs) == {"event"}


def test_streams_have_a_state_of_their_own_and_infer_has_none(listener):
    _, bundle = listener
    samples = sound(4, 2 * WINDOW)
    with mmedge.load(bundle) as model:
        first, second = model.stream(), model.stream()
        first.push_audio(samples, 0)
        before = model.infer(audio=samples[:WINDOW])
        second.push_audio(samples, 0)
        after = model.infer(audio=samples[:WINDOW])
        for a, b in zip(first.poll(), second.poll(), strict=True):
            np.testing.assert_array_equal(a.outputs["event"], b.outputs["event"])
        np.testing.assert_array_equal(before.outputs["event"], after.outputs["event"])
        given = model.infer(audio=samples[:WINDOW], h=np.ones(16, np.float32))
        assert not np.allclose(given.outputs["event"], before.outputs["event"])


def test_the_recurrent_part_of_one_sensor_is_a_stage_of_its_own(watcher):
    _, bundle = watcher
    found = stages(bundle)
    assert set(found) == {"image", "audio", "audio+h", "head"}
    assert found["audio"].ports == ("audio",)  # what the state does not touch runs at the hop
    assert "h_next" in found["audio+h"].outputs
    with mmedge.load(bundle) as model:
        stream = model.stream("100hz")
        stream.push_frame(picture(0), 0)
        stream.push_audio(sound(5, 16000), 0)
        ticks = len(stream.poll())
        assert ticks == 51
        assert stream.runs == {"image": 1, "audio": 51, "audio+h": ticks, "head": ticks}


def test_a_recurrent_stage_is_priced_at_every_decision(watcher):
    _, bundle = watcher
    opened = open_bundle(bundle)
    rates = default_rates(opened.manifest)
    assert rates == {"image": 15, "audio": 50}
    costs = measure_stages(opened)
    saving = predict_saving(opened.manifest, costs, {"image": 10, "audio": 50})
    ms = {cost.name: cost.ms for cost in costs}
    expected = 10 * ms["image"] + 50 * (ms["audio"] + ms["audio+h"] + ms["head"])
    assert saving.staged_ms == pytest.approx(expected)


def test_a_text_is_read_once_and_holds(pilot):
    module, bundle = pilot
    with mmedge.load(bundle) as model:
        stream = model.stream("camera")
        stream.push_frame(picture(0), 0)
        assert stream.poll() == []  # nothing was said yet
        stream.push_text("turn left", NS // 20)
        for i in range(1, 5):
            stream.push_frame(picture(i), i * NS // 15)
        stream.push_text("turn left", 5 * NS // 15)
        stream.push_frame(picture(5), 5 * NS // 15)
        predictions = stream.poll()
        assert stream.runs["command"] == 1
        stream.push_text("stop now, quickly", NS)
        stream.push_frame(picture(6), NS)
        predictions += stream.poll()
        once = model.infer(image=picture(6), command="stop now, quickly")
        image = front_end(model.manifest.ports["image"])
    assert [p.fresh["command"] for p in predictions] == [True, False, False, False, True, True]
    assert predictions[3].age_ms["command"] == pytest.approx(4000 / 15 - 50)
    for i, ids in {0: [1, 2, 8, 8, 8, 8], 5: [4, 6, 0, 0, 8, 8]}.items():
        window = image.window(picture(i + 1))
        expected = torch_outputs(module, image=window, command=np.array(ids))
        np.testing.assert_allclose(predictions[i].outputs["event"], expected[0], rtol=0, atol=ATOL)
    np.testing.assert_array_equal(once.outputs["event"], predictions[5].outputs["event"])


def test_the_tokenizer_travels_with_its_hash(pilot, folder):
    _, bundle = pilot
    manifest = open_bundle(bundle).manifest
    assert (bundle / "tokenizer/command.json").read_bytes() == (folder / "words.json").read_bytes()
    assert "tokenizer/command.json" in manifest.files
    assert manifest.ports["command"].modality == "text"


@pytest.mark.parametrize("name", ["robot", "listener", "watcher", "pilot"])
def test_the_golden_replay_holds_and_covers_what_is_fed_back(request, name):
    _, bundle = request.getfixturevalue(name)
    rows = replay_golden(open_bundle(bundle))
    assert all(row.holds for row in rows)
    states = open_bundle(bundle).manifest.states
    assert set(states.values()) <= {row.tensor for row in rows}
    golden = open_bundle(bundle).read_golden()
    assert all(np.abs(golden[f"sensor/{state}"]).min() > 0 for state in states)


def test_texts_and_tensors_of_the_users_own_prove_the_export(pilot, folder, tmp_path):
    images = np.stack([picture(i) for i in range(2)])
    np.savez(tmp_path / "samples.npz", image=images, command=np.array(["go", "turn right now"]))
    options = ExportOptions(samples=tmp_path / "samples.npz")
    result = export(folder / "Pilot.safetensors", tmp_path / "pilot.mmedge", options)
    assert result.parity.real
    golden = open_bundle(tmp_path / "pilot.mmedge").read_golden()
    assert golden["sensor/command"].tolist() == ["go", "turn right now"]


def test_commands_describe_the_new_ports(pilot, watcher, robot):
    def told(*arguments):
        command = [sys.executable, "-m", "mmedge", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    shown = told("inspect", pilot[1]).stdout
    assert "6 token ids, tokenizer/command.json" in shown
    assert "h_next of the tick before" in told("inspect", watcher[1]).stdout
    assert json.loads(told("check", watcher[1], "--json").stdout)["passed"] is True
    refused = told("run", robot[1], "--camera", "clip.mp4")
    assert refused.returncode == 1
    assert refused.stderr.strip() == "mmedge: no recording gives lidar (tensor); push to the model's stream() instead"
