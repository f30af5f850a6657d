"""Sensor data that an export is proved with: real by default, random only when asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmedge.errors import SpecError
from mmedge.feeds import front_end
from mmedge.manifest import Port
from mmedge.types import Array
from mmedge_export.spec import Spec
from mmedge_export.user_code import USER_ERRORS, reason, resolve

__all__ = ["Sample", "draw_samples", "port_tensors", "stack"]

Sample = Mapping[str, Array]
COUNT = 4
SEED = 7


def draw_samples(spec: Spec, file: Path | None, *, random: bool) -> list[Sample]:
    """Raw sensor data for each port.

    Args:
        spec: Its ``model.samples`` is called when no file is given.
        file: An .npz with an array [S, ...] for each port: pictures [S, T, H, W, 3] uint8 RGB (or [S, H, W, 3]), sound
            [S, N] float32 in -1..1.
        random: Make random data instead.

    Raises:
        SpecError: There is no real data, or it does not fit the ports.
    """
    if random:
        samples = [_random_sample(spec.ports, seed) for seed in range(SEED, SEED + COUNT)]
    elif file is not None:
        samples = _read_npz(file, spec.ports)
    elif spec.samples:
        samples = _users_samples(spec.samples)
    else:
        raise SpecError(
            'no real samples to prove the export with: set samples = "module:function" under [model], '
            "or give --samples FILE.npz, or accept --random-samples"
        )
    if len(samples) < 2:
        raise SpecError(f"parity needs at least 2 samples, {len(samples)} given")
    return samples


def port_tensors(ports: Mapping[str, Port], sample: Sample) -> dict[str, npt.NDArray[np.float32]]:
    """What the front ends make of one sample, with a batch axis.

    Raises:
        SpecError: A port's data is missing or does not fit.
    """
    tensors = {}
    for name, port in ports.items():
        if name not in sample:
            raise SpecError(f"the samples have no data for port {name}; expected {', '.join(ports)}")
        try:
            tensors[name] = front_end(port).window(sample[name])[np.newaxis]
        except ValueError as error:
            raise SpecError(f"the samples do not fit port {name}: {error}") from error
    return tensors


def stack(samples: Sequence[Sample], port: str) -> Array:
    """One port's data of all samples, [S, ...]."""
    return np.stack([sample[port] for sample in samples])


def _users_samples(name: str) -> list[Sample]:
    draw = resolve(name, "model.samples")
    try:
        return list(draw(count=COUNT, seed=SEED))
    except USER_ERRORS as error:
        raise SpecError(f"model.samples = {name!r} failed on count={COUNT}, seed={SEED}: {reason(error)}") from error


def _read_npz(file: Path, ports: Mapping[str, Port]) -> list[Sample]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        raise SpecError(f"{file} is not an .npz of plain arrays ({error})") from error
    if missing := [name for name in ports if name not in arrays]:
        raise SpecError(f"{file} has no array named {missing[0]}; expected {', '.join(ports)}")
    count = min(len(arrays[name]) for name in ports)
    return [{name: arrays[name][i] for name in ports} for i in range(count)]


def _random_sample(ports: Mapping[str, Port], seed: int) -> Sample:
    random = np.random.default_rng(seed)
    sample: dict[str, Array] = {}
    for name, port in ports.items():
        if port.camera is not None:
            size = (port.camera.frames, port.camera.height_px, port.camera.width_px, 3)
            sample[name] = random.integers(0, 256, size, dtype=np.uint8)
        if port.audio is not None:
            sample[name] = random.uniform(-0.5, 0.5, port.audio.window_samples).astype(np.float32)
    return sample
