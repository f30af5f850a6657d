"""Engines of TensorRT 10 and 11 and of TensorRT-RTX: one code path, on the names that all of them have.

Source: docs.nvidia.com/deeplearning/tensorrt, the Python API of 10.3, 10.13 and 11.4; TensorRT-RTX 1.7.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.backends.base import Buffers
from mmedge.backends.cuda import DeviceBuffer, Event, Graph, Stream, find_device, pinned_like
from mmedge.backends.device import CudaMemory, CudaTensor
from mmedge.errors import BackendError, BundleError, EngineError, InputError, needs
from mmedge.local import read_if_there, write_atomic
from mmedge.types import Array

__all__ = ["TrtSession", "dla_cores", "library_version"]

KEPT_LOG_LINES = 50
HEADER_BYTES = 64
ECHO = "checkMacros.cpp::catchCudaError"  # follows every error where there is no driver, and says nothing


def library_version(library: str) -> str:
    """The installed version of ``tensorrt`` or ``tensorrt-rtx``.

    Raises:
        MissingLibraryError: It is not installed.
    """
    return str(_library(library).__version__)


def dla_cores() -> int:
    """How many deep-learning accelerators TensorRT finds beside the GPU; only some Jetsons have any.

    Raises:
        MissingLibraryError: tensorrt is not installed, or cuda.bindings.
        BackendError: There is no GPU or no driver.
    """
    find_device()  # first: without a driver some versions crash instead of saying so
    trt = _library("tensorrt")
    return int(trt.Runtime(_log_of(trt)).num_DLA_cores)


class TrtSession:
    """One engine; every binding has an execution context and a stream of its own.

    Args:
        plan: The engine's bytes, whose hash was checked: deserialising is running a program.
        library: ``tensorrt`` or ``tensorrt-rtx``.
        name: The stage, for messages.
        memory: What the sessions of one model share.
        runtime_cache: Where TensorRT-RTX keeps the kernels that it compiled for this device, or None.

    Attributes:
        memory: See ``Args``.
        notes: What is not as fast as it could be, and why.

    Raises:
        MissingLibraryError: The library is not installed, or cuda.bindings.
        BackendError: There is no GPU or no driver.
        EngineError: The library refuses the engine.
    """

    def __init__(
        self, plan: bytes, *, library: str, name: str, memory: CudaMemory, runtime_cache: Path | None = None
    ) -> None:
        device = memory.device  # first: without a driver some of the libraries crash instead of saying so
        self._trt = trt = _library(library)
        self._name, self.memory, self._cache_path = name, memory, runtime_cache
        self._log = _log_of(trt)
        self._runtime = runtime = trt.Runtime(self._log)
        _refuse_unfit(trt, runtime, plan, f"stage {name}: the engine does not fit {device.name} ({device.capability})")
        self._engine = engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineError(
                f"stage {name}: {library} {trt.__version__} cannot load the engine ({_last_error(self._log)}); "
                "build it again with mmedge build"
            )
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        self.inputs = tuple(each for each in names if engine.get_tensor_mode(each) == trt.TensorIOMode.INPUT)
        self.outputs = tuple(each for each in names if engine.get_tensor_mode(each) == trt.TensorIOMode.OUTPUT)
        self.notes: list[str] = []

    def bind(self, buffers: Buffers) -> Callable[[], None]:
        """See :meth:`mmedge.backends.base.Session.bind`.

        What is called returns when the outputs that are arrays hold their values. If all of them are tensors on the
        device it returns when the work is started; what reads them waits for it there.

        Raises:
            BundleError: The engine has other inputs or outputs than the buffers.
            BackendError: The device has no memory for it; also when what is returned is called and the device fails.
        """
        self._check(buffers)
        devices = {
            name: buffer if isinstance(buffer, CudaTensor) else DeviceBuffer(buffer.nbytes)
            for name, buffer in buffers.items()
        }
        bound = _Bound(self._name, self._placed_context(buffers, devices), self._log)
        for name, buffer in buffers.items():
            if isinstance(buffer, CudaTensor):
                bound.share(buffer, written=name in self.outputs)
            elif name in self.inputs:
                bound.uploads.append((buffer, pinned_like(buffer), devices[name]))
            else:
                bound.downloads.append((buffer, pinned_like(buffer), devices[name]))
        bound.made += [devices[name] for name in self.outputs]
        bound.keep += [self, *devices.values()]  # the context keeps neither its engine nor its memory alive
        if note := bound.prepare(capture=not hasattr(self._trt, "CudaGraphStrategy")):
            self.notes.append(note)
        return bound

    def _placed_context(self, buffers: Buffers, devices: Mapping[str, DeviceBuffer]) -> Any:
        """A context that knows where everything is, and makes what the buffers can hold."""
        context = self._new_context()
        if context is None:
            raise BackendError(f"stage {self._name} gets no execution context ({_last_error(self._log)})")
        for name, array in buffers.items():
            if name in self.inputs and not context.set_input_shape(name, array.shape):
                raise EngineError(f"stage {self._name}: the engine was not built for {name} of {list(array.shape)}")
            if not context.set_tensor_address(name, devices[name].address):
                raise EngineError(f"stage {self._name}: {name} cannot be bound ({_last_error(self._log)})")
        if missing := context.infer_shapes():
            raise EngineError(f"stage {self._name}: the engine also wants a shape of {', '.join(missing)}")
        for name in self.outputs:
            if (shape := tuple(context.get_tensor_shape(name))) != buffers[name].shape:
                raise BundleError(
                    f"stage {self._name}: {name} is {list(shape)} in its engine, {list(buffers[name].shape)} in the "
                    "manifest; build it again with mmedge build"
                )
        return context

    def _check(self, buffers: Buffers) -> None:
        if unlike := sorted({*self.inputs, *self.outputs} ^ buffers.keys()):
            where = "the manifest" if unlike[0] in buffers else "its engine"
            raise BundleError(f"stage {self._name} has {unlike[0]!r} only in {where}; build it with mmedge build")
        trt, engine = self._trt, self._engine
        for name, array in buffers.items():
            if not isinstance(array, CudaTensor) and not array.flags.c_contiguous:
                raise InputError(f"the buffer of {name} is not contiguous")
            if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE or engine.is_shape_inference_io(name):
                raise EngineError(f"stage {self._name}: {name} is a shape, not data; export with fixed shapes")
            shape, dtype = tuple(engine.get_tensor_shape(name)), _dtype(trt, engine.get_tensor_dtype(name))
            fits = len(shape) == len(array.shape) and all(
                size in {-1, given} for size, given in zip(shape, array.shape, strict=True)
            )
            if dtype != array.dtype or not fits:
                raise BundleError(
                    f"stage {self._name}: {name} is {list(shape)} {dtype} in its engine, {list(array.shape)} "
                    f"{array.dtype} in the manifest; build it again with mmedge build"
                )

    def _new_context(self) -> Any:
        """A context; TensorRT-RTX compiles for this device here, or finds that it has done so before."""
        trt, engine = self._trt, self._engine
        if not hasattr(trt, "CudaGraphStrategy"):
            return engine.create_execution_context()
        config = engine.create_runtime_config()
        config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        cache = config.create_runtime_cache()
        before = read_if_there(self._cache_path) if self._cache_path else b""
        if before and not cache.deserialize(before):
            self.notes.append(f"stage {self._name}: the compiled kernels were of another driver or GPU; compiled again")
            before = b""
        config.set_runtime_cache(cache)
        context = engine.create_execution_context(config)
        if context is not None and self._cache_path and (after := bytes(cache.serialize())) != before:
            try:
                write_atomic(self._cache_path, after)
            except OSError as error:
                self.notes.append(f"{self._cache_path} cannot be written ({error.strerror}): kernels compile anew")
        return context


class _Bound:
    """One stage tied to its buffers: copies in, the engine, copies out, on a stream of its own."""

    def __init__(self, name: str, context: Any, log: Any) -> None:
        self._context = context  # the first attribute, and so the first to go: before its engine and its memory
        self.uploads: list[tuple[Array, Array, DeviceBuffer]] = []
        self.downloads: list[tuple[Array, Array, DeviceBuffer]] = []
        self.made: list[DeviceBuffer] = []
        self.keep: list[object] = []
        self._name, self._log = name, log
        self._read: list[CudaTensor] = []
        self._written: list[CudaTensor] = []
        self._stream, self._done = Stream(), Event()
        self._graph: Graph | None = None

    def share(self, tensor: CudaTensor, *, written: bool) -> None:
        """Wait for what else reads or writes this tensor, and let it wait for this."""
        (self._written if written else self._read).append(tensor)
        (tensor.writes if written else tensor.reads).append(self._done)

    def prepare(self, *, capture: bool) -> str:
        """Run once, so that the first real run is as fast as any; the reason if it cannot be captured as a graph."""
        note = ""
        try:
            self._start()
            self._stream.synchronize()
        except BackendError as error:
            raise BackendError(f"stage {self._name} cannot be computed: {error}") from error
        if capture:
            try:
                self._graph = self._stream.capture(self._enqueue)
            except BackendError as error:
                note = f"stage {self._name} runs without a CUDA graph: {error}"
        for buffer in self.made:
            buffer.clear()  # as if it had never run
        return note

    def __call__(self) -> None:
        try:
            self._start()
            if self.downloads:
                self._done.synchronize()
        except BackendError as error:
            raise BackendError(f"stage {self._name} cannot be computed: {error}") from error
        for array, pinned, _ in self.downloads:
            np.copyto(array, pinned)

    def _start(self) -> None:
        if self.uploads:
            self._done.synchronize()  # the copies of a run before may still read the pinned memory
        for array, pinned, _ in self.uploads:
            np.copyto(pinned, array)
        for event in self._others():
            self._stream.wait(event)
        if self._graph is None:
            self._enqueue()
        else:
            self._stream.launch(self._graph)
        self._stream.record(self._done)

    def _others(self) -> list[Event]:
        made = [event for tensor in (*self._read, *self._written) for event in tensor.writes]
        used = [event for tensor in self._written for event in tensor.reads]
        return [event for event in dict.fromkeys([*made, *used]) if event is not self._done]

    def _enqueue(self) -> None:
        for _, pinned, device in self.uploads:
            self._stream.upload(device, pinned)
        if not self._context.execute_async_v3(int(self._stream.handle)):
            raise BackendError(_last_error(self._log))
        for _, pinned, device in self.downloads:
            self._stream.download(pinned, device)


def _library(library: str) -> Any:
    if library == "tensorrt":
        return needs("tensorrt", fix="pip install tensorrt (on a Jetson it comes with JetPack: apt install tensorrt)")
    return needs("tensorrt_rtx", fix="pip install 'mmedge[rtx]'")


def _refuse_unfit(trt: Any, runtime: Any, plan: bytes, what: str) -> None:
    """Ask TensorRT-RTX what it thinks of the header; TensorRT has no such question."""
    if not hasattr(runtime, "get_engine_validity"):
        return
    validity, reasons = runtime.get_engine_validity(plan[:HEADER_BYTES])
    if validity == trt.EngineValidity.INVALID:
        known = trt.EngineInvalidityDiagnostics.__members__
        names = [name for name, bit in known.items() if int(reasons) & int(bit)]
        raise EngineError(f"{what}: {', '.join(names).lower().replace('_', ' ') or 'it is not valid'}; build it again")


def _dtype(trt: Any, kind: Any) -> Any:
    try:
        return np.dtype(trt.nptype(kind))
    except TypeError:  # bfloat16 and narrower, which numpy does not have
        return str(kind)


def _log_of(trt: Any) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc]
        """Keeps the last errors."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in {trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR} and ECHO not in message:
                self.errors = [*self.errors[1 - KEPT_LOG_LINES :], message]

    return Log()


def _last_error(log: Any) -> str:
    return " ".join(log.errors[-1].split())[:300] if log.errors else "it does not say why"
