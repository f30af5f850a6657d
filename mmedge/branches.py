"""A split model as branches, one for each port, and the head that joins them.

A branch is all that depends on one port alone: its feed, its stages, and the tensors that the rest of the model reads
of them. The head is the other stages, with the model's states.
"""

from collections.abc import Mapping
from threading import Lock

from mmedge.backends.base import Session, Tensor, memory_of
from mmedge.feeds import Feed, FrontEnd, open_feed
from mmedge.manifest import Manifest
from mmedge.stages import StageGraph, embeddings

__all__ = ["Branch", "open_branches", "open_head", "shares"]


class Branch:
    """One port's way to the head.

    One thread ingests and encodes; another one may take what was encoded last at any time, without waiting for an
    encode that is running.

    Args:
        name: Of the port.
        manifest: The model.
        sessions: What computes each stage.
        front: The port's front end.
        live: Encoding and taking are done by different threads: what was encoded is kept apart.

    Attributes:
        name: Of the port.
        feed: Where its packets go.
        graph: Its stages.
        shares: The tensors that the rest of the model reads, the window itself among them if it is read raw.
        newest: How often what can be taken changed, 0 before the first window, and the end of the data that was
            encoded last; both replaced at once.
    """

    def __init__(
        self, name: str, manifest: Manifest, sessions: Mapping[str, Session], front: FrontEnd, *, live: bool
    ) -> None:
        self.name = name
        self.newest = 0, 0
        own = [stage for stage in manifest.stages if stage.ports == (name,)]
        self.shares = shares(manifest)[name]
        also = self.shares if own else (name,)
        self.graph = StageGraph(manifest, sessions, own, also, resident=_resident(manifest, sessions))
        self.feed: Feed = open_feed(name, manifest.ports[name], front, self.graph, live=live)
        self._lock = Lock()
        self._shared = {share: self.graph.another(share) if live else self.graph.held[share] for share in self.shares}
        self._live = live

    def encode(self) -> bool:
        """Bring what can be taken up to date with what was ingested; whether it is new, or at least newer."""
        if not self.feed.fill():
            return False
        changed = self.graph.run()
        if changed and self._live:
            self.graph.wait()  # only what is ready is shown, so that no decision waits for it
        with self._lock:
            if changed and self._live:
                for share, values in self._shared.items():
                    values[...] = self.graph.held[share]
            self.newest = self.newest[0] + changed, self.feed.newest_ns
        return True

    @property
    def encoded(self) -> int:
        """The first of :attr:`newest`."""
        return self.newest[0]

    def take(self, tensors: Mapping[str, Tensor]) -> tuple[int, int]:
        """Copy what was encoded last; returns :attr:`newest` of it.

        Args:
            tensors: Where to, by name.
        """
        with self._lock:
            for share, values in self._shared.items():
                tensors[share][...] = values
            return self.newest


def shares(manifest: Manifest) -> dict[str, tuple[str, ...]]:
    """For every port but states, the tensors of it that the rest of the model reads, the port itself if read raw."""
    read, by_port = _read_by_head(manifest), {}
    for name, port in manifest.ports.items():
        if port.state is None:
            own = [stage.outputs for stage in manifest.stages if stage.ports == (name,)]
            by_port[name] = tuple(sorted({name}.union(*own) & read))
    return by_port


def open_branches(
    manifest: Manifest, sessions: Mapping[str, Session], fronts: Mapping[str, FrontEnd], *, live: bool
) -> dict[str, Branch]:
    """A branch for every port but states; see :class:`Branch`."""
    names = [name for name, port in manifest.ports.items() if port.state is None]
    return {name: Branch(name, manifest, sessions, fronts[name], live=live) for name in names}


def open_head(manifest: Manifest, sessions: Mapping[str, Session]) -> StageGraph:
    """The stages that depend on several ports or on a state, with buffers for all that they and the outputs need."""
    branches = [(name,) for name, port in manifest.ports.items() if port.state is None]
    stages = [stage for stage in manifest.stages if stage.ports not in branches]
    kept = _resident(manifest, sessions)
    if kept:  # also what is taken in at a tick: sensors that no encoder reads, and the states
        read = {name for stage in stages for name in stage.inputs}
        fed_back = {name for names in manifest.states.items() for name in names}
        kept = kept | (read | fed_back) - {output.tensor for output in manifest.outputs.values()}
    return StageGraph(manifest, sessions, stages, also=_read_by_head(manifest), resident=kept)


def _resident(manifest: Manifest, sessions: Mapping[str, Session]) -> frozenset[str]:
    """What a device keeps between the ticks of a stream."""
    memory = memory_of(sessions)
    return embeddings(manifest) if memory is not None and memory.moves else frozenset()


def _read_by_head(manifest: Manifest) -> set[str]:
    """What is read outside of the branches: by stages of the head, as an output, or to be fed back."""
    branches = [(name,) for name, port in manifest.ports.items() if port.state is None]
    read = {name for stage in manifest.stages if stage.ports not in branches for name in stage.inputs}
    return read | set(manifest.results.values()) | set(manifest.states)
