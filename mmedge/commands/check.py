"""``mmedge check``."""

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from mmedge.bundle import Bundle, open_bundle
from mmedge.console import as_json, table
from mmedge.feeds import front_end
from mmedge.model import load
from mmedge.sessions import BACKENDS
from mmedge.types import Array

__all__ = ["Replayed", "check_command", "replay_golden"]

INSIDE_TOLERANCE = 1e-4  # of the largest value: other kernels on another processor; outputs have measured tolerances


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One recorded tensor, computed again on this device.

    Attributes:
        tensor: Its name.
        difference: Largest absolute difference from the recording.
        tolerance: What is allowed: a multiple of the model's own rounding noise for outputs, for variants more.
        holds: Whether it is.
    """

    tensor: str
    difference: float
    tolerance: float
    holds: bool


@click.command("check", short_help="Replay the recorded inputs on this device and compare.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--backend", default="auto", help=f"auto, {', '.join(BACKENDS)}")
@click.option("--variant", default="fp32", show_default=True, help="Which set of graphs; others may differ by more.")
@click.option("--json", "json_output", is_flag=True, help="Print the report as JSON.")
def check_command(bundle: Path, backend: str, variant: str, *, json_output: bool) -> int:
    """Replay BUNDLE's golden inputs from raw sensor data and compare with what PyTorch gave at export.

    Ends with status 1 when a difference is larger than allowed: a multiple of rounding noise, or, for a quantized
    variant, twice what it was where the variant was made.
    """
    rows = replay_golden(open_bundle(bundle), backend, variant)
    passed = all(row.holds for row in rows)
    if json_output:
        click.echo(as_json({"bundle": str(bundle), "passed": passed, "tensors": rows}))
    else:
        cells = [[r.tensor, f"{r.difference:.3g}", f"{r.tolerance:.3g}", "ok" if r.holds else "DIFFERS"] for r in rows]
        click.echo(table(["tensor", "difference", "allowed", ""], cells, left=(0, 3)))
        click.echo(
            f"\n{bundle}: " + ("computes here what it computed at export" if passed else "does NOT compute the same")
        )
    return 0 if passed else 1


def replay_golden(bundle: Bundle, backend: str = "auto", variant: str = "fp32") -> list[Replayed]:
    """Run the recorded sensor data through front ends and stages.

    Raises:
        BundleError: The bundle cannot be read.
    """
    golden = bundle.read_golden()
    manifest = bundle.manifest
    names = [key.partition("/")[2] for key in golden if key.startswith(("tensor/", "output/"))]
    made: dict[str, list[Array]] = {name: [] for name in names}
    fronts = {name: front_end(port, bundle.read) for name, port in manifest.ports.items()}
    with load(bundle.path, backend=backend, variant=variant) as model:
        graph = model.new_graph()
        for i in range(len(golden[f"sensor/{next(iter(manifest.ports))}"])):
            for name, front in fronts.items():
                graph.load_window(name, front.window(golden[f"sensor/{name}"][i]))
            graph.run()
            for name in names:
                tensor = manifest.results[name] if f"output/{name}" in golden else name
                made[name].append(graph.tensors[tensor].copy())
    wider = manifest.variants[variant].tolerances
    return [_compare(golden, name, np.stack(made[name]), wider.get(name, 0.0)) for name in names]


def _compare(golden: dict[str, Array], name: str, made: Array, wider: float) -> Replayed:
    if f"output/{name}" in golden:
        expected, tolerance = golden[f"output/{name}"], float(golden[f"tolerance/{name}"])
        made = made[:, 0]
    else:
        expected = golden[f"tensor/{name}"]
        tolerance = INSIDE_TOLERANCE * float(np.abs(expected).max())
    with np.errstate(invalid="ignore"):  # the difference of two infinities is no number, and not allowed
        difference = float(np.abs(made.astype(np.float64) - expected).max())
    tolerance += wider
    return Replayed(tensor=name, difference=difference, tolerance=tolerance, holds=difference <= tolerance)
