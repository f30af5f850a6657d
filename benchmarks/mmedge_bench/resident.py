"""Memory of this process, as the kernel counts it.

Source: proc(5), VmRSS and VmHWM of /proc/self/status.
"""

from pathlib import Path
from threading import Event, Thread
from types import TracebackType

__all__ = ["ResidentLog", "peak_kib", "resident_kib"]

EVERY_S = 1.0
STATUS = Path("/proc/self/status")


class ResidentLog:
    """Reads the resident memory every second, from its start to its end, in a thread that sleeps in between.

    Attributes:
        kib: What was read.
    """

    def __init__(self) -> None:
        self.kib: list[int] = []
        self._ended = Event()
        self._thread = Thread(target=self._watch, name="bench-memory")

    def __enter__(self) -> "ResidentLog":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(EVERY_S):
            self.kib.append(resident_kib())


def resident_kib() -> int:
    """Memory that is resident now."""
    return _read("VmRSS")


def peak_kib() -> int:
    """The most that was ever resident."""
    return _read("VmHWM")


def _read(field: str) -> int:
    with STATUS.open(encoding="utf-8") as status:
        line = next(line for line in status if line.startswith(field))
    return int(line.split()[1])
