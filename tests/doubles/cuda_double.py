"""The part of cuda.bindings.runtime that mmedge uses, in memory.

Work of a stream is done as late as is allowed: at a synchronisation, and then only what that waits for. So whatever was
not waited for has visibly not happened. ``Cuda(eager=True)`` does it as early as is allowed: at once.

Whatever the order in which things happen to be done, two uses of the same bytes, one of which writes, must be put in
order by a stream, by events, or by the host that waits between them. Those that are not are in ``Cuda.races``.

Source: L. Lamport, Time, clocks, and the ordering of events, 1978; C. Fidge and F. Mattern on vector clocks, 1988.
"""

import ctypes
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from threading import RLock, local
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

__all__ = ["Cuda"]

Clock = dict[int, int]  # how much of each stream's work is known to be done before
POISON = 0xCD


class Status(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900


class Kind(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3


class Span(NamedTuple):
    """Bytes from one address to another one."""

    begin: int
    end: int


@dataclass(frozen=True)
class Work:
    """What a stream does, and the bytes that it reads and writes."""

    do: Callable[[], None]
    reads: tuple[Span, ...] = ()
    writes: tuple[Span, ...] = ()


class Use(NamedTuple):
    """One use of bytes: by which stream, as its how manieth work."""

    span: Span
    writes: bool
    stream: int
    number: int


@dataclass(eq=False)
class FakeStream:
    number: int
    queue: list[Callable[[], None] | None] = field(default_factory=list)  # None: done
    done: int = 0
    captured: list[Work] | None = None
    clock: Clock = field(default_factory=dict)

    def __int__(self) -> int:
        return self.number

    def run(self, upto: int) -> None:
        while self.done < upto:
            work, self.queue[self.done] = self.queue[self.done], None
            self.done += 1
            work()


@dataclass(eq=False)
class FakeEvent:
    stream: FakeStream | None = None
    place: int = 0
    clock: Clock = field(default_factory=dict)

    def reach(self) -> None:
        if self.stream is not None:
            self.stream.run(self.place)


def learn(clock: Clock, other: Clock) -> None:
    for stream, number in other.items():
        clock[stream] = max(clock.get(stream, 0), number)


class Cuda:
    """One device.

    Attributes:
        module: What is imported as ``cuda.bindings.runtime``.
        alive: Address and size of everything that is allocated.
        counts: How often each function was called.
        copies: (kind, bytes) of each copy that was done.
        fail: Function name to the status that it gives from now on.
        races: Uses of the same bytes that nothing puts in order.
    """

    def __init__(self, devices: int = 1, *, eager: bool = False) -> None:
        self.devices = devices
        self.eager = eager
        self.races: list[str] = []
        self.uses: dict[int, list[Use]] = {}  # by address of the allocation
        self.hosts = local()
        self.lock = RLock()
        self.start: Clock = {}  # what every thread knows
        self.memory: dict[int, ctypes.Array[ctypes.c_char]] = {}
        self.alive: dict[int, int] = {}
        self.streams: dict[int, FakeStream] = {0: FakeStream(number=0)}
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
            with self.lock:
                self.counts[name] += 1
                if name in self.fail:
                    return (self.fail[name], None)
                result = function(*arguments)
                return result if isinstance(result, tuple) else (Status.cudaSuccess, result)

        return call

    def forget(self) -> None:
        """Let go of all work and its history; what is allocated can still be freed."""
        self.uses.clear()
        self.copies.clear()
        for stream in self.streams.values():
            stream.queue, stream.done, stream.clock = [], 0, {}

    def stream(self, handle: int) -> FakeStream:
        return self.streams[int(handle)]

    @property
    def host(self) -> Clock:
        """What the thread that calls has waited for."""
        if not hasattr(self.hosts, "clock"):
            self.hosts.clock = {}
        learn(self.hosts.clock, self.start)
        return self.hosts.clock

    def add(self, stream: FakeStream, work: Work) -> None:
        """Give work to a stream."""
        with self.lock:
            if stream.captured is not None:
                stream.captured.append(work)
                return
            learn(stream.clock, self.host)
            number = stream.clock[stream.number] = stream.clock.get(stream.number, 0) + 1
            for spans, writes in ((work.reads, False), (work.writes, True)):
                for span in spans:
                    self.note(Use(span, writes, stream.number, number), stream.clock)
            stream.queue.append(work.do)
            if self.eager:
                stream.run(len(stream.queue))

    def note(self, use: Use, clock: Clock) -> None:
        """Compare with all earlier uses of the same bytes."""
        base = self.require_alive(use.span.begin, use.span.end - use.span.begin)
        kept = []
        for other in self.uses.setdefault(base, []):
            meets = other.span.begin < use.span.end and use.span.begin < other.span.end
            ordered = clock.get(other.stream, 0) >= other.number
            if meets and (use.writes or other.writes) and not ordered:
                self.races.append(f"{other} and {use}")
            covers = use.span.begin <= other.span.begin and other.span.end <= use.span.end
            if not (covers and ordered and (use.writes or not other.writes)):
                kept.append(other)
        self.uses[base] = [*kept, use]

    def _allocate(self, size: int) -> int:
        memory = (ctypes.c_char * size)(*b"\xff" * min(size, 64))  # not zeros: those have to be asked for
        address = ctypes.addressof(memory)
        self.memory[address], self.alive[address] = memory, size
        return address

    def _free(self, address: int) -> None:
        size = self.alive.pop(int(address))  # fails for what was freed before, or never allocated
        ctypes.memset(int(address), POISON, size)
        self.uses.pop(int(address), None)

    def require_alive(self, address: int, size: int) -> int:
        """The allocation that these bytes are of."""
        return next(
            begin for begin, length in self.alive.items() if begin <= address and address + size <= begin + length
        )

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
        span = Span(address, address + size)
        self.require_alive(address, size)
        self.add(self.stream(0), Work(lambda: ctypes.memset(address, value, size) and None, writes=(span,)))

    def _cudaMemcpyAsync(self, target, source, size, kind, stream):
        def copy():
            self.require_alive(target, size)
            self.require_alive(source, size)
            ctypes.memmove(target, source, size)
            self.copies.append((Kind(kind).name.removeprefix("cudaMemcpy"), size))

        self.add(stream, Work(copy, (Span(source, source + size),), (Span(target, target + size),)))

    def _cudaMemcpy2DAsync(self, target, target_pitch, source, source_pitch, width, count, kind, stream):  # noqa: PLR0917
        assert 0 < width <= min(target_pitch, source_pitch)
        rows = [(target + i * target_pitch, source + i * source_pitch) for i in range(count)]
        reads = tuple(Span(begin, begin + width) for _, begin in rows)
        writes = tuple(Span(begin, begin + width) for begin, _ in rows)
        assert not any(r.begin < w.end and w.begin < r.end for r in reads for w in writes)  # it would be undefined

        def copy():
            for to, begin in rows:
                ctypes.memmove(to, begin, width)
            self.copies.append((Kind(kind).name.removeprefix("cudaMemcpy"), width * count))

        self.add(stream, Work(copy, reads, writes))

    def _cudaStreamCreateWithFlags(self, flags):
        assert flags == 1
        stream = FakeStream(number=len(self.streams))
        self.streams[stream.number] = stream
        return stream

    def _cudaStreamDestroy(self, stream):
        pass

    def _cudaStreamSynchronize(self, stream):
        stream = stream if isinstance(stream, FakeStream) else self.stream(stream)
        stream.run(len(stream.queue))
        learn(self.start if stream.number == 0 else self.host, stream.clock)  # 0: memory is made before threads are

    def _cudaStreamWaitEvent(self, stream, event, _):
        waited = FakeEvent(stream=event.stream, place=event.place)  # what is recorded later is another matter
        learn(stream.clock, event.clock)
        self.add(stream, Work(waited.reach))

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
            self.add(stream, work)

    def _cudaEventCreateWithFlags(self, flags):
        assert flags == 2
        return FakeEvent()

    def _cudaEventDestroy(self, event):
        pass

    def _cudaEventRecord(self, event, stream):
        event.stream, event.place, event.clock = stream, len(stream.queue), dict(stream.clock)

    def _cudaEventSynchronize(self, event):
        event.reach()
        learn(self.host, event.clock)
