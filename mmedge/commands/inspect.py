"""``mmedge inspect``."""

from pathlib import Path

import click

from mmedge.bundle import Bundle, open_bundle
from mmedge.console import as_json, table
from mmedge.cost import Saving, StageCost, measure_stages, parse_rates, predict_saving
from mmedge.engine_file import EngineRecord, read_records
from mmedge.manifest import Manifest, Port
from mmedge.policies import PortPolicy
from mmedge.sessions import fits

__all__ = ["inspect_command"]

KINDS = {"softmax": "softmax", "complement": "z and 1 - z of a sigmoid", "sigmoid": "sigmoid, each by itself"}


@click.command("inspect", short_help="Ports, stages, what they cost here, and what the split saves.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--rates", help="New data per second by port, e.g. image=10,audio=50; decisions come at the fastest.")
@click.option("--json", "json_output", is_flag=True, help="Print the report as JSON.")
def inspect_command(bundle: Path, rates: str | None, *, json_output: bool) -> None:
    """Show what is in BUNDLE; its stages are timed on this machine, on its recorded inputs."""
    opened = open_bundle(bundle)
    manifest = opened.manifest
    rates_hz = parse_rates(rates, manifest)
    costs = measure_stages(opened)
    saving = predict_saving(manifest, costs, rates_hz)
    if json_output:
        engines = [record for record in read_records(opened) if isinstance(record, EngineRecord)]
        report = {"manifest": manifest, "costs": costs, "saving": saving, "engines": engines}
        click.echo(as_json(report))
        return
    parts = (_ports(manifest), _stages(manifest, costs), _saving(saving), _variants(manifest), _missing(manifest))
    for part in (*parts, _engines(opened)):
        click.echo(part + "\n")


def _ports(manifest: Manifest) -> str:
    rows = []
    for name, port in manifest.ports.items():
        spec = manifest.tensors[name]
        rows.append([name, port.modality, _raw(port), "x".join(map(str, spec.shape[1:]))])
    outputs = [
        [
            name,
            output.task,
            ", ".join(output.labels) or output.unit,
            "x".join(map(str, manifest.tensors[name].shape[1:])),
        ]
        for name, output in manifest.outputs.items()
    ]
    return (
        f"{manifest.name}\n\n" + table(["port", "kind", "from", "tensor"], rows, left=range(4)) + "\n\n"
        + table(["output", "task", "labels or unit", "tensor"], outputs, left=range(4))
    )  # fmt: skip


def _raw(port: Port) -> str:
    """What the port's tensor is made from."""
    if port.camera is not None:
        return f"{port.camera.frames} x {port.camera.width_px}x{port.camera.height_px} {port.camera.color}"
    if port.audio is not None:
        length = port.audio.window_samples / port.audio.rate_hz
        convention = f", {port.audio.mel.convention}" if port.audio.mel else ""
        place = " in the graph" if port.audio.front_end == "graph" else ""
        return f"{length:g} s at {port.audio.rate_hz} Hz, {port.audio.features}{convention}{place}"
    if port.text is not None:
        return f"{port.text.length} token ids, {port.text.tokenizer}"
    if port.state is not None:
        return f"{port.state.source} of the tick before"
    return port.dtype


def _stages(manifest: Manifest, costs: list[StageCost]) -> str:
    rows = []
    for stage, cost in zip(manifest.stages, costs, strict=True):
        each = f"{cost.runs_unsplit} per window, once per item" if stage.per_item else "1"
        rows.append(
            [
                stage.name,
                "+".join(stage.ports),
                f"{cost.ms:.3f}",
                f"{cost.macs / 1e6:.1f}",
                f"{cost.bytes_out / 1024:.1f}",
                each,
            ]
        )
    header = ["stage", "depends on", "ms here", "M MACs", "KiB out", "runs in the whole model"]
    text = table(header, rows, left=(0, 1, 5))
    reasons = [f"kept whole: {manifest.kept_whole}"] if manifest.kept_whole else []
    gates = manifest.gates
    weighed = (
        [f"head has gates of {', '.join(gates.ports)} ({KINDS[gates.kind]}); weights turn them down"] if gates else []
    )
    return "\n".join([text, *reasons, *weighed, *manifest.notes])


def _saving(saving: Saving) -> str:
    rates = ", ".join(f"{port} {rate:.4g}/s" for port, rate in saving.rates_hz.items())
    return (
        f"at {rates} and {saving.decisions_hz:.4g} decisions/s\n"
        f"  whole model at every decision  {saving.unsplit_ms:7.1f} ms of work per second\n"
        f"  each stage at its own rate     {saving.staged_ms:7.1f} ms of work per second, "
        f"{saving.ratio:.0%} of it ({1 / saving.ratio:.1f} times less)"
    )


def _variants(manifest: Manifest) -> str:
    sizes = {
        name: sum(manifest.files[file].bytes for file in v.files.values()) for name, v in manifest.variants.items()
    }
    rows = []
    for name, variant in manifest.variants.items():
        made = dict.fromkeys(plan.precision for plan in variant.stages.values())
        kept = sum(len(plan.exact) for plan in variant.stages.values())
        rows.append(
            [
                name,
                f"{sizes[name] / 1024:.0f}",
                "-" if variant.drop is None else f"{variant.drop:.2%}",
                ", ".join(made) or name,
                f"{kept} layers" if kept else "-",
                ", ".join(variant.backends),
            ]
        )
    return table(["variant", "KiB", "drop", "computes in", "kept in fp32", "for"], rows, left=(0, 3, 4, 5))


def _missing(manifest: Manifest) -> str:
    """What happens while a sensor is missing, and what it costs."""
    sensors = [name for name, port in manifest.ports.items() if port.state is None]
    policies = [manifest.policies.get(name, PortPolicy()) for name in sensors]
    rows = []
    for name, policy in zip(sensors, policies, strict=True):
        age = "-" if policy.max_age_ms is None else f"{policy.max_age_ms:g} ms"
        rows.append([name, age, ", ".join(policy.missing) or "says so"])
    text = table(["sensor", "missing if older than", "while it is missing"], rows, left=range(3))
    if not manifest.scores:
        return text
    rows = []
    for score in manifest.scores:
        figures = [score.shown(score.whole), score.shown(score.score)]
        rows.append([score.port, score.instead, score.output, score.metric, str(score.windows), *figures])
    header = ["without", "by its", "output", "score", "windows", "with every sensor", "without it"]
    return f"{text}\n\n{table(header, rows, left=range(4))}"


def _engines(bundle: Bundle) -> str:
    """What lies in ``engines/``: whose it is, and whether it is of the graphs that are here; not whether it loads."""
    found, unreadable = [], []
    for record in read_records(bundle):
        if isinstance(record, EngineRecord):
            found.append(record)
        else:
            unreadable.append(str(record))
    rows = [row for name in bundle.manifest.variants for row in _engine_rows(bundle, name, found)]
    graphs = set(bundle.graphs.values())
    stale = sum(record.key.onnx_sha256 not in graphs for record in found)
    notes = [f"{stale} engines are of graphs that the bundle no longer has"] if stale else []
    if not rows:
        return "\n".join(["no engines (mmedge build makes them)", *notes, *unreadable])
    text = table(["engines of", "by", "for", "stages", "KiB", "made by"], rows, left=(0, 1, 2, 5))
    return "\n".join([text, *notes, *unreadable])


def _engine_rows(bundle: Bundle, variant: str, found: list[EngineRecord]) -> list[list[str]]:
    groups: dict[tuple[str, str, str], dict[str, EngineRecord]] = {}
    for record in found:
        names = [stage.name for stage in bundle.manifest.stages]
        files = bundle.manifest.variants[variant].files
        if not fits(record.key.library, bundle.manifest.variants[variant].backends):
            continue  # another variant's, of a stage that both have in common
        if record.stage in names and record.key.onnx_sha256 == bundle.graph_sha256(files[record.stage]):
            library = f"{record.key.library} {record.key.version}"
            where = record.key.device or "+".join(record.key.targets)
            groups.setdefault((library, where, "you" if record.is_ours else "someone else"), {})[record.stage] = record
    return [
        [
            variant,
            library,
            where,
            f"{len(records)} of {len(bundle.manifest.stages)}",
            f"{sum(record.plan.bytes for record in records.values()) / 1024:.0f}",
            maker,
        ]
        for (library, where, maker), records in groups.items()
    ]
