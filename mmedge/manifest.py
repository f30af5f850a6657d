"""The one contract between export and runtime: what a bundle holds and how its parts fit together."""

import json
from dataclasses import dataclass, field
from math import prod
from typing import Literal, get_args

from mmedge.errors import BundleError, BundleVersionError, InputError
from mmedge.features.frames import unlike_columns
from mmedge.features.settings import AudioSettings, CameraSettings, StateSettings, TensorSettings, TextSettings
from mmedge.gates import GATE_VALUES, GATE_WEIGHTS, Gates, shut_out
from mmedge.policies import PolicyScore, PortPolicy
from mmedge.records import from_plain, to_plain
from mmedge.variants import StagePlan, Variant

__all__ = [
    "SCHEMA",
    "FileRecord",
    "Manifest",
    "Output",
    "Port",
    "Stage",
    "StagePlan",
    "TensorSpec",
    "Variant",
    "read_manifest",
    "time_axis",
]

SCHEMA = 1
Modality = Literal["camera", "audio", "text", "tensor", "state"]
MAX_TENSOR_BYTES = 1 << 31  # of all tensors together: what a damaged manifest can ask for
DTYPE_BYTES = {"float32": 4, "float16": 2, "int64": 8, "int32": 4, "uint8": 1, "int8": 1, "bool": 1, "float64": 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One input of the model and how raw sensor data becomes it: exactly one of the settings is given."""

    camera: CameraSettings | None = None
    audio: AudioSettings | None = None
    text: TextSettings | None = None
    tensor: TensorSettings | None = None
    state: StateSettings | None = None

    def __post_init__(self) -> None:
        if sum(getattr(self, name) is not None for name in get_args(Modality)) != 1:
            raise BundleError(f"a port has the settings of exactly one of {', '.join(get_args(Modality))}")

    @property
    def settings(self) -> AudioSettings | CameraSettings | StateSettings | TensorSettings | TextSettings:
        """The settings that are given."""
        settings = self.camera or self.audio or self.text or self.tensor or self.state
        assert settings is not None  # __post_init__ has seen to it
        return settings

    @property
    def modality(self) -> Modality:
        """What kind of sensor feeds it; a state is fed by the model itself."""
        return next(name for name in get_args(Modality) if getattr(self, name) is not None)

    @property
    def dtype(self) -> str:
        """Its tensor's dtype, by numpy's name."""
        if self.text is not None:
            return "int64"
        values = self.tensor or self.state
        return "float32" if values is None else values.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of its tensor without the batch axis."""
        return self.settings.shape


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """A tensor that goes from stage to stage, batch axis included.

    Attributes:
        shape: What the stages that read it are given.
        dtype: numpy's name.
        window_axis: None, or the axis along which the stage that makes it gives one item at a time; the last
            ``shape[window_axis]`` items, oldest first, are what its readers see.
        item_size: Slices along that axis that make an item: more than 1 for a port whose sound comes in chunks.
    """

    shape: tuple[int, ...]
    dtype: str
    window_axis: int | None = None
    item_size: int = 1

    def __post_init__(self) -> None:
        if self.dtype not in DTYPE_BYTES:
            raise BundleError(f"tensors are one of {', '.join(DTYPE_BYTES)}, not {self.dtype!r}")
        if any(size < 1 for size in self.shape) or self.bytes > MAX_TENSOR_BYTES:
            raise BundleError(f"a tensor of shape {list(self.shape)} cannot be")
        if self.window_axis is not None and not 0 <= self.window_axis < len(self.shape):
            raise BundleError(f"axis {self.window_axis} is not one of {list(self.shape)}")
        along = 1 if self.window_axis is None else self.shape[self.window_axis]
        if self.item_size < 1 or along % self.item_size:
            raise BundleError(f"a window of {along} is not made of items of {self.item_size}")

    @property
    def bytes(self) -> int:
        """Size of what readers see."""
        return prod(self.shape) * DTYPE_BYTES[self.dtype]

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of what its maker gives at a time."""
        if self.window_axis is None:
            return self.shape
        return (*self.shape[: self.window_axis], self.item_size, *self.shape[self.window_axis + 1 :])

    @property
    def items(self) -> int:
        """Items that its readers see: 1 if it is no window."""
        return 1 if self.window_axis is None else self.shape[self.window_axis] // self.item_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One graph of the split model.

    Attributes:
        name: Unique; also the name of its file.
        ports: The ports it depends on, directly or through other stages.
        inputs: Tensors it reads: ports, or outputs of earlier stages.
        outputs: Tensors it makes.
        per_item: It takes one item of its port's window at a time, and makes one slice of each of its outputs.
        items: How many of the newest items it looks at for that.
    """

    name: str
    ports: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    per_item: bool = False
    items: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What one output of the model means.

    Attributes:
        tensor: The tensor it is, [1, ...].
        task: Kind of output.
        labels: One for each value of a classification or multi-label output.
        activation: What turns the tensor into the output.
        unit: Unit of a regression.
    """

    tensor: str
    task: Literal["classification", "multilabel", "regression", "embedding", "raw"] = "raw"
    labels: tuple[str, ...] = ()
    activation: Literal["softmax", "sigmoid", "none"] = "none"
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """Size and SHA-256 of one file of the bundle."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All that a runtime must know about a model.

    Attributes:
        schema: Version of this structure.
        name: The model's name.
        made_with: Versions of the libraries that exported it, and the checkpoint's SHA-256.
        ports: The model's inputs, in the order of its arguments.
        tensors: Everything that goes from stage to stage, ports included.
        stages: In an order in which they can run.
        macs: Multiply-accumulates of one run of each stage.
        outputs: The model's outputs, in its order.
        variants: Sets of graph files, "fp32" first.
        kept_whole: Why the model was not split, if it was not.
        golden: File with real inputs and the outputs of the original model.
        files: Every file of the bundle but the manifest itself, by its relative path.
        calibration: File with ranges and statistics of its tensors, "" if it was not calibrated.
        policies: What to do while a port is missing, for ports that have something declared.
        scores: What is left of each output while a port is missing.
        gates: What the head scales each port by, if it was found.

    Raises:
        BundleError: The parts do not fit together.
    """

    schema: int
    name: str
    made_with: dict[str, str]
    ports: dict[str, Port]
    tensors: dict[str, TensorSpec]
    stages: tuple[Stage, ...]
    macs: dict[str, int]
    outputs: dict[str, Output]
    variants: dict[str, Variant]
    golden: str
    files: dict[str, FileRecord]
    kept_whole: str = ""
    notes: tuple[str, ...] = field(default=())
    calibration: str = ""
    policies: dict[str, PortPolicy] = field(default_factory=dict)
    scores: tuple[PolicyScore, ...] = ()
    gates: Gates | None = None

    def __post_init__(self) -> None:
        _check_sizes(self)
        _check_stages(self)
        _check_outputs(self)
        for name, variant in self.variants.items():
            if variant.files.keys() != {stage.name for stage in self.stages}:
                raise BundleError(f"variant {name} does not have one file for each stage")
            if variant.stages and variant.stages.keys() != variant.files.keys():
                raise BundleError(f"variant {name} does not say of each stage how it was made")
        wanted = {self.golden, *(path for variant in self.variants.values() for path in variant.files.values())}
        wanted |= {port.text.tokenizer for port in self.ports.values() if port.text}
        wanted |= {self.calibration} - {""}
        if lost := sorted(name for name in self.policies if name not in self.ports or self.ports[name].state):
            raise BundleError(f"there is a policy for {lost[0]!r}, which is no sensor of the model")
        try:
            shut_out(self.policies, self.gates)
        except InputError as error:
            raise BundleError(str(error)) from error
        if lost := sorted(wanted - self.files.keys()):
            raise BundleError(f"{lost[0]} is used but not listed among the files")

    @property
    def states(self) -> dict[str, str]:
        """For each state port, the tensor that becomes its value after a tick."""
        return {name: port.state.source for name, port in self.ports.items() if port.state}

    @property
    def results(self) -> dict[str, str]:
        """The tensor of everything that the model returns, by name: its outputs, and what is fed back."""
        fed_back = {source: source for source in self.states.values()}
        return fed_back | {name: output.tensor for name, output in self.outputs.items()}

    def to_json(self) -> str:
        """The text of ``manifest.json``."""
        return json.dumps(to_plain(self), indent=1) + "\n"


def time_axis(port: Port) -> int | None:
    """The axis of a port's tensor, batch axis included, along which its time goes, or None."""
    if port.camera is not None:
        axis = port.camera.layout.find("T")
    else:
        axis = -1 if port.audio is None else port.audio.tensor_layout.find("N" if port.audio.mel is None else "T")
    return None if axis < 0 else 1 + axis


def read_manifest(text: str, where: str) -> Manifest:
    """Read the text of a ``manifest.json`` that may have been tampered with.

    Args:
        text: The document.
        where: The file's name, for messages.

    Raises:
        BundleVersionError: A newer mmedge wrote it.
        BundleError: It is not a manifest, or its parts do not fit together.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where} is not JSON ({error}); export the bundle again") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if type(schema) is not int:
        raise BundleError(f"{where} has no schema version; expected a manifest written by mmedge export")
    if schema > SCHEMA:
        raise BundleVersionError(
            f"{where} has schema {schema}, this mmedge reads up to {SCHEMA}; try: pip install --upgrade mmedge"
        )
    try:
        return from_plain(Manifest, document)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: {' '.join(str(error).split())}; export the bundle again") from error


def _check_sizes(manifest: Manifest) -> None:
    if not manifest.ports or not manifest.stages:
        raise BundleError("a model has at least one port and one stage")
    names = [stage.name for stage in manifest.stages]
    if len(set(names)) != len(names):
        raise BundleError(f"stages {', '.join(names)} do not have names of their own")
    if manifest.macs.keys() != set(names):
        raise BundleError(
            f"macs are given for {', '.join(manifest.macs) or 'nothing'}, the stages are {', '.join(names)}"
        )
    if (total := sum(spec.bytes for spec in manifest.tensors.values())) > MAX_TENSOR_BYTES:
        raise BundleError(f"its tensors have {total >> 20} MiB, more than {MAX_TENSOR_BYTES >> 20} MiB")


def _check_per_item(manifest: Manifest, stage: Stage) -> None:
    windows = [manifest.tensors[name] for name in (*stage.inputs, *stage.outputs)]
    if stage.inputs != stage.ports or len(stage.ports) != 1 or any(spec.window_axis is None for spec in windows):
        raise BundleError(f"stage {stage.name} takes single items, but not from the window of one port into windows")
    window = windows[0]
    if not 1 <= stage.items <= window.items:
        raise BundleError(f"stage {stage.name} looks at {stage.items} items, its window has {list(window.shape)}")
    if sum(other.per_item and other.ports == stage.ports for other in manifest.stages) > 1:
        raise BundleError(f"stage {stage.name} is not the only one that takes items of {stage.ports[0]}")


def _check_stages(manifest: Manifest) -> None:
    known = {name: {name} for name in manifest.ports}  # the ports that each tensor depends on
    known |= _weights(manifest)
    for stage in manifest.stages:
        if lost := [name for name in stage.inputs if name not in known]:
            raise BundleError(f"stage {stage.name} reads {lost[0]!r}, which nothing before it makes")
        if again := [name for name in stage.outputs if name in known]:
            raise BundleError(f"stage {stage.name} makes {again[0]!r}, which is there before it")
        if lost := [name for name in (*stage.inputs, *stage.outputs) if name not in manifest.tensors]:
            raise BundleError(f"stage {stage.name} uses {lost[0]!r}, which has no shape")
        if lost := [name for name in stage.ports if name not in manifest.ports]:
            raise BundleError(f"stage {stage.name} depends on {lost[0]!r}, which is no port")
        depends = set[str]().union(*(known[name] for name in stage.inputs))
        if not depends or depends != set(stage.ports):
            given, found = ", ".join(stage.ports) or "no port", ", ".join(sorted(depends)) or "none"
            raise BundleError(f"stage {stage.name} depends on {given}; what it reads, on {found}")
        if stage.per_item:
            _check_per_item(manifest, stage)
        known |= dict.fromkeys(stage.outputs, depends)
    _check_items(manifest)
    _check_ports(manifest, known.keys() - manifest.ports.keys())
    _check_gates(manifest)


def _check_items(manifest: Manifest) -> None:
    """Windows that grow item by item have a stage that makes them so, along the time of a camera or of sound."""
    windows = {name for name, spec in manifest.tensors.items() if spec.window_axis is not None}
    item_stages = [stage for stage in manifest.stages if stage.per_item]
    made = {name for stage in item_stages for name in (*stage.inputs, *stage.outputs)}
    if lost := sorted(windows - made):
        raise BundleError(f"{lost[0]} has a window axis, and no stage takes or makes its items one by one")
    for name in windows & manifest.ports.keys():
        port, spec = manifest.ports[name], manifest.tensors[name]
        if spec.window_axis != time_axis(port) or (port.camera and spec.item_size != 1):
            raise BundleError(f"axis {spec.window_axis} of port {name} is not the time of a camera or of sound")
        if port.audio and (why := unlike_columns(port.audio)):
            raise BundleError(f"port {name} cannot be taken item by item: {why}")


def _weights(manifest: Manifest) -> dict[str, set[str]]:
    """What a head with gates reads that depends on no port, as if it depended on all that have one."""
    return {} if manifest.gates is None else {GATE_WEIGHTS: set(manifest.gates.ports)}


def _check_gates(manifest: Manifest) -> None:
    if (gates := manifest.gates) is None:
        return
    if lost := [name for name in gates.ports if name not in manifest.ports or manifest.ports[name].state]:
        raise BundleError(f"there are gates of {lost[0]!r}, which is no sensor of the model")
    ends = {GATE_WEIGHTS: [s.inputs for s in manifest.stages], GATE_VALUES: [s.outputs for s in manifest.stages]}
    expected = TensorSpec(shape=(len(gates.ports),), dtype="float32")
    for name, stages in ends.items():
        if not any(name in names for names in stages) or manifest.tensors[name] != expected:
            raise BundleError(f"the head has gates of {', '.join(gates.ports)}, and no tensor {name} for them")


def _check_outputs(manifest: Manifest) -> None:
    made = {name for stage in manifest.stages for name in stage.outputs}
    for name, output in manifest.outputs.items():
        if output.tensor not in made:
            raise BundleError(f"output {name} is the tensor {output.tensor!r}, which no stage makes")
        shape = manifest.tensors[output.tensor].shape
        if shape[:1] != (1,) or (output.activation == "softmax" and len(shape) < 2):
            raise BundleError(f"output {name} is {list(shape)}, expected a batch axis of 1 and values")
        if output.labels and len(output.labels) != prod(shape):
            raise BundleError(f"output {name} has {len(output.labels)} labels for {prod(shape)} values")


def _check_ports(manifest: Manifest, made: set[str]) -> None:
    for name, port in manifest.ports.items():
        if name not in manifest.tensors or manifest.tensors[name].shape != (1, *port.shape):
            raise BundleError(f"port {name} gives [1, {', '.join(map(str, port.shape))}], its tensor is another")
        if manifest.tensors[name].dtype != port.dtype:
            raise BundleError(f"port {name} gives {port.dtype}, its tensor is {manifest.tensors[name].dtype}")
    for name, source in manifest.states.items():
        if source not in made:
            raise BundleError(f"state {name} is fed from {source!r}, which no stage makes")
        given, taken = manifest.tensors[source], manifest.tensors[name]
        if (given.shape, given.dtype) != (taken.shape, taken.dtype):
            raise BundleError(
                f"state {name} is {list(taken.shape)} {taken.dtype}, {source} is {list(given.shape)} {given.dtype}"
            )
