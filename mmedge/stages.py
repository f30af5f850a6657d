"""Runs the stages of a split model, each only when something that it reads is new."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from time import perf_counter_ns

import numpy as np

from mmedge.backends.base import DeviceTensor, Session, Tensor, memory_of
from mmedge.gates import GATE_VALUES, GATE_WEIGHTS
from mmedge.manifest import Manifest, Stage, TensorSpec
from mmedge.types import Array

__all__ = ["StageGraph", "embeddings"]


class StageGraph:
    """One set of buffers through all stages, or some of them; not for use by two threads at once.

    Args:
        manifest: The model.
        sessions: What computes each stage.
        stages: Which stages, in an order in which they can run; all by default. What they read and none of them makes
            is written by the caller, like ports, and needs a :meth:`mark`.
        also: Tensors to keep beside those that the stages use.
        clock: Nanoseconds that ``work_ns`` is counted in: of the wall, or of the processor.
        resident: Tensors that a device may keep; they are then not among ``tensors``, on no backend.

    Attributes:
        tensors: What each reader sees, by tensor name, batch axis included; ports are written by the caller.
        held: These and the resident ones. What a device keeps can be taken in from another graph's, or from an array,
            and be read by numpy, which copies it to the host; where nothing computes on a device these are arrays.
        items: For each port whose window is taken item by item, where the caller writes the newest item before
            :meth:`push_item`; a view.
        specs: Shape and dtype of each tensor.
        work_ns: Time spent in each stage's session so far.
        runs: How often each stage ran.
    """

    def __init__(
        self,
        manifest: Manifest,
        sessions: Mapping[str, Session],
        stages: Sequence[Stage] | None = None,
        also: Collection[str] = (),
        clock: Callable[[], int] = perf_counter_ns,
        *,
        resident: Collection[str] = (),
    ) -> None:
        self._clock = clock
        self._stages = manifest.stages if stages is None else tuple(stages)
        self.specs = manifest.tensors
        used = {name for stage in self._stages for name in (*stage.inputs, *stage.outputs)}.union(also)
        kept = manifest.tensors if stages is None else used
        self._memory = memory_of(sessions) if resident else None
        names = [name for name in manifest.tensors if name in kept]
        self._on_device: dict[str, DeviceTensor] = {}
        self.held: dict[str, Tensor] = {name: self._make(name, resident) for name in names}
        self.tensors: dict[str, Array] = {
            name: tensor
            for name, tensor in self.held.items()
            if isinstance(tensor, np.ndarray) and name not in resident
        }
        if manifest.gates is not None and GATE_WEIGHTS in self.tensors:
            self.tensors[GATE_WEIGHTS][...] = 1
        self.items: dict[str, Array] = {}
        self._newest: dict[str, Array] = {}
        self._steps: dict[str, list[Callable[[], None]]] = {stage.name: [] for stage in self._stages}
        self._read_whole = {name for stage in self._stages if not stage.per_item for name in stage.inputs}.union(also)
        self._calls = {stage.name: self._bind(stage, sessions[stage.name]) for stage in self._stages}
        self._stale: set[str] = set()
        self._touched = False
        self._readers = {
            port: frozenset(stage.name for stage in self._stages if not stage.per_item and port in stage.ports)
            for port in manifest.ports
        }
        self._states = {port: source for port, source in manifest.states.items() if port in self.held}
        self.mark(self._states)
        self.work_ns = {stage.name: 0 for stage in self._stages}
        self.runs = {stage.name: 0 for stage in self._stages}

    def another(self, name: str) -> Tensor:
        """A tensor like the one that is held, in the same memory, all zeros."""
        spec = self.specs[name]
        if name in self._on_device:
            assert self._memory is not None  # it is there
            return self._memory.tensor(spec.shape, spec.dtype)
        return np.zeros(spec.shape, spec.dtype)

    def _make(self, name: str, resident: Collection[str]) -> Tensor:
        spec, memory = self.specs[name], self._memory
        if memory is None or name not in resident or (spec.window_axis is not None and not memory.moves):
            return np.zeros(spec.shape, spec.dtype)
        self._on_device[name] = tensor = memory.tensor(spec.shape, spec.dtype)
        return tensor

    def _bind(self, stage: Stage, session: Session) -> Callable[[], None]:
        buffers: dict[str, Tensor] = {}
        for name in stage.inputs:
            buffers[name] = self._newest_of(name, stage.items) if stage.per_item else self.held[name]
        for name in stage.outputs:
            window_axis = self.specs[name].window_axis
            buffers[name] = self.held[name] if window_axis is None else self._item_of(name, window_axis, stage)
        return session.bind(buffers)

    def _item_of(self, name: str, axis: int, stage: Stage) -> Tensor:
        """What a stage makes of a window at a time; with it, the step that takes it in."""
        spec, window = self.specs[name], self.held[name]
        if isinstance(window, np.ndarray):
            made: Array = np.zeros(spec.item_shape, spec.dtype)
            self._steps[stage.name].append(partial(_shift_in, window, made, spec))
            return made
        assert self._memory is not None  # the window is there
        item = self._memory.tensor(spec.item_shape, spec.dtype)
        self._steps[stage.name].append(partial(self._on_device[name].shift_in, item, axis))
        return item

    def _newest_of(self, port: str, items: int) -> Array:
        spec = self.specs[port]
        assert spec.window_axis is not None  # the manifest has seen to it
        shape = (*spec.shape[: spec.window_axis], items * spec.item_size, *spec.shape[spec.window_axis + 1 :])
        self._newest[port] = np.zeros(shape, spec.dtype)
        self.items[port] = np.split(self._newest[port], [(items - 1) * spec.item_size], spec.window_axis)[1]
        return self._newest[port]

    def mark(self, ports: Collection[str]) -> None:
        """Say that new data was written to these ports; what depends on them runs at the next :meth:`run`."""
        self._touched = True
        for port in ports:
            self._stale |= self._readers[port]

    def push_item(self, port: str) -> None:
        """Take in the item that was written to ``items[port]``: one run of its stage, one step of its windows."""
        for stage in self._stages:
            if stage.per_item and port in stage.ports:
                self._call(stage)
                for step in self._steps[stage.name]:
                    step()
        if port in self._read_whole:
            _shift_in(self.tensors[port], self.items[port], self.specs[port])
        _make_room(self._newest[port], self.specs[port])
        self.mark([port])

    def load_window(self, port: str, window: Array) -> None:
        """Take in a whole window of one port, [...] without a batch axis."""
        axis = self.specs[port].window_axis
        if axis is None:
            self.tensors[port][0] = window
            self.mark([port])
            return
        self.push_items(port, window, self.specs[port].items)

    def push_items(self, port: str, window: Array, count: int) -> None:
        """Take in the newest items of a window [...] without a batch axis, one by one."""
        spec = self.specs[port]
        assert spec.window_axis is not None  # only windows come item by item
        for item in np.split(window[np.newaxis], spec.items, spec.window_axis)[spec.items - count :]:
            self.items[port][...] = item
            self.push_item(port)

    def run(self) -> bool:
        """Bring outputs up to date; whether anything was written since the last time."""
        touched, self._touched = self._touched, False
        if self._stale:
            for stage in self._stages:
                if stage.name in self._stale:
                    self._call(stage)
            self._stale.clear()
        return touched

    def run_stage(self, name: str) -> None:
        """Run one stage on what its inputs hold, whether or not anything is new: for code that measures."""
        self._call(next(stage for stage in self._stages if stage.name == name))

    def warm(self) -> None:
        """Run every stage once, uncounted, on what its inputs hold: the first run of a session allocates."""
        for call in self._calls.values():
            call()

    def wait(self) -> None:
        """Wait for the stages that ran; where nothing stays on a device they have ended already."""
        for tensor in self._on_device.values():
            tensor.wait()

    def feed_back(self) -> None:
        """End a tick: what it made for the next one becomes the value of the state ports, zeros until then."""
        for port, source in self._states.items():
            self.held[port][...] = self.held[source]
        if self._states:
            self.mark(self._states)

    def _call(self, stage: Stage) -> None:
        begin = self._clock()
        self._calls[stage.name]()
        self.work_ns[stage.name] += self._clock() - begin
        self.runs[stage.name] += 1


def embeddings(manifest: Manifest) -> frozenset[str]:
    """Tensors that only stages read and write: no port, no result, nothing that is fed back, no gates."""
    made = {name for stage in manifest.stages for name in stage.outputs}
    return frozenset(made - set(manifest.results.values()) - set(manifest.states.values()) - {GATE_VALUES})


def _make_room(window: Array, spec: TensorSpec) -> None:
    """Move every item to the place of the older one before it."""
    assert spec.window_axis is not None  # only windows come item by item
    moved, size = np.moveaxis(window, spec.window_axis, 0), spec.item_size
    for i in range(0, len(moved) - size, size):  # one by one: numpy copies what overlaps to new memory first
        moved[i : i + size] = moved[i + size : i + 2 * size]


def _shift_in(window: Array, item: Array, spec: TensorSpec) -> None:
    _make_room(window, spec)
    axis = spec.window_axis
    assert axis is not None  # only windows are shifted
    np.moveaxis(window, axis, 0)[-spec.item_size :] = np.moveaxis(item, axis, 0)
