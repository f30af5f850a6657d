"""Memory, streams and graphs of an NVIDIA device, through ``cuda.bindings``; needs its driver and no toolkit.

What is let go is given back without a look at the status: at the end of a process the driver may be gone already.

Source: docs.nvidia.com/cuda/cuda-runtime-api; nvidia.github.io/cuda-python/cuda-bindings.
"""

import ctypes
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mmedge.errors import BackendError, needs
from mmedge.types import Array

__all__ = ["Device", "DeviceBuffer", "Event", "Graph", "Rows", "Stream", "find_device", "pinned_like"]

FIX = "pip install 'cuda-bindings>=13' (on JetPack 6: 'cuda-bindings>=12.9,<13')"
NON_BLOCKING = 1  # cudaStreamNonBlocking: no waiting for the default stream
NO_TIMING = 2  # cudaEventDisableTiming
PORTABLE = 1  # cudaHostAllocPortable
DEFAULT_STREAM = 0  # what has no stream of its own is done there, also when the call has returned


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """The GPU that computes.

    Attributes:
        name: As the driver gives it.
        capability: Compute capability, e.g. ``sm86``.
        memory_bytes: Of the whole device.
        driver: Version of CUDA that the driver brings, e.g. ``13.0``.
    """

    name: str
    capability: str
    memory_bytes: int
    driver: str


def find_device() -> Device:
    """The first GPU.

    Raises:
        MissingLibraryError: cuda.bindings is not installed.
        BackendError: There is no driver, or it knows no GPU; known at once, nothing was loaded for it.
    """
    runtime = _runtime()
    status, count = runtime.cudaGetDeviceCount()
    if status != runtime.cudaError_t.cudaSuccess or not count:
        why = "no GPU is visible" if status == runtime.cudaError_t.cudaSuccess else _name(runtime, status)
        raise BackendError(f"no NVIDIA GPU can be used here ({why}); try: nvidia-smi, and mmedge doctor")
    properties = _call("cudaGetDeviceProperties", 0)
    version = _call("cudaDriverGetVersion")
    name = properties.name
    return Device(
        name=name.decode().rstrip("\0") if isinstance(name, bytes) else str(name),
        capability=f"sm{properties.major}{properties.minor}",
        memory_bytes=int(properties.totalGlobalMem),
        driver=f"{version // 1000}.{version % 1000 // 10}",
    )


class Event:
    """A point in the work of a stream."""

    def __init__(self) -> None:
        self.handle = _call("cudaEventCreateWithFlags", NO_TIMING)
        weakref.finalize(self, _runtime().cudaEventDestroy, self.handle)

    def synchronize(self) -> None:
        """Wait on the CPU until it is reached; at once if it was never recorded.

        Raises:
            BackendError: The work before it failed.
        """
        _call("cudaEventSynchronize", self.handle)


class Rows(NamedTuple):
    """Runs of bytes on the device.

    Attributes:
        address: Of the first one.
        pitch: From the beginning of one to that of the next, in bytes.
    """

    address: int
    pitch: int


class Graph:
    """Work that was captured, to be started by one call."""

    def __init__(self, captured: Any) -> None:
        self.handle = _call("cudaGraphInstantiate", captured, 0)
        weakref.finalize(self, _runtime().cudaGraphExecDestroy, self.handle)


class Stream:
    """Work of the device in its order."""

    def __init__(self) -> None:
        self.handle = _call("cudaStreamCreateWithFlags", NON_BLOCKING)
        weakref.finalize(self, _runtime().cudaStreamDestroy, self.handle)

    def upload(self, target: "DeviceBuffer", source: Array) -> None:
        """Start a copy from pinned memory, which must stay as it is until the copy is done."""
        self._copy(target.address, source.ctypes.data, source.nbytes, "cudaMemcpyHostToDevice")

    def download(self, target: Array, source: "DeviceBuffer") -> None:
        """Start a copy into pinned memory."""
        self._copy(target.ctypes.data, source.address, target.nbytes, "cudaMemcpyDeviceToHost")

    def copy(self, target: "Rows", source: "Rows", width: int, count: int) -> None:
        """Start a copy on the device, of so many runs of bytes, each so wide."""
        kind = _runtime().cudaMemcpyKind.cudaMemcpyDeviceToDevice
        _call(
            "cudaMemcpy2DAsync", target.address, target.pitch, source.address, source.pitch, width, count, kind,
            self.handle,
        )  # fmt: skip

    def _copy(self, target: int, source: int, size: int, kind: str) -> None:
        _call("cudaMemcpyAsync", target, source, size, getattr(_runtime().cudaMemcpyKind, kind), self.handle)

    def wait(self, event: Event) -> None:
        """Let what comes after this wait, on the device, for an event of another stream."""
        _call("cudaStreamWaitEvent", self.handle, event.handle, 0)

    def record(self, event: Event) -> None:
        """Put the event behind the work so far."""
        _call("cudaEventRecord", event.handle, self.handle)

    def synchronize(self) -> None:
        """Wait on the CPU until all work is done.

        Raises:
            BackendError: Some of it failed.
        """
        _call("cudaStreamSynchronize", self.handle)

    def capture(self, enqueue: Callable[[], None]) -> Graph:
        """Record the work that ``enqueue`` gives to this stream instead of doing it.

        Raises:
            BackendError: Some of it cannot be captured; the stream can be used as before.
        """
        mode = _runtime().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        _call("cudaStreamBeginCapture", self.handle, mode)
        try:
            enqueue()
        except BaseException:
            _runtime().cudaStreamEndCapture(self.handle)  # its status only repeats that something went wrong
            raise
        captured = _call("cudaStreamEndCapture", self.handle)
        try:
            return Graph(captured)
        finally:
            _call("cudaGraphDestroy", captured)

    def launch(self, graph: Graph) -> None:
        """Start captured work."""
        _call("cudaGraphLaunch", graph.handle, self.handle)


class DeviceBuffer:
    """Zeroed memory of the device.

    Args:
        size: In bytes.

    Attributes:
        address: Where it is.
    """

    def __init__(self, size: int) -> None:
        self._size = max(1, size)
        self.address = int(_call("cudaMalloc", self._size))
        weakref.finalize(self, _runtime().cudaFree, self.address)
        self.clear()

    def clear(self) -> None:
        """Fill it with zeros; done when it returns, for all streams."""
        _call("cudaMemset", self.address, 0, self._size)
        _call("cudaStreamSynchronize", DEFAULT_STREAM)  # a memset does not wait, and other streams not for it


def pinned_like(array: Array) -> Array:
    """An array of the same shape and dtype in memory that the device copies from and to by itself."""
    address = int(_call("cudaHostAlloc", max(1, array.nbytes), PORTABLE))
    memory: Any = (ctypes.c_uint8 * array.nbytes).from_address(address)
    flat: npt.NDArray[np.uint8] = np.frombuffer(memory, np.uint8)
    weakref.finalize(memory, _runtime().cudaFreeHost, address)  # every view of it holds it
    return flat.view(array.dtype).reshape(array.shape)


def _runtime() -> Any:
    return needs("cuda.bindings.runtime", fix=FIX)


def _call(function: str, *arguments: Any) -> Any:
    runtime = _runtime()
    status, *values = getattr(runtime, function)(*arguments)
    if status != runtime.cudaError_t.cudaSuccess:
        raise BackendError(f"{function} failed: {_name(runtime, status)}")
    return values[0] if values else None


def _name(runtime: Any, status: Any) -> str:
    _, name = runtime.cudaGetErrorName(status)
    return name.decode() if isinstance(name, bytes) else str(name)
