"""The part of TensorRT's Python API that mmedge uses, computing with ONNX Runtime: a plan is a header and a graph.

As ``tensorrt`` it is a TensorRT 10.3; :func:`as_rtx` makes the other one. What a builder is to do wrong is read from
the file that MMEDGE_DOUBLE names, because it runs in a process of its own.
"""

import json
import os
import signal
import struct
from enum import IntEnum
from pathlib import Path
from time import sleep
from types import ModuleType, SimpleNamespace

import numpy as np
from cuda_double import Span, Work
from tensorrt_names import (
    BuilderFlag,
    DataType,
    ILogger,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    ProfilingVerbosity,
    Severity,
    TensorIOMode,
    TensorLocation,
    nptype,
)

__all__ = ["Function", "RuntimeDouble", "as_rtx", "as_tensorrt", "make_function_plan", "make_plan"]

HEADER = 64
FUNCTION = b"function:"


def make_plan(graph: bytes, magic: bytes = b"ftrt", version=(10, 3, 0, 26), mask: int = 0) -> bytes:
    return struct.pack("<4s4xQQ4B4sI28x", magic, 2, HEADER + len(graph), *version, magic, mask) + graph


class Function:
    """A graph that is a function of numpy."""

    def __init__(self, function, inputs, outputs):
        self.function, self.inputs, self.outputs = function, inputs, outputs

    def get_inputs(self):
        return [SimpleNamespace(name=name, shape=shape, type="tensor(float)") for name, shape in self.inputs.items()]

    def get_outputs(self):
        return [SimpleNamespace(name=name, shape=shape, type="tensor(float)") for name, shape in self.outputs.items()]

    def run(self, _, feeds):
        made = self.function(*(feeds[name] for name in self.inputs))
        return made if isinstance(made, tuple) else (made,)


def make_function_plan(double: "RuntimeDouble", name: str, function: Function) -> bytes:
    """An engine that computes a function, in this process."""
    double.functions[name] = function
    return make_plan(FUNCTION + name.encode())


def told() -> dict:
    path = os.environ.get("MMEDGE_DOUBLE")
    return json.loads(Path(path).read_text()) if path else {}


class Builder:
    def __init__(self, logger):
        self.logger = logger

    def create_network(self, flags):
        return SimpleNamespace(flags=flags, graph=b"")

    def create_builder_config(self):
        return BuilderConfig()

    def create_optimization_profile(self):
        shapes = {}
        return SimpleNamespace(shapes=shapes, set_shape=lambda name, *three: shapes.update({name: three}))

    def build_serialized_network(self, network, config):
        note = told()
        assert not config.flags
        assert network.flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        with Path(note["log"]).open("a") as log:
            seen = {
                "workspace": config.workspace,
                "timings": config.timings.content.decode(),
                "profiles": [profile.shapes for profile in config.profiles],
                "level": config.builder_optimization_level,
            }
            log.write(json.dumps(seen) + "\n")
        if len(Path(note["log"]).read_text().splitlines()) > note.get("quick_builds", 0):
            sleep(note.get("sleep_s", 0))
        workspace = config.workspace or 1 << 40
        if workspace > note.get("killed_above", workspace):
            os.kill(os.getpid(), signal.SIGKILL)
        if workspace > note.get("memory", workspace):
            self.logger.log(Severity.ERROR, "[allocator.cpp::allocate::48] Error Code 1: Cuda Runtime (out of memory)")
            return None
        for severity, message in note.get("says", []):
            self.logger.log(Severity[severity], message)
        if note.get("crash"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if note.get("fail"):
            return None
        config.timings.content += b"1"
        self.logger.log(Severity.INFO, "Total Weights Memory: 1234 bytes")
        return make_plan(network.graph)


class BuilderConfig:
    def __init__(self):
        self.workspace = 0
        self.profiles = []
        self.timings = None
        self.flags = {BuilderFlag.TF32}

    def clear_flag(self, flag):
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool, size):
        assert pool == MemoryPoolType.WORKSPACE
        self.workspace = size

    def add_optimization_profile(self, profile):
        self.profiles.append(profile)

    def create_timing_cache(self, content):
        return TimingCache(bytes(content)) if set(content) <= set(b"1x") else None

    def set_timing_cache(self, cache, ignore_mismatch):
        assert not ignore_mismatch
        if b"x" in cache.content:  # of another device
            return False
        self.timings = cache
        return True

    def get_timing_cache(self):
        return self.timings


class TimingCache:
    def __init__(self, content):
        self.content = content

    def serialize(self):
        return self.content


class OnnxParser:
    def __init__(self, network, logger):
        self.network, self.logger = network, logger
        self.num_errors = 0

    def parse(self, graph, path):
        note = told()
        self.network.graph = graph
        self.num_errors = 1 if "refuse" in note else 0
        return not self.num_errors

    def supports_operator(self, name):
        return name != "Unheard"

    def get_error(self, _):
        name, operator, text = told()["refuse"]
        return SimpleNamespace(node_name=lambda: name, node_operator=lambda: operator, desc=lambda: text)


class RuntimeDouble:
    """What the runtime half of the double shares with the test: the device, and what to do wrong.

    Attributes:
        cuda: The device that computes.
        runtimes: Every Runtime that was made.
        executions: How often an engine ran.
        refuse_execution: "always" or "captured": when execute_async_v3 gives False.
        validity: What TensorRT-RTX thinks of a header.
        kernels: What it compiles for this device.
        compiled: How often it had to.
        dla_cores: Accelerators beside the GPU.
        functions: What plans of :func:`make_function_plan` compute, by name.
        ran: What was computed, in that order: names of functions, "" for graphs.
    """

    def __init__(self, cuda):
        self.cuda = cuda
        self.runtimes = []
        self.executions = 0
        self.refuse_execution = ""
        self.validity = (0, 0)
        self.kernels = b"kernels of this device"
        self.compiled = 0
        self.dla_cores = 0
        self.functions = {}
        self.ran = []

    def make_runtime(self, logger):
        runtime = Runtime(self, logger)
        self.runtimes.append(runtime)
        return runtime


class Runtime:
    def __init__(self, double, logger):
        self.double, self.logger = double, logger
        self.engine_host_code_allowed = False
        self.num_DLA_cores = double.dla_cores

    def deserialize_cuda_engine(self, plan):
        assert not self.engine_host_code_allowed
        if plan[:4] not in {b"ftrt", b"vtrt"}:
            self.logger.log(Severity.ERROR, "Serialization assertion header.magicTag == kEXPECTED_MAGIC_TAG failed.")
            return None
        return Engine(self.double, self.logger, bytes(plan[HEADER:]))


class Engine:
    def __init__(self, double, logger, graph):
        self.double, self.logger = double, logger
        self.name = graph.removeprefix(FUNCTION).decode() if graph.startswith(FUNCTION) else ""
        if self.name:
            self.session = double.functions[self.name]
        else:
            import onnxruntime  # a process that only builds does without it

            self.session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        self.inputs = {node.name: node for node in self.session.get_inputs()}
        self.tensors = {**self.inputs, **{node.name: node for node in self.session.get_outputs()}}
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, i):
        return list(self.tensors)[i]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_location(self, _):
        return TensorLocation.DEVICE

    def is_shape_inference_io(self, _):
        return False

    def get_tensor_shape(self, name):
        return tuple(size if isinstance(size, int) else -1 for size in self.tensors[name].shape)

    def get_tensor_dtype(self, name):
        return {"tensor(float)": DataType.FLOAT, "tensor(int64)": DataType.INT64}[self.tensors[name].type]

    def create_execution_context(self, config=None):
        return ExecutionContext(self, config)

    def create_runtime_config(self):
        return RuntimeConfig(self.double)


class RuntimeConfig:
    def __init__(self, double):
        self.double, self.cache = double, None
        self.cuda_graph_strategy = 0

    def create_runtime_cache(self):
        return RuntimeCache(self.double)

    def set_runtime_cache(self, cache):
        self.cache = cache


class RuntimeCache:
    def __init__(self, double):
        self.double, self.content = double, b""

    def deserialize(self, content):
        self.content = bytes(content) if bytes(content) == self.double.kernels else b""
        return bool(self.content)

    def serialize(self):
        return self.content


class ExecutionContext:
    def __init__(self, engine, config):
        self.engine, self.double = engine, engine.double
        self.addresses, self.shapes = {}, {}
        if config is not None:
            assert config.cuda_graph_strategy == 1
            if not config.cache.content:
                self.double.compiled += 1
                config.cache.content = self.double.kernels

    def set_input_shape(self, name, shape):
        self.shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def infer_shapes(self):
        return [name for name in self.engine.inputs if name not in self.shapes]

    def get_tensor_shape(self, name):
        return self.shapes.get(name) or self.engine.get_tensor_shape(name)

    def execute_async_v3(self, handle):
        double = self.double
        stream = double.cuda.stream(handle)
        if double.refuse_execution == "always" or (
            double.refuse_execution == "captured" and stream.captured is not None
        ):
            self.engine.logger.log(Severity.ERROR, "IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime (bad)")
            return False
        names = self.engine.tensors
        spans = {name: self._span(name) for name in names}
        inputs = tuple(span for name, span in spans.items() if name in self.engine.inputs)
        outputs = tuple(span for name, span in spans.items() if name not in self.engine.inputs)
        double.cuda.add(stream, Work(self._compute, inputs, outputs))
        return True

    def _span(self, name):
        size = int(np.prod(self.get_tensor_shape(name))) * np.dtype(nptype(self.engine.get_tensor_dtype(name))).itemsize
        return Span(self.addresses[name], self.addresses[name] + size)

    def _compute(self):
        self.double.executions += 1
        self.double.ran.append(self.engine.name)
        feeds = {name: self._array(name).copy() for name in self.engine.inputs}
        names = [name for name in self.engine.tensors if name not in feeds]
        for name, made in zip(names, self.engine.session.run(None, feeds), strict=True):
            self._array(name)[...] = made

    def _array(self, name):
        shape, dtype = self.get_tensor_shape(name), np.dtype(nptype(self.engine.get_tensor_dtype(name)))
        size = int(np.prod(shape)) * dtype.itemsize
        self.double.cuda.require_alive(self.addresses[name], size)
        memory = self.double.cuda.memory[self.addresses[name]]
        return np.frombuffer(memory, dtype, count=int(np.prod(shape))).reshape(shape)


NAMES = [
    Builder, BuilderFlag, DataType, ILogger, MemoryPoolType, NetworkDefinitionCreationFlag, OnnxParser,
    ProfilingVerbosity,
    TensorIOMode, TensorLocation, nptype,
]  # fmt: skip


def as_tensorrt(double: RuntimeDouble | None = None) -> ModuleType:
    """A TensorRT 10.3; without a device it can build."""
    module = ModuleType("tensorrt")
    module.__version__ = "10.3.0"
    for each in NAMES:
        setattr(module, each.__name__, each)
    if double is not None:
        module.Runtime = double.make_runtime
    return module


def as_rtx(double: RuntimeDouble) -> ModuleType:
    """A TensorRT-RTX 1.7.1.116."""
    module = as_tensorrt(double)
    module.__version__ = "1.7.1.116"
    module.CudaGraphStrategy = IntEnum("CudaGraphStrategy", {"DISABLED": 0, "WHOLE_GRAPH_CAPTURE": 1})
    module.EngineValidity = IntEnum("EngineValidity", {"VALID": 0, "SUBOPTIMAL": 1, "INVALID": 2})
    module.EngineInvalidityDiagnostics = IntEnum(
        "EngineInvalidityDiagnostics", {"VERSION_MISMATCH": 1, "UNSUPPORTED_CC": 2, "MALFORMED_ENGINE": 32}
    )

    def make_runtime(logger):
        runtime = double.make_runtime(logger)
        runtime.get_engine_validity = lambda header: double.validity if len(header) == HEADER else (2, 32)
        return runtime

    module.Runtime = make_runtime
    return module
