"""A recording played in real time, as if its sensor were here."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from time import monotonic_ns, sleep

from mmedge.errors import SourceError
from mmedge.sources.live import LiveSource, Modality
from mmedge.sources.replay import Source
from mmedge.types import NS, Packet, TextMessage

__all__ = ["paced"]

STEP_NS = NS // 20
END = "; pass --allow-short to stop there"


def paced(source: Source, modality: Modality) -> LiveSource:
    """Play a recording in real time; its media time 0 is the moment at which the run begins.

    A packet is given when it would have been complete, a chunk of sound after its last sample. A recording that breaks
    off ends, and says so in ``notes``.

    Args:
        source: It; owned, and closed.
        modality: What it gives.
    """
    return LiveSource(source.name, modality, _Player(source).begin, notes=source.notes, release=source.close)


class _Player:
    """The one connection to a recording."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._origin_ns = 0

    def begin(self, origin_ns: int, counts: Counter[str]) -> "_Player":
        del counts
        self._origin_ns = origin_ns
        return self

    def __iter__(self) -> Iterator[Packet | None]:
        try:
            for packet in self._source:
                moved = _moved(packet, self._origin_ns)
                while (wait_ns := moved.available_ns - monotonic_ns()) > 0:
                    sleep(min(wait_ns, STEP_NS) / NS)
                    if wait_ns > STEP_NS:
                        yield None
                yield moved
        except SourceError as error:
            self._source.notes.append(str(error).removesuffix(END))

    def close(self) -> None:
        self._source.close()


def _moved(packet: Packet, by_ns: int) -> Packet:
    if isinstance(packet, TextMessage):
        return TextMessage(text=packet.text, t_ns=packet.t_ns + by_ns)
    return replace(packet, t_ns=packet.t_ns + by_ns)
