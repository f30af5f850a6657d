"""SPEC.toml: which factory builds the model, what its inputs are made of, what its outputs mean."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from mmedge.errors import SpecError
from mmedge.features.settings import (
    AudioSettings,
    CameraSettings,
    MelSettings,
    StateSettings,
    TensorSettings,
    TextSettings,
    mel_settings,
)
from mmedge.manifest import Modality, Output, Port
from mmedge.policies import PortPolicy
from mmedge.records import RecordError, from_plain
from mmedge_export.call import Call, read_call
from mmedge_export.front_tables import front_tables

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Axis", "DeclaredGates", "Spec", "parse_value", "read_spec"]

MAX_TOKENIZER_BYTES = 64 << 20
NAME = re.compile(r"\w[\w.-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis of an input that may have several sizes.

    Attributes:
        port: The input.
        name: Its letter in the layout.
        number: Of the tensor, batch axis included.
        least: Smallest size.
        most: Largest size.
    """

    port: str
    name: str
    number: int
    least: int
    most: int

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Those that are tried: both ends and the middle."""
        return self.least, (self.least + self.most) // 2, self.most


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredGates:
    """``gates = ["image", "audio"]`` of an output: its last axis holds the head's gates of these sensors.

    Attributes:
        output: Its name.
        ports: The sensors, in its order.
    """

    output: str
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a SPEC.toml says.

    Attributes:
        name: The model's name.
        factory: ``package.module:function`` that returns an nn.Module; "" for a pickled module.
        arguments: The factory's keyword arguments.
        samples: ``package.module:function`` that returns real sensor data to prove the export with, or "".
        ports: By the names of forward()'s arguments, in their order.
        outputs: In the order in which forward() returns them, or by its keys; their tensors are named after them.
        files: What the bundle takes along, by its name there: the tokenizers of text ports.
        call: How forward() takes its inputs.
        policies: What to do while a port is missing.
        symbolic: Axes that the graph must leave open, whatever size is shipped.
        in_graph: Audio ports whose features the bundle's graph computes. Their settings here are those of the model,
            which takes features wherever they come from.
        gates: The output that holds the gates over the sensors, if one is said to.
    """

    name: str
    factory: str
    arguments: dict[str, Any]
    samples: str
    ports: dict[str, Port]
    outputs: dict[str, Output]
    files: dict[str, Path] = field(default_factory=dict)
    call: Call = field(default_factory=Call)
    policies: dict[str, PortPolicy] = field(default_factory=dict)
    symbolic: tuple[Axis, ...] = ()
    in_graph: tuple[str, ...] = ()
    gates: DeclaredGates | None = None

    @property
    def bundle_ports(self) -> dict[str, Port]:
        """The ports as the bundle has them, which takes samples where its graph computes the features."""
        return {
            name: Port(audio=replace(port.audio, front_end="graph")) if port.audio and name in self.in_graph else port
            for name, port in self.ports.items()
        }

    @property
    def returns(self) -> list[str]:
        """Names for all that forward() returns: the outputs, then what is only fed back to states, in their order."""
        sources = [port.state.source for port in self.ports.values() if port.state]
        return list(dict.fromkeys([*self.outputs, *sources]))

    def read(self, name: str) -> bytes:
        """The bytes of one of the files.

        Raises:
            SpecError: It is not there, or too large.
        """
        path = self.files[name]
        if not path.is_file():
            raise SpecError(f"{path} does not exist; paths in a spec are relative to the folder it is in")
        if path.stat().st_size > MAX_TOKENIZER_BYTES:
            raise SpecError(f"{path} is larger than {MAX_TOKENIZER_BYTES >> 20} MiB; expected a tokenizer.json")
        return path.read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Policies:
    policies: dict[str, PortPolicy]


def read_spec(text: str, where: str, folder: Path | None = None) -> Spec:
    """Read the text of a SPEC.toml.

    Args:
        text: The document.
        where: The file's name, for messages.
        folder: What the paths in it are relative to; by default the working directory.

    Raises:
        SpecError: It is not TOML, or a key is unknown, missing or of the wrong kind.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{where} is not TOML: {error}") from error
    try:
        return _spec(document, folder or Path())
    except ValueError as error:
        raise SpecError(f"{where}: {error}") from error


def parse_value(text: str) -> Any:
    """What ``key = text`` means in TOML; text that is no TOML value is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _spec(document: dict[str, Any], folder: Path) -> Spec:
    _only(document, {"model", "inputs", "outputs", "policies"}, "")
    model = _table(document, "model", "")
    _only(model, {"name", "factory", "arguments", "samples", "call"}, "model.")
    inputs, outputs = _table(document, "inputs", ""), _table(document, "outputs", "")
    if not inputs or not outputs:
        raise SpecError("it needs at least one [inputs.NAME] and one [outputs.NAME]")
    _check_names(inputs, outputs)
    call = read_call(_need(model, "call", dict, "model.")) if "call" in model else Call()
    if both := sorted(inputs.keys() & call.constants.keys()):
        raise SpecError(f"{both[0]} is an input and a constant of model.call; leave one of them out")
    ports = {name: _port(table, name) for name, table in inputs.items()}
    _check_states(ports)
    in_graph = {name: port.audio for name, port in ports.items() if port.audio and port.audio.front_end == "graph"}
    ports |= {name: _on_host(audio, name) for name, audio in in_graph.items()}
    symbolic = tuple(axis for name, table in inputs.items() for axis in _symbolic(table, name, ports[name]))
    return Spec(
        name=_need(model, "name", str, "model."),
        factory=_need(model, "factory", str, "model.") if "factory" in model else "",
        arguments=dict(model.get("arguments", {})),
        samples=model.get("samples", ""),
        ports=ports,
        outputs={name: _output(table, name) for name, table in outputs.items()},
        gates=_gates(outputs, ports),
        files={port.text.tokenizer: folder / inputs[name]["tokenizer"] for name, port in ports.items() if port.text},
        call=call,
        policies=_policies(document.get("policies", {}), ports),
        symbolic=symbolic,
        in_graph=tuple(in_graph),
    )


def _output(table: Mapping[str, Any], name: str) -> Output:
    described = {key: value for key, value in table.items() if key != "gates"}
    return from_plain(Output, {**described, "tensor": name}, f"outputs.{name}")


def _gates(tables: Mapping[str, Mapping[str, Any]], ports: Mapping[str, Port]) -> DeclaredGates | None:
    """What an output says of gates; at most one does."""
    sensors, found = [name for name in ports if ports[name].state is None], None
    for name, table in tables.items():
        if "gates" not in table:
            continue
        if found is not None:
            raise SpecError(f"outputs.{found.output} and outputs.{name} have gates; expected one output that does")
        given = table["gates"]
        if (
            type(given) is not list
            or any(given.count(port) > 1 or port not in sensors for port in given)
            or not given[1:]
        ):
            raise SpecError(f"outputs.{name}.gates = {given} is not a list of several of {', '.join(sensors)}")
        found = DeclaredGates(output=name, ports=tuple(given))
    return found


def _check_names(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    for name in (*inputs, *outputs):
        if not NAME.fullmatch(name):  # it will be the name of a file
            raise SpecError(f"{name!r} cannot be the name of an input or output; expected letters, digits and _ . -")
    if both := sorted(inputs.keys() & outputs.keys()):
        raise SpecError(f"{both[0]} is the name of an input and of an output; name one of them differently")


def _policies(tables: object, ports: Mapping[str, Port]) -> dict[str, PortPolicy]:
    policies = from_plain(_Policies, {"policies": tables}).policies
    for name in policies:
        if name not in ports or ports[name].state:
            sensors = ", ".join(port for port in ports if ports[port].state is None)
            raise SpecError(f"policies.{name} is for no sensor of the model; expected one of {sensors}")
    return policies


def _port(table: dict[str, Any], name: str) -> Port:
    path = f"inputs.{name}."
    modality = _need(table, "modality", str, path)
    rest = {key: value for key, value in table.items() if key not in {"modality", "symbolic"}}
    if modality == "camera":
        return Port(camera=_camera(rest, path))
    if modality == "audio":
        return Port(audio=_audio(rest, path))
    if modality == "text":
        return Port(text=_text(rest, name))
    if modality == "tensor":
        return Port(tensor=from_plain(TensorSettings, rest, f"inputs.{name}"))
    if modality == "state":
        return Port(state=_state(rest, path))
    raise SpecError(f"{path}modality = {modality!r} is not known; expected {', '.join(get_args(Modality))}")


def _on_host(audio: AudioSettings, name: str) -> Port:
    """The port with its features computed outside, once it is known that a graph can do it."""
    try:
        front_tables(audio)
    except SpecError as error:
        raise SpecError(f"inputs.{name}: {error}") from error
    return Port(audio=replace(audio, front_end="host"))


def _symbolic(table: dict[str, Any], name: str, port: Port) -> list[Axis]:
    """``symbolic = {T = [10, 100]}``: letters of the layout, each with its smallest and largest size."""
    path = f"inputs.{name}.symbolic"
    if "symbolic" not in table:
        return []
    layout = getattr(port.settings, "layout", "")
    axes = []
    for letter, sizes in _need(table, "symbolic", dict, f"inputs.{name}.").items():
        if len(letter) != 1 or letter not in layout:
            raise SpecError(f"{path} names axis {letter!r}, which is not in layout {layout!r}")
        whole = type(sizes) is list and len(sizes) == 2 and all(type(size) is int for size in sizes)
        number = 1 + layout.index(letter)
        if not whole or not 1 < sizes[0] < sizes[1] or not sizes[0] <= port.shape[number - 1] <= sizes[1]:
            size = port.shape[number - 1]
            raise SpecError(
                f"{path}.{letter} = {sizes} is not [least, most] above 1 with {size}, the spec's, between them"
            )
        axes.append(Axis(port=name, name=letter, number=number, least=sizes[0], most=sizes[1]))
    return axes


def _check_states(ports: Mapping[str, Port]) -> None:
    if all(port.state for port in ports.values()):
        raise SpecError("every input is a state; a model needs at least one sensor")
    for name, port in ports.items():
        if port.state and port.state.source in ports:
            raise SpecError(f"inputs.{name}.from = {port.state.source!r} is an input, expected an output of the model")


def _text(table: dict[str, Any], name: str) -> TextSettings:
    _need(table, "tokenizer", str, f"inputs.{name}.")
    return from_plain(TextSettings, {**table, "tokenizer": f"tokenizer/{name}.json"}, f"inputs.{name}")


def _state(table: dict[str, Any], path: str) -> StateSettings:
    _only(table, {"from", "shape", "dtype"}, path)
    source = _need(table, "from", str, path)
    rest = {key: value for key, value in table.items() if key != "from"}
    return from_plain(StateSettings, {**rest, "source": source}, path.rstrip("."))


def _camera(table: dict[str, Any], path: str) -> CameraSettings:
    size = _need(table, "size", list, path)
    if len(size) != 2:
        raise SpecError(f"{path}size = {size} is not [width, height]")
    rest = {key: value for key, value in table.items() if key != "size"}
    return from_plain(CameraSettings, {"width_px": size[0], "height_px": size[1], **rest}, path.rstrip("."))


def _audio(table: dict[str, Any], path: str) -> AudioSettings:
    rest = dict(table)
    rate_hz = _need(rest, "rate_hz", int, path)
    window = _samples(rest.pop("window_ms", None), rate_hz, f"{path}window_ms")
    hop = _samples(rest.pop("hop_ms", 20), rate_hz, f"{path}hop_ms")
    own = {f.name for f in fields(AudioSettings)}
    settings: dict[str, Any] = {key: rest.pop(key) for key in list(rest) if key in own}
    mel = None
    if settings.get("features", "waveform") != "waveform":
        convention = _need(rest, "convention", str, path)
        mel = _mel(convention, rate_hz, {key: value for key, value in rest.items() if key != "convention"}, path)
    elif rest:
        raise SpecError(f"{path}{min(rest)} is not known for a waveform")
    plain = {**settings, "window_samples": window, "hop_samples": hop}
    return _with_mel(plain, mel, path)


def _with_mel(plain: dict[str, Any], mel: MelSettings | None, path: str) -> AudioSettings:
    known: dict[str, Any] = {}
    for name, value in plain.items():
        known[name] = tuple(map(float, value)) if name in {"mean", "std"} else value
    try:
        return AudioSettings(**known, mel=mel)
    except (TypeError, ValueError) as error:
        raise SpecError(f"{path.rstrip('.')}: {error}") from error


def _mel(convention: str, rate_hz: int, overrides: dict[str, Any], path: str) -> MelSettings:
    try:
        return mel_settings(convention, rate_hz, **overrides)
    except (TypeError, ValueError) as error:
        raise SpecError(f"{path.rstrip('.')}: {error}") from error


def _samples(value: Any, rate_hz: int, path: str) -> int:
    if type(value) not in {int, float}:
        raise SpecError(f"{path} is missing or not a number")
    samples = value * rate_hz / 1000
    if samples != int(samples):
        raise SpecError(f"{path} = {value} is {samples} samples at {rate_hz} Hz; choose a whole number of them")
    return int(samples)


def _table(document: Mapping[str, Any], key: str, path: str) -> dict[str, Any]:
    table: dict[str, Any] = _need(document, key, dict, path)
    return table


def _need(table: Mapping[str, Any], key: str, kind: type, path: str) -> Any:
    if key not in table:
        raise RecordError(f"{path}{key} is missing")
    if type(table[key]) is not kind:
        raise RecordError(f"{path}{key} is {table[key]!r}, expected {kind.__name__}")
    return table[key]


def _only(table: Mapping[str, Any], known: set[str], path: str) -> None:
    if unknown := sorted(table.keys() - known):
        raise RecordError(f"{path}{unknown[0]} is not known; expected {', '.join(sorted(known))}")
