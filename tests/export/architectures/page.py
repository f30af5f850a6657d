"""The page docs/architectures.md; ``python -m architectures.page`` in ``tests/export`` writes it again."""

import re
import sys
import tempfile
from pathlib import Path

from architectures.table import ARCHITECTURES, Architecture, exported
from mmedge_export.pipeline import Exported

from mmedge.cost import default_rates
from mmedge.manifest import Manifest, Stage

__all__ = ["PAGE", "line"]

PAGE = Path(__file__).parents[3] / "docs" / "architectures.md"
HEAD = """\
# Architectures that were exported

Every row is a test (`pytest -m architectures`). A model of Hugging Face transformers, or encoders of that library
behind a small head, is built from a tiny configuration with random weights, saved as a state dict, exported with a
`SPEC.toml`, and compared with torch: as one graph, cut into stages, and in the runtime.

*Stages* are what the bundle has; `.item` is work done once for each new frame instead of for every window. *Work* is
multiply-accumulates per second of stream, the whole model at every decision divided by the stages at their own rates
(camera 15 Hz, sound 50 Hz, tensors 10 Hz, text 1 Hz). These are sizes for tests; the shares of encoders and heads are
others in a large model, so see what `mmedge inspect` says of yours.

Text ports feed token ids only: where a model wants more (an attention mask, boxes), its own defaults hold, or a tensor
port gives it.

| architecture | ports | stages | work | why not further |
|---|---|---|---|---|
"""
TAIL = """
ViLT is refused: its forward() picks image patches by the values of the mask, so that the sizes of its tensors depend on
data, and a graph for a device has fixed ones. VideoMAE folds two frames into one token, and with every new frame other
ones, so that nothing can be kept from one window to the next.
"""


def line(row: Architecture, done: Exported) -> str:
    """The row of an architecture on the page."""
    manifest = done.manifest
    ports = ", ".join(f"{port.modality} {_shape(port.shape)}" for port in manifest.ports.values())
    stages = ", ".join(stage.name for stage in manifest.stages)
    why = "; ".join(_plain(note) for note in (manifest.kept_whole, *manifest.notes) if note)
    return f"| {row.name} | {ports} | {stages} | {saving(manifest):.1f} times less | {why} |\n"


def saving(manifest: Manifest) -> float:
    """How many times less work the stages are at their own rates."""
    rates_hz = default_rates(manifest)
    decisions_hz = max(rates_hz.values())
    whole = staged = 0.0
    for stage in manifest.stages:
        news_hz = min(decisions_hz, sum(rates_hz[port] for port in stage.ports))
        whole += decisions_hz * manifest.macs[stage.name] * _items(manifest, stage)
        staged += news_hz * manifest.macs[stage.name]
    return whole / staged


def _items(manifest: Manifest, stage: Stage) -> int:
    """Runs of a stage in one run of the whole model."""
    made = [manifest.tensors[name] for name in stage.outputs] if stage.per_item else []
    return max((spec.items for spec in made), default=1)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _plain(note: str) -> str:
    """Without names of nodes, which are of one version of the exporter."""
    return re.sub(r" '[^']*'", "", note)


def main() -> None:
    lines = []
    for row in ARCHITECTURES:
        with tempfile.TemporaryDirectory() as folder:
            lines.append(line(row, exported(row, Path(folder))))
        sys.stderr.write(lines[-1])
    PAGE.write_text(HEAD + "".join(lines) + TAIL, encoding="utf-8")


if __name__ == "__main__":
    main()
