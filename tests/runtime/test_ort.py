"""ONNX Runtime's other providers, as far as a machine without a GPU can tell."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import mmedge
from mmedge.backends.ort import PROVIDERS, OrtMemory, OrtSession, Provider, provider_problem
from mmedge.bundle import open_bundle
from mmedge.stages import StageGraph, embeddings

ON_DEVICE = Provider(name="CPUExecutionProvider", device="cpu")  # the path of CUDA, with the CPU's memory as the device


@pytest.fixture
def graphs(reference_bundle, model):
    bundle, memory = open_bundle(reference_bundle), OrtMemory("cpu")
    sessions = {
        stage: OrtSession(bundle.read(file), threads=1, name=stage, provider=ON_DEVICE, memory=memory)
        for stage, file in bundle.manifest.variants["fp32"].files.items()
    }
    return {
        kept: StageGraph(model.manifest, sessions, resident=embeddings(model.manifest) if kept else ())
        for kept in (False, True)
    }


@pytest.mark.parametrize("resident", [False, True])
def test_buffers_on_a_device_give_the_same_numbers(graphs, model, resident):
    random = np.random.default_rng(3)
    graph, expected = graphs[resident], model.new_graph()
    for _ in range(3):
        for name, port in model.manifest.ports.items():
            window = random.standard_normal(port.shape).astype(np.float32)
            graph.load_window(name, window)
            expected.load_window(name, window)
        graph.run()
        expected.run()
        for tensor in model.manifest.results.values():
            np.testing.assert_array_equal(graph.tensors[tensor], expected.tensors[tensor])


def test_a_provider_that_is_not_there_is_an_error_and_says_what_to_type(reference_bundle, capfd):
    if not provider_problem("onnxruntime-cuda"):
        pytest.skip("CUDA is there")
    with pytest.raises(mmedge.BackendError, match="has no CUDAExecutionProvider; try: .*mmedge.gpu") as told:
        mmedge.load(reference_bundle, backend="onnxruntime-cuda")
    assert "\n" not in str(told.value)
    assert capfd.readouterr() == ("", "")  # ONNX Runtime is not even asked


class Replaced:
    """An ONNX Runtime with NVIDIA's providers, which computes on the CPU and says what it is told to say.

    Attributes:
        given: What sessions say that they have.
        devices: What the plugin finds, once it is registered.
        registered: How often it was.
    """

    def __init__(self, given, monkeypatch):
        import onnxruntime

        self.real, self.given = onnxruntime, given
        self.devices = [SimpleNamespace(ep_name="NvTensorRTRTXExecutionProvider")]
        self.registered, self.broken, self.taken = 0, "", []
        module = ModuleType("onnxruntime")
        for name in ("RunOptions", "OrtValue", "__version__"):
            setattr(module, name, getattr(onnxruntime, name))
        outer = self

        class Options(onnxruntime.SessionOptions):
            def add_provider_for_devices(self, devices, options):
                outer.taken.append(list(devices))

        module.SessionOptions = Options
        module.InferenceSession = self.open
        module.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
        module.get_ep_devices = lambda: self.devices if self.registered else []
        module.register_execution_provider_library = self.register
        plugin = ModuleType("onnxruntime_ep_nv_tensorrt_rtx")
        plugin.get_ep_name = lambda: "NvTensorRTRTXExecutionProvider"
        plugin.get_library_path = lambda: "plugin.so"
        monkeypatch.setitem(sys.modules, "onnxruntime", module)
        monkeypatch.setitem(sys.modules, plugin.__name__, plugin)

    def open(self, graph, options, providers=None):
        made = self.real.InferenceSession(graph, providers=["CPUExecutionProvider"])
        made.get_providers = lambda: self.given
        return made

    def register(self, name, path):
        if self.broken:
            raise RuntimeError(self.broken)
        self.registered += 1


RTX, CUDA, CPU = "NvTensorRTRTXExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"


@pytest.mark.parametrize("given", [[], [CPU], [CPU, RTX, CUDA]], ids=["none", "cpu", "cpu first"])
@pytest.mark.parametrize("backend", ["onnxruntime-cuda", "onnxruntime-rtx"])
def test_what_onnxruntime_replaces_without_a_word_is_refused(reference_bundle, monkeypatch, backend, given):
    Replaced(given, monkeypatch)
    took = given[0] if given else "no provider"
    with pytest.raises(mmedge.BackendError, match=f"ONNX Runtime took {took} instead of {PROVIDERS[backend].name}"):
        mmedge.load(reference_bundle, backend=backend)
    if not given:
        return
    with mmedge.load(reference_bundle) as model:
        assert model.report.backend == "onnxruntime-cpu"
        assert "instead of" in model.report.rejected[f"{backend} with fp32"]


def test_the_rtx_plugin_is_registered_once_and_gets_every_stage(reference_bundle, model, monkeypatch):
    replaced = Replaced([RTX, CPU], monkeypatch)
    with mmedge.load(reference_bundle, backend="onnxruntime-rtx") as on_rtx:
        assert on_rtx.report.backend == "onnxruntime-rtx"
        assert replaced.registered == 1
        assert replaced.taken == [replaced.devices] * len(model.manifest.stages)


@pytest.mark.parametrize("how", ["broken", "no device"])
def test_a_plugin_that_finds_no_gpu_is_one_line(reference_bundle, monkeypatch, how):
    replaced = Replaced([RTX], monkeypatch)
    replaced.broken = "libcuda.so.1: cannot open\n shared object file" if how == "broken" else ""
    replaced.devices = []
    text = "cannot be loaded: libcuda.so.1: cannot open shared object" if how == "broken" else "finds no GPU"
    with pytest.raises(mmedge.BackendError, match=f"{RTX} {text}") as told:
        mmedge.load(reference_bundle, backend="onnxruntime-rtx")
    assert "\n" not in str(told.value)
    assert text in provider_problem("onnxruntime-rtx")


def test_asking_for_what_is_not_installed_says_what_to_type(reference_bundle):
    if provider_problem("onnxruntime-cuda"):
        assert "pip install 'mmedge[gpu]'" in provider_problem("onnxruntime-cuda")
    if problem := provider_problem("onnxruntime-rtx"):
        assert "onnxruntime-ep-nv-tensorrt-rtx-cu13" in problem or "NvTensorRTRTX" in problem
    assert provider_problem("onnxruntime-cpu") == ""


@pytest.mark.cuda
def test_cuda_gives_the_recorded_outputs(reference_bundle):
    from mmedge.commands.check import replay_golden

    if problem := provider_problem("onnxruntime-cuda"):
        pytest.skip(problem)
    assert all(row.holds for row in replay_golden(open_bundle(reference_bundle), "onnxruntime-cuda"))
