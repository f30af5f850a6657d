"""Process start to first prediction, and resident memory.

``python -m mmedge_bench.startup BUNDLE`` starts fresh processes that load the bundle and infer once on blank data.
Beside it a bare interpreter and one that only imports the libraries, so that what mmedge adds can be seen.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic_ns

import click

__all__ = ["Started", "main", "measure_start"]

RUNS = 9
TELL = """
import json, time
now = time.monotonic_ns()
with open("/proc/self/status") as status:
    peak = next(line for line in status if line.startswith("VmHWM"))
print(json.dumps({"ns": now, "peak_kib": int(peak.split()[1])}))
"""
BARE = "pass"
LIBRARIES = "import click, numpy, onnxruntime, cv2"
FIRST_PREDICTION = """
import sys
import numpy as np
import mmedge
model = mmedge.load(sys.argv[1])
data = {}
for name, port in model.manifest.ports.items():
    if port.camera:
        data[name] = np.zeros((port.camera.frames, port.camera.height_px, port.camera.width_px, 3), np.uint8)
    else:
        data[name] = np.zeros(port.audio.window_samples, np.float32)
model.infer(**data)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Medians over several processes: time from spawn to the end of the program, peak of resident memory."""

    ms: float
    peak_mib: float


def measure_start(program: str, *arguments: str, runs: int = RUNS) -> Started:
    """Start a program several times, after one run that is not counted."""
    rows = []
    for _ in range(runs + 1):
        begin = monotonic_ns()
        command = [sys.executable, "-c", program + TELL, *arguments]
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append(((told["ns"] - begin) / 1e6, told["peak_kib"] / 1024))
    return Started(ms=median(row[0] for row in rows[1:]), peak_mib=median(row[1] for row in rows[1:]))


@click.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path))
def main(bundle: Path) -> None:
    """Print medians."""
    for name, program in (
        ("bare interpreter", BARE),
        ("importing numpy, onnxruntime, cv2", LIBRARIES),
        ("first prediction", FIRST_PREDICTION),
    ):
        started = measure_start(program, str(bundle))
        click.echo(f"{name:<36}{started.ms:8.0f} ms{started.peak_mib:8.1f} MiB")


if __name__ == "__main__":
    main()
