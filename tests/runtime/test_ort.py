"""ONNX Runtime's other providers, as far as a machine without a GPU can tell."""

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


def test_a_provider_that_is_replaced_by_the_cpu_is_an_error(reference_bundle):
    graph = open_bundle(reference_bundle).read("onnx/fp32/head.onnx")
    if not provider_problem("onnxruntime-cuda"):
        pytest.skip("CUDA is there")
    refused = pytest.raises(mmedge.BackendError, match="stage head with CUDAExecutionProvider.*fallback to CPU EP")
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"), refused as told:
        OrtSession(graph, threads=1, name="head", provider=PROVIDERS["onnxruntime-cuda"])
    assert "\n" not in str(told.value)


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
