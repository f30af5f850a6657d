"""What the machine is, what state it is in, and what it used: read from the system's own files, and said where from.

Sources: Linux kernel documentation, admin-guide/pm/cpufreq, power/powercap, hwmon/ina3221, thermal/sysfs-api, and
proc(5).
"""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from time import perf_counter_ns

import mmedge
from mmedge.measured import processor_name
from mmedge.types import NS
from mmedge_bench.nvml import gpu_joules
from mmedge_bench.result import MachineState

__all__ = ["Meter", "Used", "describe_machine", "read_state"]

ROOT = Path("/")
LIBRARIES = ("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "torch", "tensorrt", "tensorrt-rtx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What was used between two moments.

    Attributes:
        joules: Energy by source; empty where nothing can be read.
        others: Processor time of everybody else, as a share of one core.
    """

    joules: dict[str, float]
    others: float


class Meter:
    """Begins to count when it is made.

    Args:
        root: Where the system's files are.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._begin_ns = perf_counter_ns()
        self._rapl, self._watts, self._busy = _rapl(root), _watts(root), _busy_ns(root)
        self._gpus = gpu_joules()

    def read(self, *, own_cpu_ns: int) -> Used:
        """What was used since.

        Args:
            own_cpu_ns: Processor time of the one process that is measured.
        """
        seconds = (perf_counter_ns() - self._begin_ns) / NS
        joules = {
            f"RAPL {name}": ((now - self._rapl[name][0]) % limit) / 1e6
            for name, (now, limit) in _rapl(self._root).items()
            if name in self._rapl
        }
        for name, watts in _watts(self._root).items():  # two readings, taken to be typical of what lies between
            joules[f"INA3221 {name}"] = seconds * (watts + self._watts.get(name, watts)) / 2
        joules |= {f"NVML {name}": now - self._gpus.get(name, now) for name, now in gpu_joules().items()}
        busy = _busy_ns(self._root)
        others = (busy - self._busy - own_cpu_ns) / max(1, seconds * NS) if busy and self._busy else 0.0
        return Used(joules=joules, others=max(0.0, round(others, 4)))


def describe_machine(root: Path = ROOT) -> dict[str, str]:
    """What does not change while a benchmark runs."""
    facts = {
        "processor": processor_name(root / "proc/cpuinfo"),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": _memory(root),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "mmedge": mmedge.__version__,
    }
    if model := _text(root / "proc/device-tree/model"):
        facts["board"] = model.strip("\0\n")
    installed = {each.name.lower(): each.version for each in distributions() if each.name}
    return facts | {name: installed[name] for name in LIBRARIES if name in installed}


def read_state(root: Path = ROOT) -> MachineState:
    """Clocks, power mode, temperatures and load, as far as the system tells."""
    cores = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*"))
    mhz = [_number(core / "cpufreq/scaling_cur_freq") for core in cores]
    throttled = [_number(core / "thermal_throttle/core_throttle_count") for core in cores]
    known = [count for count in throttled if count is not None]
    load = (_text(root / "proc/loadavg") or "0").split()[0]
    return MachineState(
        mhz=tuple(value / 1e3 for value in mhz if value is not None),
        governor=_governor(root),
        celsius=dict(_temperatures(root)),
        throttled=int(sum(known)) if known else None,
        load=float(load),
    )


def _governor(root: Path) -> str:
    if mode := _text(root / "var/lib/nvpmodel/status"):  # Jetson's power mode
        return f"nvpmodel {mode.strip()}"
    return (_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "").strip()


def _temperatures(root: Path) -> Iterator[tuple[str, float]]:
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        value = _number(zone / "temp")
        if value is not None:
            yield (_text(zone / "type") or zone.name).strip(), value / 1e3


def _rapl(root: Path) -> dict[str, tuple[float, float]]:
    """Microjoules so far, and where the counter wraps, by domain; only root may read it on many systems."""
    found = {}
    for domain in sorted((root / "sys/class/powercap").glob("intel-rapl:*")):
        now, limit = _number(domain / "energy_uj"), _number(domain / "max_energy_range_uj")
        if domain.name.count(":") == 1 and now is not None and limit:
            found[(_text(domain / "name") or domain.name).strip()] = (now, limit)
    return found


def _watts(root: Path) -> dict[str, float]:
    """What flows through the rails of a Jetson."""
    found = {}
    for monitor in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if (_text(monitor / "name") or "").strip() != "ina3221":
            continue
        for volts in sorted(monitor.glob("in[1-3]_input")):
            rail = volts.name[2]
            millivolts, milliamperes = _number(volts), _number(monitor / f"curr{rail}_input")
            if millivolts is not None and milliamperes is not None:
                found[(_text(monitor / f"in{rail}_label") or rail).strip()] = millivolts * milliamperes / 1e6
    return found


def _busy_ns(root: Path) -> int:
    """Processor time of all processes on all cores; 0 where it is not told."""
    fields = (_text(root / "proc/stat") or "").split("\n", 1)[0].split()
    if not fields or fields[0] != "cpu":
        return 0
    user, nice, system, _, _, irq, softirq, *_ = map(int, fields[1:])
    return (user + nice + system + irq + softirq) * NS // os.sysconf("SC_CLK_TCK")


def _memory(root: Path) -> str:
    lines = (_text(root / "proc/meminfo") or "").splitlines()
    kib = next((int(line.split()[1]) for line in lines if line.startswith("MemTotal")), 0)
    return f"{kib / (1 << 20):.0f} GiB"


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _number(path: Path) -> float | None:
    try:
        return float(_text(path) or "")
    except ValueError:
        return None
