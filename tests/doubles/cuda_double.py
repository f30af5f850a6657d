"""The part of cuda.bindings.runtime that mmedge uses, in memory.

Work of a stream is done as late as is allowed: at a synchronisation, and then only what that waits for. So whatever was
not waited for has visibly not happened.
"""

import ctypes
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from types import ModuleType, SimpleNamespace

__all__ = ["Cuda"]


class Status(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900


class Kind(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


@dataclass(eq=False)
class FakeStream:
    number: int
    queue: list[Callable[[], None]] = field(default_factory=list)
    done: int = 0
    captured: list[Callable[[], None]] | None = None

    def __int__(self) -> int:
        return self.number

    def add(self, work: Callable[[], None]) -> None:
        (self.queue if self.captured is None else self.captured).append(work)

    def run(self, upto: int) -> None:
        while self.done < upto:
            work = self.queue[self.done]
            self.done += 1
            work()


@dataclass(eq=False)
class FakeEvent:
    stream: FakeStream | None = None
    place: int = 0

    def reach(self) -> None:
        if self.stream is not None:
            self.stream.run(self.place)


class Cuda:
    """One device.

    Attributes:
        module: What is imported as ``cuda.bindings.runtime``.
        alive: Address and size of everything that is allocated.
        counts: How often each function was called.
        copies: (kind, bytes) of each copy that was done.
        fail: Function name to the status that it gives from now on.
    """

    def __init__(self, devices: int = 1) -> None:
        self.devices = devices
        self.memory: dict[int, ctypes.Array[ctypes.c_char]] = {}
        self.alive: dict[int, int] = {}
        self.streams: dict[int, FakeStream] = {}
        self.counts: Counter[str] = Counter()
        self.copies: list[tuple[str, int]] = []
        self.fail: dict[str, Status] = {}
        self.module = ModuleType("cuda.bindings.runtime")
        self.module.cudaError_t = Status
        self.module.cudaMemcpyKind = Kind
        self.module.cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
        for name in dir(self):
            if name.startswith("_cuda"):
                setattr(self.module, name[1:], self._counted(name[1:], getattr(self, name)))

    def _counted(self, name, function):
        def call(*arguments):
            self.counts[name] += 1
            if name in self.fail:
                return (self.fail[name], None)
            result = function(*arguments)
            return result if isinstance(result, tuple) else (Status.cudaSuccess, result)

        return call

    def stream(self, handle: int) -> FakeStream:
        return self.streams[handle]

    def _allocate(self, size: int) -> int:
        memory = (ctypes.c_char * size)(*b"\xff" * min(size, 64))  # not zeros: those have to be asked for
        address = ctypes.addressof(memory)
        self.memory[address], self.alive[address] = memory, size
        return address

    def _free(self, address: int) -> None:
        del self.alive[int(address)]  # fails for what was freed before, or never allocated

    def require_alive(self, address: int, size: int) -> None:
        assert any(begin <= address and address + size <= begin + length for begin, length in self.alive.items())

    def _cudaGetDeviceCount(self):
        if not self.devices:
            return (Status.cudaErrorInsufficientDriver, None)
        return self.devices

    def _cudaGetErrorName(self, status):
        return Status(status).name.encode()

    def _cudaGetDeviceProperties(self, _):
        return SimpleNamespace(name=b"Double RTX", major=8, minor=6, totalGlobalMem=8 << 30)

    def _cudaDriverGetVersion(self):
        return 13000

    def _cudaMalloc(self, size):
        return self._allocate(size)

    def _cudaFree(self, address):
        self._free(address)

    def _cudaHostAlloc(self, size, _):
        return self._allocate(size)

    def _cudaFreeHost(self, address):
        self._free(address)

    def _cudaMemset(self, address, value, size):
        self.require_alive(address, size)
        ctypes.memset(address, value, size)

    def _cudaMemcpyAsync(self, target, source, size, kind, stream):
        def copy():
            self.require_alive(target, size)
            self.require_alive(source, size)
            ctypes.memmove(target, source, size)
            self.copies.append((Kind(kind).name.removeprefix("cudaMemcpy"), size))

        stream.add(copy)

    def _cudaStreamCreateWithFlags(self, flags):
        assert flags == 1
        stream = FakeStream(number=len(self.streams) + 1)
        self.streams[stream.number] = stream
        return stream

    def _cudaStreamDestroy(self, stream):
        pass

    def _cudaStreamSynchronize(self, stream):
        stream.run(len(stream.queue))

    def _cudaStreamWaitEvent(self, stream, event, _):
        waited = FakeEvent(stream=event.stream, place=event.place)  # what is recorded later is another matter
        stream.add(waited.reach)

    def _cudaStreamBeginCapture(self, stream, _):
        stream.captured = []

    def _cudaStreamEndCapture(self, stream):
        captured, stream.captured = stream.captured, None
        return captured

    def _cudaGraphInstantiate(self, captured, _):
        return list(captured)

    def _cudaGraphDestroy(self, captured):
        pass

    def _cudaGraphExecDestroy(self, graph):
        graph.clear()

    def _cudaGraphLaunch(self, graph, stream):
        for work in graph:
            stream.add(work)

    def _cudaEventCreateWithFlags(self, flags):
        assert flags == 2
        return FakeEvent()

    def _cudaEventDestroy(self, event):
        pass

    def _cudaEventRecord(self, event, stream):
        event.stream, event.place = stream, len(stream.queue)

    def _cudaEventSynchronize(self, event):
        event.reach()
