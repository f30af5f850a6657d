"""Peak memory of a command and all its children: ``python -m mmedge_bench.memory -- COMMAND``.

The resident memory of all processes is added up every few milliseconds, and the largest sum is reported. Pages that
several of them share, or map from a file, count in full: the sum is an upper bound of what the machine must have. Linux
only.
"""

import json
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, sleep

import click

import mmedge

__all__ = ["MemoryResult", "main", "measure_memory"]

EVERY_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryResult:
    """What a command took.

    Attributes:
        status: Its exit status.
        seconds: Wall time.
        peak_bytes: Largest resident memory of all its processes at one time.
        anonymous_bytes: The largest part of it that is no file's.
        processes: The most there were at a time.
        made_with: Versions.
    """

    status: int
    seconds: float
    peak_bytes: int
    anonymous_bytes: int
    processes: int
    made_with: dict[str, str]


def measure_memory(command: list[str], **options: object) -> MemoryResult:
    """Run a command to its end.

    Args:
        command: Program and arguments.
        **options: More of :class:`subprocess.Popen`.
    """
    begin = perf_counter()
    child = subprocess.Popen(command, **options)  # type: ignore[call-overload]
    peak = anonymous = processes = 0
    while child.poll() is None:
        rows = [row for row in map(_resident, [child.pid, *_descendants(child.pid)]) if row[0]]
        peak, anonymous = max(peak, sum(row[0] for row in rows)), max(anonymous, sum(row[1] for row in rows))
        processes = max(processes, len(rows))
        sleep(EVERY_S)
    return MemoryResult(
        status=child.returncode,
        seconds=perf_counter() - begin,
        peak_bytes=peak,
        anonymous_bytes=anonymous,
        processes=processes,
        made_with={"mmedge": mmedge.__version__, "python": platform.python_version()},
    )


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in thread.read_text(encoding="ascii").split()]
        except OSError:  # it has ended meanwhile
            continue
        found += [each for child in children for each in (child, *_descendants(child))]
    return found


def _resident(pid: int) -> tuple[int, int]:
    """Resident memory, and the part of it that is no file's, in bytes; nothing of a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0, 0
    values = dict(line.split(":", 1) for line in lines)
    resident, anonymous = (int(values.get(key, "0 kB").split()[0]) << 10 for key in ("VmRSS", "RssAnon"))
    return resident, anonymous


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--output", type=click.Path(path_type=Path), help="Also write the result here, as JSON.")
def main(command: tuple[str, ...], output: Path | None) -> None:
    """Run COMMAND and report the largest memory of it and all its children."""
    result = measure_memory(list(command))
    click.echo(
        f"at most {result.peak_bytes / 1e9:.2f} GB in {result.processes} processes at one time "
        f"({result.anonymous_bytes / 1e9:.2f} GB of it no file's), {result.seconds:.0f} s"
    )
    if output:
        output.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")
    sys.exit(result.status)


if __name__ == "__main__":
    main()
