"""Where the parts of a split model stand on the page: columns by order, lanes by sensor."""

from dataclasses import dataclass

from mmedge.manifest import Manifest, Stage

__all__ = ["Edge", "Place", "crossing", "edges", "places"]

Place = tuple[int, float]  # column, lane; what depends on several sensors stands between their lanes


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Tensors that one part hands to another; a part is a port, a stage, or an output."""

    source: str
    target: str
    tensors: tuple[str, ...]


def edges(manifest: Manifest) -> list[Edge]:
    """Every connection, grouped by its two ends: ports are "port:NAME", stages "stage:NAME", outputs "output:NAME"."""
    makers = {name: f"port:{name}" for name in manifest.ports}
    makers |= {tensor: f"stage:{stage.name}" for stage in manifest.stages for tensor in stage.outputs}
    joined: dict[tuple[str, str], list[str]] = {}
    for stage in manifest.stages:
        for tensor in stage.inputs:
            if tensor in makers:  # and no weights of modalities, which no part makes
                joined.setdefault((makers[tensor], f"stage:{stage.name}"), []).append(tensor)
    for name, output in manifest.outputs.items():
        joined.setdefault((makers[output.tensor], f"output:{name}"), []).append(output.tensor)
    return [Edge(source=source, target=target, tensors=tuple(names)) for (source, target), names in joined.items()]


def crossing(manifest: Manifest) -> list[str]:
    """Tensors on the border between what belongs to one sensor and what needs several."""
    several = {name for stage in manifest.stages if len(stage.ports) > 1 for name in stage.inputs}
    private = {name for stage in manifest.stages if len(stage.ports) == 1 for name in stage.outputs}
    return [name for name in manifest.tensors if name in several & private]


def places(manifest: Manifest) -> dict[str, Place]:
    """Column and lane of every part; a stage stands as far right as its readers let it, next to the border."""
    columns: dict[str, int] = {}
    for stage in manifest.stages:
        columns[stage.name] = 1 + max([columns[maker.name] for maker in _makers(manifest, stage)], default=0)
    last = max(columns.values())
    for stage in reversed(manifest.stages):
        readers = [reader for reader in manifest.stages if stage in _makers(manifest, reader)]
        if readers:
            columns[stage.name] = min(columns[reader.name] for reader in readers) - 1
        elif set(stage.outputs) & {output.tensor for output in manifest.outputs.values()}:
            columns[stage.name] = last
    lanes = {name: float(i) for i, name in enumerate(manifest.ports)}
    found: dict[str, Place] = {f"port:{name}": (0, lane) for name, lane in lanes.items()}
    taken: set[Place] = set()
    for stage in manifest.stages:
        lane = sum(lanes[port] for port in stage.ports) / max(1, len(stage.ports))
        while (columns[stage.name], lane) in taken:
            lane += 0.5
        taken.add((columns[stage.name], lane))
        found[f"stage:{stage.name}"] = (columns[stage.name], lane)
    middle = (len(lanes) - 1) / 2
    for i, name in enumerate(manifest.outputs):
        found[f"output:{name}"] = (last + 1, middle + (i - (len(manifest.outputs) - 1) / 2) * 0.5)
    return found


def _makers(manifest: Manifest, reader: Stage) -> list[Stage]:
    return [stage for stage in manifest.stages if set(stage.outputs) & set(reader.inputs)]
