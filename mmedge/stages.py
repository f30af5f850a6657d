"""Runs the stages of a split model, each only when something that it reads is new."""

from collections.abc import Callable, Collection, Mapping
from time import perf_counter_ns

import numpy as np

from mmedge.backends.base import Session
from mmedge.manifest import Manifest, Stage, TensorSpec
from mmedge.types import Array

__all__ = ["StageGraph"]


class StageGraph:
    """One set of buffers through all stages; not for use by two threads at once.

    Attributes:
        tensors: What each reader sees, by tensor name, batch axis included; ports are written by the caller.
        items: For each port whose window is taken item by item, where the caller writes the newest item before
            :meth:`push_item`; a view.
        specs: Shape and dtype of each tensor.
        work_ns: Time spent in each stage's session so far.
        runs: How often each stage ran.

    Args:
        manifest: What fits together how.
        sessions: By stage.
        clock: Nanoseconds that ``work_ns`` is counted in: of the wall, or of the processor.
    """

    def __init__(
        self, manifest: Manifest, sessions: Mapping[str, Session], clock: Callable[[], int] = perf_counter_ns
    ) -> None:
        self._clock = clock
        self._stages = manifest.stages
        self.specs = manifest.tensors
        self.tensors = {name: np.zeros(spec.shape, spec.dtype) for name, spec in manifest.tensors.items()}
        self.items: dict[str, Array] = {}
        self._newest: dict[str, Array] = {}
        self._made: dict[str, Array] = {}
        self._read_whole = {name for stage in manifest.stages if not stage.per_item for name in stage.inputs}
        self._calls = {stage.name: self._bind(stage, sessions[stage.name]) for stage in manifest.stages}
        self._stale: set[str] = set()
        self._states = manifest.states
        self.mark(self._states)
        self.work_ns = {stage.name: 0 for stage in manifest.stages}
        self.runs = {stage.name: 0 for stage in manifest.stages}

    def _bind(self, stage: Stage, session: Session) -> Callable[[], None]:
        buffers = {}
        for name in stage.inputs:
            buffers[name] = self._newest_of(name, stage.items) if stage.per_item else self.tensors[name]
        for name in stage.outputs:
            spec = self.specs[name]
            buffers[name] = self.tensors[name]
            if spec.window_axis is not None:
                self._made[name] = buffers[name] = np.zeros(spec.item_shape, spec.dtype)
        return session.bind(buffers)

    def _newest_of(self, port: str, items: int) -> Array:
        spec = self.specs[port]
        assert spec.window_axis is not None  # the manifest has seen to it
        shape = (*spec.shape[: spec.window_axis], items * spec.item_size, *spec.shape[spec.window_axis + 1 :])
        self._newest[port] = np.zeros(shape, spec.dtype)
        self.items[port] = np.split(self._newest[port], [(items - 1) * spec.item_size], spec.window_axis)[1]
        return self._newest[port]

    def mark(self, ports: Collection[str]) -> None:
        """Say that new data was written to these ports; what depends on them runs at the next :meth:`run`."""
        self._stale.update(stage.name for stage in self._stages if not stage.per_item and set(ports) & set(stage.ports))

    def push_item(self, port: str) -> None:
        """Take in the item that was written to ``items[port]``: one run of its stage, one step of its windows."""
        for stage in self._stages:
            if stage.per_item and port in stage.ports:
                self._call(stage)
                for name in stage.outputs:
                    _shift_in(self.tensors[name], self._made[name], self.specs[name])
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

    def run(self, only: Collection[str] | None = None) -> None:
        """Bring outputs up to date.

        Args:
            only: Limit it to stages that depend on no other ports than these.
        """
        for stage in self._stages:
            if stage.name in self._stale and (only is None or set(stage.ports) <= set(only)):
                self._call(stage)
                self._stale.discard(stage.name)

    def run_stage(self, name: str) -> None:
        """Run one stage on what its inputs hold, whether or not anything is new: for code that measures."""
        self._call(next(stage for stage in self._stages if stage.name == name))

    def feed_back(self) -> None:
        """End a tick: what it made for the next one becomes the value of the state ports, zeros until then."""
        for port, source in self._states.items():
            self.tensors[port][...] = self.tensors[source]
        self.mark(self._states)

    def _call(self, stage: Stage) -> None:
        begin = self._clock()
        self._calls[stage.name]()
        self.work_ns[stage.name] += self._clock() - begin
        self.runs[stage.name] += 1


def _make_room(newest: Array, spec: TensorSpec) -> None:
    assert spec.window_axis is not None  # only windows come item by item
    moved = np.moveaxis(newest, spec.window_axis, 0)
    moved[: -spec.item_size] = moved[spec.item_size :]


def _shift_in(window: Array, item: Array, spec: TensorSpec) -> None:
    axis = spec.window_axis
    assert axis is not None  # only windows are shifted
    if spec.items == 1:
        window[...] = item
        return
    moved, size = np.moveaxis(window, axis, 0), spec.item_size
    moved[:-size] = moved[size:]
    moved[-size:] = np.moveaxis(item, axis, 0)
