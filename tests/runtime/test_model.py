import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
import pytest

import mmedge
from mmedge.bundle import open_bundle
from mmedge.commands.check import replay_golden


def golden_sensors(bundle, i=0):
    golden = open_bundle(bundle).read_golden()
    return {name: golden[f"sensor/{name}"][i] for name in ("image", "audio")}, golden


def test_infer_gives_what_torch_gave_at_export(model, reference_bundle):
    for i in range(2):
        sensors, golden = golden_sensors(reference_bundle, i)
        prediction = model.infer(**sensors)
        logits = golden["output/event"][i].astype(np.float64)
        expected = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(
            prediction.outputs["event"], expected, atol=1e-5
        )  # a hundred times the logits' noise
        distance = golden["output/distance"][i]
        np.testing.assert_allclose(prediction.outputs["distance"], distance, atol=float(golden["tolerance/distance"]))
        assert prediction.labels["event"] == model.manifest.outputs["event"].labels[int(expected.argmax())]


def test_check_passes_on_a_fresh_bundle(reference_bundle):
    rows = replay_golden(open_bundle(reference_bundle))
    assert {"event", "distance"} <= {row.tensor for row in rows}
    assert all(row.holds for row in rows)


def test_a_stream_and_infer_agree_on_the_same_window(model, reference_bundle):
    sensors, _ = golden_sensors(reference_bundle)
    stream = model.stream("audio")
    for i, pixels in enumerate(sensors["image"]):
        stream.push_frame(pixels, i * 66_666_667)
    stream.push_audio(sensors["audio"], 0)
    np.testing.assert_array_equal(stream.poll()[-1].outputs["event"], model.infer(**sensors).outputs["event"])


def test_infer_from_several_threads_gives_each_its_own_answer(model, reference_bundle):
    sensors = [golden_sensors(reference_bundle, i)[0] for i in range(4)]
    expected = [model.infer(**each).outputs["event"] for each in sensors]
    with ThreadPoolExecutor(4) as pool:
        for i, prediction in enumerate(pool.map(lambda k: model.infer(**sensors[k % 4]), range(24))):
            np.testing.assert_array_equal(prediction.outputs["event"], expected[i % 4])


def test_outputs_belong_to_the_caller(model, reference_bundle):
    sensors, _ = golden_sensors(reference_bundle)
    first = model.infer(**sensors)
    kept = first.outputs["event"].copy()
    model.infer(**golden_sensors(reference_bundle, 1)[0])
    np.testing.assert_array_equal(first.outputs["event"], kept)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: s.pop("audio"), "expected image, audio"),
        (lambda s: s.update(lidar=np.zeros(3)), "lidar"),
        (lambda s: s.update(audio=s["audio"][:-1]), "audio: .*15999"),
        (lambda s: s.update(audio=s["audio"].astype(np.float64)), "audio: .*float64"),
        (lambda s: s["audio"].__setitem__(7, np.nan), "audio: NaN"),
        (lambda s: s.update(audio=s["audio"].tolist()), "audio: expected an array"),
        (lambda s: s.update(image=s["image"][:3]), "image: .*"),
        (lambda s: s.update(image=s["image"].astype(np.float32)), "image: .*float32"),
    ],
)
def test_infer_refuses_what_does_not_fit(model, reference_bundle, change, text):
    sensors, _ = golden_sensors(reference_bundle)
    change(sensors)
    with pytest.raises(mmedge.InputError, match=text):
        model.infer(**sensors)


def test_a_closed_model_refuses_work(reference_bundle):
    with mmedge.load(reference_bundle) as model:
        pass
    with pytest.raises(mmedge.ClosedError, match="closed"):
        model.stream()


@pytest.mark.parametrize(
    ("options", "text"),
    [({"backend": "abacus"}, "abacus"), ({"variant": "int3"}, "int3.*fp32"), ({"threads": 0}, "threads")],
)
def test_load_refuses_options_that_are_not_there(reference_bundle, options, text):
    with pytest.raises(mmedge.InputError, match=text):
        mmedge.load(reference_bundle, **options)


def test_the_report_says_what_was_chosen_and_why(model, reference_bundle):
    assert (model.report.backend, model.report.variant, model.report.threads) == ("onnxruntime-cpu", "fp32", 1)
    assert model.report.reason == "the only one that can compute here"
    with mmedge.load(reference_bundle, backend="onnxruntime-cpu", threads=2) as asked:
        assert (asked.report.backend, asked.report.threads, asked.report.reason) == ("onnxruntime-cpu", 2, "asked for")
        assert asked.report.load_ms > 0


def loaded_by(program):
    code = f"import sys\n{program}\nprint(*sorted(name.partition('.')[0] for name in sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(told.stdout.split())


def test_importing_mmedge_loads_no_heavy_library():
    assert not loaded_by("import mmedge") & {"torch", "onnx", "onnxruntime", "cv2", "av", "soxr", "mmedge_export"}


def test_running_a_bundle_never_loads_torch_or_onnx(reference_bundle):
    program = f"import mmedge; mmedge.load({str(reference_bundle)!r}).stream()"
    assert not loaded_by(program) & {"torch", "onnx", "onnxscript", "mmedge_export", "mmedge_bench"}


def test_the_public_names_are_those_listed_and_each_is_documented():
    public = {n for n, value in vars(mmedge).items() if not n.startswith("_") and not isinstance(value, ModuleType)}
    public -= {"Any", "TYPE_CHECKING"}
    assert public | {"Swap"} == set(mmedge.__all__)  # that one is imported when it is asked for
    assert {name for name in mmedge.errors.__all__ if name.endswith("Error")} <= public
    assert all(getattr(mmedge, name).__doc__ for name in public)
