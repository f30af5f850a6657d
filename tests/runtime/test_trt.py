"""The TensorRT session against a device and a library in memory, which do nothing that was not waited for."""

import ast
import gc
from pathlib import Path
from threading import Thread

import cuda_double
import numpy as np
import pytest
import tensorrt_double
from engine_bundles import put_engines

import mmedge
from mmedge.backends.device import CudaMemory
from mmedge.backends.trt import TrtSession
from mmedge.branches import shares
from mmedge.bundle import open_bundle
from mmedge.types import NS

ROOT = Path(__file__).parents[2]
API = {
    path.stem: set(path.read_text().split())
    for path in (Path(__file__).parents[1] / "doubles/tensorrt_api").glob("*.txt")
}
ONLY_RTX = {  # used behind a question whether they are there
    "CudaGraphStrategy", "CudaGraphStrategy.WHOLE_GRAPH_CAPTURE", "EngineValidity.INVALID",
    "EngineInvalidityDiagnostics", "ICudaEngine.create_runtime_config", "IRuntimeConfig.cuda_graph_strategy",
    "IRuntimeConfig.create_runtime_cache", "IRuntimeConfig.set_runtime_cache", "IRuntimeCache.deserialize",
    "IRuntimeCache.serialize", "Runtime.get_engine_validity", "EngineValidity", "ComputeCapability",
    "IBuilderConfig.num_compute_capabilities", "IBuilderConfig.set_compute_capability",
}  # fmt: skip


def random_sensors(model: mmedge.Model, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    camera, audio = model.manifest.ports["image"].camera, model.manifest.ports["audio"].audio
    return {
        "image": random.integers(0, 255, (camera.frames, camera.height_px, camera.width_px, 3), dtype=np.uint8),
        "audio": random.uniform(-1, 1, audio.window_samples).astype(np.float32),
    }


def same(one: mmedge.Prediction, other: mmedge.Prediction) -> None:
    for name, value in one.outputs.items():
        np.testing.assert_array_equal(value, other.outputs[name])  # both are ONNX Runtime on the same graphs


def test_engines_compute_what_the_graphs_compute(engines, library, model):
    with mmedge.load(engines) as on_device:
        assert on_device.report.backend == library
        for seed in range(3):
            sensors = random_sensors(model, seed)
            same(on_device.infer(**sensors), model.infer(**sensors))


def test_embeddings_stay_on_the_device(engines, device, model):
    with mmedge.load(engines) as on_device:
        on_device.infer(**random_sensors(model, 0))
        device.cuda.copies.clear()
        on_device.infer(**random_sensors(model, 1))
    specs, stages = model.manifest.tensors, model.manifest.stages
    hosts = {*model.manifest.ports, *model.manifest.results.values()}
    up, down = [], []
    for stage in stages:
        frames = specs["image"].items if stage.per_item else 1
        up += [specs[name].bytes // frames for name in stage.inputs if name in hosts] * frames
        down += [specs[name].bytes // frames for name in stage.outputs if name in hosts] * frames
    done = device.cuda.copies
    assert sorted(size for kind, size in done if kind == "HostToDevice") == sorted(up)
    assert sorted(size for kind, size in done if kind == "DeviceToHost") == sorted(down)
    assert not {name for stage in stages for name in stage.outputs} <= hosts  # there are embeddings to keep


def test_what_the_host_writes_into_an_embedding_is_read(engines, model):
    with mmedge.load(engines) as on_device, mmedge.load(engines, backend="onnxruntime-cpu") as on_cpu:
        graphs = [on_device.new_graph(), on_cpu.new_graph()]
        for graph in graphs:
            graph.run()
            graph.tensors["mean_2"][...] = 3
            graph.mark(["image"])  # the head runs again, audio's embedding is what was written
            graph.run()
        np.testing.assert_array_equal(graphs[0].tensors["event"], graphs[1].tensors["event"])


def test_a_resident_embedding_cannot_be_reached_on_any_backend(model):
    graph = model.new_graph(resident=True)
    assert set(model.new_graph().tensors) - set(graph.tensors) >= {"mean_2"}
    assert set(graph.tensors) >= {*model.manifest.ports, *model.manifest.results.values()}


def test_an_encoder_is_started_without_waiting_and_what_reads_it_waits_on_the_device(device, model, reference_bundle):
    bundle, memory, specs = open_bundle(reference_bundle), CudaMemory(), model.manifest.tensors
    arrays = {name: np.zeros(spec.shape, spec.dtype) for name, spec in specs.items()}
    stages = {stage.name: stage for stage in model.manifest.stages}
    calls, kept = {}, {each: memory.tensor(specs[each].shape, specs[each].dtype) for each in stages["audio"].outputs}
    for name in ("audio", "head"):
        plan = tensorrt_double.make_plan(bundle.read(f"onnx/fp32/{name}.onnx"))
        session = TrtSession(plan, library="tensorrt", name=name, memory=memory)
        buffers = {each: kept.get(each, arrays[each]) for each in (*stages[name].inputs, *stages[name].outputs)}
        calls[name] = session.bind(buffers)
    before = device.executions
    arrays["audio"][...] = 2
    calls["audio"]()
    assert device.executions == before  # started, and nobody has waited for it
    arrays["audio"][...] = 0  # may be written at once: the copy was made
    calls["head"]()
    assert device.executions == before + 2
    expected = model.new_graph()
    expected.tensors["audio"][...] = 2
    expected.mark(["audio"])
    expected.run()
    np.testing.assert_array_equal(arrays["event"], expected.tensors["event"])


def test_tensorrt_captures_each_stage_once_as_a_graph(bundle_copy, device, model):
    put_engines(open_bundle(bundle_copy), "tensorrt")
    with mmedge.load(bundle_copy) as on_device:
        stream = on_device.new_graph()
        captured = device.cuda.counts["cudaGraphInstantiate"]
        assert captured == len(model.manifest.stages)
        copies = device.cuda.counts["cudaMemcpyAsync"]
        for _ in range(5):
            stream.mark(["image", "audio"])
            stream.run()
        assert device.cuda.counts["cudaGraphInstantiate"] == captured
        assert device.cuda.counts["cudaMemcpyAsync"] == copies  # all of it is in the graphs
        assert device.cuda.counts["cudaGraphLaunch"] == 5 * 3


@pytest.mark.parametrize("how", ["execution", "capture"])
def test_what_cannot_be_captured_runs_without_a_graph_and_says_so(bundle_copy, device, model, how):
    put_engines(open_bundle(bundle_copy), "tensorrt")
    if how == "execution":
        device.refuse_execution = "captured"
    else:
        device.cuda.fail["cudaGraphInstantiate"] = cuda_double.Status.cudaErrorStreamCaptureUnsupported
    with mmedge.load(bundle_copy) as on_device:
        sensors = random_sensors(model, 4)
        same(on_device.infer(**sensors), model.infer(**sensors))
        assert len(on_device.notes) == len(model.manifest.stages)
        assert all("without a CUDA graph" in note for note in on_device.notes)


def test_rtx_keeps_what_it_compiled_for_the_next_process(bundle_copy, device, model):
    put_engines(open_bundle(bundle_copy), "tensorrt-rtx")
    for _ in range(2):
        with mmedge.load(bundle_copy) as on_device:
            on_device.new_graph()
        assert device.compiled == len(model.manifest.stages)
    device.kernels = b"kernels of another driver"
    with mmedge.load(bundle_copy) as on_device:
        on_device.new_graph()
        assert all("compiled again" in note for note in on_device.notes)
    assert device.compiled == 2 * len(model.manifest.stages)


def test_all_memory_is_given_back(engines, device, model):
    on_device = mmedge.load(engines)
    for _ in range(2):
        on_device.infer(**random_sensors(model, 0))
        on_device.new_graph().run()
    assert device.cuda.alive
    on_device.close()
    del on_device
    gc.collect()
    assert not device.cuda.alive


def test_two_graphs_of_one_model_run_in_two_threads(engines, model):
    results: dict[int, np.ndarray] = {}
    with mmedge.load(engines) as on_device:
        graphs = [on_device.new_graph(resident=True) for _ in range(2)]

        def work(number: int) -> None:
            graph = graphs[number]
            for _ in range(20):
                graph.tensors["audio"][...] = number
                graph.mark(["audio", "image"])
                graph.run()
            results[number] = graph.tensors["event"].copy()

        threads = [Thread(target=work, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number, result in results.items():
        graph = model.new_graph()
        graph.tensors["audio"][...] = number
        graph.mark(["audio", "image"])
        graph.run()
        np.testing.assert_array_equal(result, graph.tensors["event"])


def test_without_a_driver_nothing_of_the_library_is_touched(engines, device, library):
    device.cuda.devices = 0
    with pytest.raises(
        mmedge.BackendError, match="no NVIDIA GPU can be used here .cudaErrorInsufficientDriver."
    ) as told:
        mmedge.load(engines, backend=library)
    assert "\n" not in str(told.value)
    assert not device.runtimes
    with mmedge.load(engines) as model:
        assert model.report.backend == "onnxruntime-cpu"
        assert "no NVIDIA GPU" in model.report.rejected[f"{library} with fp32"]
    with pytest.raises(mmedge.BackendError, match="tensorrt cannot compute here: .*no NVIDIA GPU"):
        mmedge.load(engines, require="tensorrt")


def test_host_code_of_engines_stays_off(engines, device):
    mmedge.load(engines).close()
    assert device.runtimes
    assert not any(runtime.engine_host_code_allowed for runtime in device.runtimes)


def test_an_engine_that_fails_is_one_line(engines, device, model):
    with mmedge.load(engines) as on_device:
        graph = on_device.new_graph()
        device.cuda.fail["cudaEventSynchronize"] = cuda_double.Status.cudaErrorIllegalAddress
        graph.mark(["audio"])
        with pytest.raises(
            mmedge.BackendError, match="stage audio cannot be computed: .*cudaErrorIllegalAddress"
        ) as told:
            graph.run()
    assert "\n" not in str(told.value)
    device.cuda.fail.clear()
    device.refuse_execution = "always"
    with mmedge.load(engines) as on_device, pytest.raises(mmedge.BackendError, match="stage .*enqueueV3"):
        on_device.new_graph()


def test_a_device_without_memory_is_one_line(engines, device):
    device.cuda.fail["cudaMalloc"] = cuda_double.Status.cudaErrorMemoryAllocation
    with mmedge.load(engines) as on_device, pytest.raises(mmedge.BackendError, match="cudaMalloc failed: .*Memory"):
        on_device.new_graph()


def test_what_the_library_refuses_is_told_with_its_reason(device, model):
    memory = CudaMemory()
    with pytest.raises(mmedge.EngineError, match="kEXPECTED_MAGIC_TAG failed.*build it again"):
        TrtSession(b"garbage" * 20, library="tensorrt", name="head", memory=memory)
    device.validity = (2, 3)
    with pytest.raises(mmedge.EngineError, match="does not fit Double RTX .sm86.: version mismatch, unsupported cc"):
        TrtSession(b"vtrt" * 20, library="tensorrt-rtx", name="head", memory=memory)


def test_engines_of_another_stage_are_refused(device, model, reference_bundle):
    bundle = open_bundle(reference_bundle)
    plan = tensorrt_double.make_plan(bundle.read("onnx/fp32/audio.onnx"))
    session = TrtSession(plan, library="tensorrt", name="head", memory=CudaMemory())
    buffers = {name: np.zeros(model.manifest.tensors[name].shape, np.float32) for name in ("audio", "event")}
    with pytest.raises(mmedge.BundleError, match="only in"):
        session.bind(buffers)
    names = (*session.inputs, *session.outputs)
    buffers = {name: np.zeros(model.manifest.tensors[name].shape, np.float32) for name in names}
    for wrong in (np.zeros((1, 2, 3), np.float32), buffers["audio"].astype(np.int64)):
        with pytest.raises(mmedge.BundleError, match="audio is .* in its engine, .* in the manifest"):
            session.bind({**buffers, "audio": wrong})


def play(stream, seconds=1.2):
    """A second of noise for the reference model, the pictures between the hops of the sound."""
    random, audio = np.random.default_rng(8), stream.works.manifest.ports["audio"].audio
    camera = stream.works.manifest.ports["image"].camera
    hop, told, shown = audio.hop_samples, [], 0
    for number in range(int(seconds * audio.rate_hz / hop)):
        t_ns = number * hop * NS // audio.rate_hz
        while shown * NS / camera.rate_hz <= t_ns:
            pixels = random.integers(0, 255, (camera.height_px, camera.width_px, 3), dtype=np.uint8)
            stream.push_frame(pixels, int(shown * NS / camera.rate_hz))
            shown += 1
        stream.push_audio(random.uniform(-1, 1, hop).astype(np.float32), t_ns)
        told += stream.poll()
    return told


def test_the_reference_model_decides_on_engines_as_on_the_cpu(engines, model, device):
    with mmedge.load(engines) as on_device, on_device.stream(attribution=4) as stream:
        made = play(stream)
        tensors = model.manifest.tensors
        outputs = sum(tensors[output.tensor].bytes for output in model.manifest.outputs.values())
        down = sum(size for kind, size in device.cuda.copies if kind == "DeviceToHost")
        attributed = stream.totals["attribution_head_calls"]
    with model.stream(attribution=4) as on_cpu:
        expected = play(on_cpu)
    assert len(made) == len(expected) > 5
    for one, other in zip(made, expected, strict=True):
        same(one, other)
        assert (one.t_ns, one.age_ms, one.attribution) == (other.t_ns, other.age_ms, other.attribution)
    looked_at = sum(tensors[name].bytes for names in shares(model.manifest).values() for name in names)
    assert down <= (len(made) + attributed) * outputs + 3 * looked_at  # three looks in the time of these decisions


def test_a_model_on_the_device_takes_the_place_of_one_on_the_cpu(engines, model, device):
    with mmedge.load(engines) as on_device, model.stream() as stream:
        with mmedge.Swap(stream, on_device) as swap:
            play(stream)
            swap.switch()
            compared = swap.report.outputs["event"]
            assert compared.ticks > 5
            assert compared.max_difference == 0
        assert stream.branches["image"].graph.tensors.keys() == {"image"}


CLASSES = {  # the variable or attribute that holds an object of the library, in our code
    "runtime": "Runtime", "engine": "ICudaEngine", "context": "IExecutionContext", "config": "IBuilderConfig",
    "cache": "IRuntimeCache", "builder": "Builder", "network": "INetworkDefinition", "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
}  # fmt: skip


def names_of_the_library(path: Path) -> set[str]:
    """Every name of TensorRT that a module uses, through ``trt.`` or an object of one of its classes."""
    used = set()
    classes = CLASSES | (
        {"config": "IRuntimeConfig"} if path.name == "trt.py" else {"cache": "ITimingCache", "error": "ParserError"}
    )
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Attribute):
            continue
        chain = ast.unparse(node)
        first, _, rest = chain.removeprefix("self._").partition(".")
        if first == "trt" and rest and "(" not in rest:
            used.add(rest.removesuffix(".__members__").removesuffix(".__init__"))
        elif first in classes and rest.isidentifier():
            used.add(f"{classes[first]}.{rest}")
    return used - {"__version__"}


@pytest.mark.parametrize("version", sorted(API))
@pytest.mark.parametrize("path", ["mmedge/backends/trt.py", "export/mmedge_export/engines/build_process.py"])
def test_every_name_of_the_library_exists_in_every_version(path, version):
    if not (ROOT / path).is_file():
        pytest.skip("the source is not beside the tests")
    used = names_of_the_library(ROOT / path)
    assert len(used) > 15
    common = used if version.startswith("rtx") else used - ONLY_RTX
    assert sorted(common - API[version]) == []


def test_the_check_of_names_sees_what_is_not_there(tmp_path):
    path = tmp_path / "trt.py"
    path.write_text("def f(trt, engine): return trt.BuilderFlag.FP16, engine.device_memory_size, trt.Nothing.at_all")
    assert {"BuilderFlag.FP16", "ICudaEngine.device_memory_size"} <= names_of_the_library(path) - API["11.4"]
