"""Sensor data that an export is proved with: real by default, random only when asked for."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mmedge.errors import SpecError
from mmedge.features.text import TextFrontEnd
from mmedge.feeds import front_end
from mmedge.golden import UNREADABLE
from mmedge.manifest import Port
from mmedge.types import Array
from mmedge_export.spec import Spec
from mmedge_export.user_code import USER_ERRORS, reason, resolve

__all__ = ["LABEL", "Sample", "draw_labelled", "draw_samples", "port_tensors", "stack"]

Sample = Mapping[str, Array]
LABEL = "label/"
COUNT = 4
SEED = 7
STATE_SCALE = 0.5  # zeros would hide what is done with a state


def draw_samples(spec: Spec, file: Path | None, *, random: bool) -> list[Sample]:
    """Raw sensor data for each port; states that are not given are made here.

    Args:
        spec: Its ``model.samples`` is called when no file is given.
        file: An .npz with an array [S, ...] for each port: pictures [S, T, H, W, 3] uint8 RGB (or [S, H, W, 3]), sound
            [S, N] float32 in -1..1, texts [S] strings, tensors [S, ...].
        random: Make random data instead.

    Raises:
        SpecError: There is no real data, or it does not fit the ports.
    """
    if random:
        samples = [_random_sample(spec, seed) for seed in range(SEED, SEED + COUNT)]
    elif file is not None or spec.samples:
        samples = [
            {name: values for name, values in sample.items() if not name.startswith(LABEL)}
            for sample in draw_labelled(spec, file, COUNT)
        ]
    else:
        raise SpecError(
            'no real samples to prove the export with: set samples = "module:function" under [model], '
            "or give --samples FILE.npz, or accept --random-samples"
        )
    if len(samples) < 2:
        raise SpecError(f"parity needs at least 2 samples, {len(samples)} given")
    return [_with_states(spec.ports, sample, SEED + i) for i, sample in enumerate(samples)]


def draw_labelled(spec: Spec, file: Path | None, count: int) -> list[Sample]:
    """Real sensor data, with what is true of it as ``label/OUTPUT`` where that is given; () if there is none.

    Args:
        spec: Its ``model.samples`` is called when no file is given.
        file: As :func:`draw_samples` reads it; it may have arrays ``label/OUTPUT`` [S, ...], too. All of it is read.
        count: How many to ask ``model.samples`` for.

    Raises:
        SpecError: It does not fit the ports.
    """
    if file is not None:
        return _read_npz(file, spec.ports)
    return _users_samples(spec.samples, count) if spec.samples else []


def port_tensors(
    ports: Mapping[str, Port], sample: Sample, read: Callable[[str], bytes] | None = None
) -> dict[str, Array]:
    """What the front ends make of one sample, with a batch axis.

    Args:
        ports: The model's inputs.
        sample: Raw sensor data for each.
        read: See :func:`mmedge.feeds.front_end`.

    Raises:
        SpecError: A port's data is missing or does not fit, or a tokenizer cannot be read.
    """
    tensors = {}
    for name, port in ports.items():
        if name not in sample:
            raise SpecError(f"the samples have no data for port {name}; expected {', '.join(ports)}")
        front = front_end(port, read)
        try:
            tensors[name] = front.window(sample[name])[np.newaxis]
        except ValueError as error:
            raise SpecError(f"the samples do not fit port {name}: {error}") from error
    return tensors


def stack(samples: Sequence[Sample], port: str) -> Array:
    """One port's data of all samples, [S, ...]."""
    return np.stack([sample[port] for sample in samples])


def _users_samples(name: str, count: int) -> list[Sample]:
    draw = resolve(name, "model.samples")
    try:
        return list(draw(count=count, seed=SEED))
    except USER_ERRORS as error:
        raise SpecError(f"model.samples = {name!r} failed on count={count}, seed={SEED}: {reason(error)}") from error


def _read_npz(file: Path, ports: Mapping[str, Port]) -> list[Sample]:
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise SpecError(
            f"{file} does not exist; expected an .npz with an array for each of {', '.join(ports)}"
        ) from error
    except UNREADABLE as error:
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise SpecError(f"{file} is not an .npz of plain arrays ({told}); write it again") from error
    needed = [name for name, port in ports.items() if port.state is None]
    if missing := [name for name in needed if name not in arrays]:
        raise SpecError(f"{file} has no array named {missing[0]}; expected {', '.join(needed)}")
    given = [name for name in arrays if name in ports or name.startswith(LABEL)]
    count = min(len(arrays[name]) for name in given)
    return [{name: arrays[name][i] for name in given} for i in range(count)]


def _random_sample(spec: Spec, seed: int) -> Sample:
    random = np.random.default_rng(seed)
    sample: dict[str, Array] = {}
    for name, port in spec.ports.items():
        if port.camera is not None:
            size = (port.camera.frames, port.camera.height_px, port.camera.width_px, 3)
            sample[name] = random.integers(0, 256, size, dtype=np.uint8)
        if port.audio is not None:
            sample[name] = random.uniform(-0.5, 0.5, port.audio.window_samples).astype(np.float32)
        if port.tensor is not None:
            sample[name] = _random_values(port, random, scale=1)
        if port.text is not None:
            front = TextFrontEnd(port.text, spec.read(port.text.tokenizer))
            ids = random.integers(front.vocabulary, size=random.integers(1, port.text.length + 1))
            sample[name] = np.array(front.text_of(ids))
    return sample


def _with_states(ports: Mapping[str, Port], sample: Sample, seed: int) -> Sample:
    random = np.random.default_rng(seed)
    states = {name: _random_values(port, random, STATE_SCALE) for name, port in ports.items() if port.state}
    return {**states, **sample}


def _random_values(port: Port, random: np.random.Generator, scale: float) -> Array:
    """Normal values, or 0 and 1 for integers: they may be an index of some table."""
    if np.dtype(port.dtype).kind == "f":
        return (scale * random.standard_normal(port.shape)).astype(port.dtype)
    return random.integers(2, size=port.shape).astype(port.dtype)
