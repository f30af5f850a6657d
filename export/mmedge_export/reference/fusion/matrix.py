"""Every fusion block with every encoder, exported, split and run: ``python -m ... -o docs/fusion-matrix.md``."""

import copy
import inspect
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import torch

import mmedge
from mmedge.cost import count_stages, default_rates, predict_saving
from mmedge.errors import ParityError
from mmedge.feeds import front_end
from mmedge.manifest import Manifest
from mmedge.stream import Stream
from mmedge.types import NS, Array
from mmedge_export.checkpoint import save_checkpoint
from mmedge_export.pipeline import ExportOptions, export
from mmedge_export.reference.fusion.encoders import SEQUENCE_ENCODERS
from mmedge_export.reference.fusion.model import BLOCKS, Block, build, spec_text

__all__ = ["Row", "compare", "measure", "page", "row_line"]

SEED = 3
SECONDS = 0.6
NOISE_FACTOR = 16.0  # of float32 against float64: another order of summation in every layer

INTRODUCTION = """# Fusion blocks, and what the export makes of them

<!-- made by: python -m mmedge_export.reference.fusion.matrix -o docs/fusion-matrix.md -->

The blocks are in `mmedge_export.reference.fusion`: plain PyTorch modules of a few lines, to read, to import, or to copy
from. Each of them is built here into a small model of four pictures and half a second of sound, once with each encoder,
exported with random weights, and run. This page is what came of it, and tests compare it with what comes of it now.
"""
BLOCKS_BEGIN = """
## The blocks

Letters in shapes: B batch, M modalities, F values of a vector, D width, L labels, T items, H W C a picture.

| fusion | family | what meets | class | what it is | after |
|---|---|---|---|---|---|
"""
MATRIX_BEGIN = """
## The matrix

- **encoder**: what reads each sensor: {encoders}. Every picture goes through a CNN of its own first.
- **splits**: the stages that the model is cut into. An encoder runs only when its own sensor has something new.
- **by time**: whose windows are encoded item by item, each item once instead of once per window that it is in.
- **parity**: torch, the ONNX graph, its stages, one-shot inference, and a stream of pictures and sound through the
  runtime gave the same outputs, within the model's own rounding noise (float32 against float64 in torch).
- **gates**: what kind of gates over its sensors were found and proved, which weights can turn down at run time.
- **saving**: how many times fewer multiply-accumulates than the whole model at every decision, at 15 pictures and 50
  decisions a second. It is counted, not timed; `mmedge inspect` times your model on your machine.

| fusion | encoder | exports | splits | by time | parity | gates | saving |
|---|---|---|---|---|---|---|---|
"""
TRAINING = """
## To train them with

| what | where | after |
|---|---|---|
| alignment of two modalities | `alignment.info_nce`, `symmetric_info_nce` | van den Oord 2018, Radford 2021 |
| several tasks | `multitask.weighted_loss`, `UncertaintyWeighting` | Kendall 2018 |
| sensors that are missing | `dropout.ModalityDropout` | Neverova 2016 |
| attacks on one sensor | `adversarial.fgsm` | Goodfellow 2015, Yang 2021 |
| what each sensor is worth | `ablation.ablations` | |

One of them, a gated sum with modality dropout, can be trained on real data in less than a minute, handwritten digits as
the camera and spoken digits as the microphone. The command prints what each sensor is worth:

```bash
pip install 'mmedge[cpu,export,examples]'
python -m mmedge_export.reference.digits --recordings fsdd.zip -o digits.safetensors --clips clips.npz
mmedge export digits.safetensors --samples clips.npz -o digits.mmedge
```

`fsdd.zip` is an archive of the recordings of the
[Free Spoken Digit Dataset](https://github.com/Jakobovski/free-spoken-digit-dataset), CC BY-SA 4.0.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of one model.

    Attributes:
        fusion: A key of BLOCKS.
        encoder: A key of SEQUENCE_ENCODERS.
        stages: What it was cut into.
        kept_whole: Why it was not, or "".
        by_time: Ports whose windows are encoded item by item.
        gates: Their kind, or "".
        saving: Multiply-accumulates of the unsplit model over those of the stages, per second of stream.
    """

    fusion: str
    encoder: str
    stages: tuple[str, ...]
    kept_whole: str
    by_time: tuple[str, ...]
    gates: str
    saving: float


def measure(fusion: str, encoder: str, folder: Path) -> Row:
    """Export one model, run it, and compare.

    Args:
        fusion: A key of BLOCKS.
        encoder: A key of SEQUENCE_ENCODERS.
        folder: For the checkpoint and the bundle.

    Raises:
        ExportError: It cannot be exported.
        ParityError: The runtime gives something else than torch.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = build(fusion, encoder).eval()
    checkpoint, bundle = folder / "model.safetensors", folder / "model.mmedge"
    save_checkpoint(checkpoint, model, spec_text(fusion, encoder))
    manifest = export(checkpoint, bundle, ExportOptions(random_samples=True)).manifest
    compare(model, bundle, f"{fusion}, {encoder}")
    saving = predict_saving(manifest, count_stages(manifest), default_rates(manifest))
    return Row(
        fusion=fusion,
        encoder=encoder,
        stages=tuple(stage.name for stage in manifest.stages),
        kept_whole=manifest.kept_whole,
        by_time=tuple(stage.ports[0] for stage in manifest.stages if stage.per_item),
        gates=manifest.gates.kind if manifest.gates else "",
        saving=1 / saving.ratio,
    )


def row_line(row: Row) -> str:
    """The row as it stands in the page's table."""
    splits = f"kept whole: {row.kept_whole}" if row.kept_whole else ", ".join(row.stages)
    by_time = ", ".join(row.by_time) or "no"
    return (
        f"| {row.fusion} | {row.encoder} | yes | {splits} | {by_time} | yes | {row.gates or 'no'} | {row.saving:.1f}× |"
    )


def page(rows: Iterable[Row]) -> str:
    """The whole page in Markdown."""
    encoders = ", ".join(f"{name} ({meaning})" for name, meaning in SEQUENCE_ENCODERS.items())
    blocks = [_block_line(name, block) for name, block in BLOCKS.items()]
    parts = [
        INTRODUCTION,
        BLOCKS_BEGIN,
        *blocks,
        MATRIX_BEGIN.format(encoders=encoders),
        *map(row_line, rows),
        TRAINING,
    ]
    return "".join(part if part.endswith("\n") else part + "\n" for part in parts)


def _block_line(name: str, block: Block) -> str:
    paragraphs = [" ".join(each.split()) for each in (inspect.getdoc(block.kind) or "").split("\n\n")]
    source = paragraphs[-1].removeprefix("Source: ")
    where = f"{block.kind.__module__.rpartition('.')[2]}.{block.kind.__name__}"
    return f"| {name} | {block.family} | {block.reads} | `{where}` | {paragraphs[0]} | {source} |"


def compare(model: torch.nn.Module, bundle: Path, name: str) -> None:
    """Run a bundle in both ways that there are, one-shot and as a stream, on the same windows as torch.

    Args:
        model: What it was exported from, in eval mode.
        bundle: Of a model of this library.
        name: For messages.

    Raises:
        ParityError: An output differs by more than the model's rounding noise.
    """
    random = np.random.default_rng(SEED)
    frames = random.integers(0, 256, (int(15 * SECONDS), 24, 32, 3), dtype=np.uint8)
    samples = random.normal(0, 0.1, int(16000 * SECONDS)).astype(np.float32)
    with mmedge.load(bundle) as loaded:
        with loaded.stream(tick="audio") as stream:
            _push(stream, frames, samples)
            streamed = stream.poll()[-1].outputs
        windows: dict[str, Array] = {"image": frames[-4:], "audio": samples[-8000:]}
        expected, tolerance = _expected(model, loaded.manifest, windows)
        ways = {"infer": loaded.infer(**windows).outputs, "stream": streamed}
    for way, outputs in ways.items():
        for output, values in expected.items():
            difference = float(np.abs(outputs[output] - values).max())
            if not difference <= tolerance[output]:
                allowed = tolerance[output]
                raise ParityError(f"{name}: {way}() gives {output} off by {difference:.3g}, allowed {allowed:.3g}")


def _push(stream: Stream, frames: npt.NDArray[np.uint8], samples: npt.NDArray[np.float32]) -> None:
    """Pictures at 15 Hz and chunks of 20 ms, each when it is complete."""
    pictures = [(round(i * NS / 15), frame) for i, frame in enumerate(frames)]
    for start in range(0, len(samples), 320):
        while pictures and pictures[0][0] <= start * NS // 16000:
            t_ns, frame = pictures.pop(0)
            stream.push_frame(frame, t_ns)
        stream.push_audio(samples[start : start + 320], start * NS // 16000)


def _expected(
    model: torch.nn.Module, manifest: Manifest, windows: dict[str, Array]
) -> tuple[dict[str, Array], dict[str, float]]:
    """Torch's float64 outputs on raw windows, and how far they may be missed."""
    tensors = [torch.from_numpy(front_end(manifest.ports[name]).window(data))[None] for name, data in windows.items()]
    with torch.inference_mode():
        exact = _outputs(copy.deepcopy(model).double()(*(tensor.double() for tensor in tensors)))
        rounded = _outputs(model(*tensors))
    expected, tolerance = {}, {}
    for name, precise, rough in zip(manifest.outputs, exact, rounded, strict=True):
        noise = max(
            float(np.abs(precise - rough).max()), float(np.finfo(np.float32).eps) * float(np.abs(precise).max())
        )
        expected[name], tolerance[name] = precise, NOISE_FACTOR * noise
    return expected, tolerance


def _outputs(made: object) -> list[Array]:
    """What the model returns, as the runtime gives it: probabilities first, then as it is."""
    logits, *rest = made if isinstance(made, tuple) else (made,)
    return [torch.softmax(logits, 1)[0].numpy(), *(each[0].numpy() for each in rest)]


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The page to write.")
@click.option("--threads", default=1, show_default=True, help="CPU threads of torch.")
def main(output: Path, threads: int) -> None:
    """Export and run every block with every encoder, a few minutes in all, and write the page about it."""
    torch.set_num_threads(threads)
    pairs = [(fusion, encoder) for fusion in BLOCKS for encoder in SEQUENCE_ENCODERS]
    rows: list[Row] = []
    for number, (fusion, encoder) in enumerate(pairs, start=1):
        with tempfile.TemporaryDirectory(prefix="mmedge-matrix-") as folder:
            rows.append(measure(fusion, encoder, Path(folder)))
        click.echo(f"{number}/{len(pairs)} {row_line(rows[-1])}")
    output.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
