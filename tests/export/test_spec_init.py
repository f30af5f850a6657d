"""A newcomer edits a SPEC.toml instead of inventing one."""

import sys
from pathlib import Path

import onnx
import pytest
import streaming_graphs
import torch
from click.testing import CliRunner
from mmedge_export.guess import guess_input
from mmedge_export.pipeline import ExportOptions, export
from mmedge_export.signature import Tensor
from mmedge_export.spec import read_spec
from mmedge_export.spec_cli import spec_command
from onnx_models import late_graph

import mmedge

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
MODELS = """
from __future__ import annotations
from dataclasses import dataclass
import torch
from fusion_models import Late, Cnn, Sound
from trap_models import Gives, Takes

@dataclass
class Batch:
    image: torch.Tensor
    audio: torch.Tensor

class Typed(Takes):
    def forward(self, batch: Batch, training: bool = False):
        return super().forward(batch, training)

class Listed(Takes):
    def forward(self, batch: list[torch.Tensor], training: bool, gain: float = 1.0):
        return super().forward(batch, training)

class Ready(Late):
    def example_inputs(self):
        return torch.zeros(1, 3, 16, 16), torch.zeros(1, 48, 20)

def late(): return Late()
def dicts(): return Takes("dict")
def typed(): return Typed("dataclass")
def listed(): return Listed("list")
def unpacked(): return Takes("list")
def gives(style): return Gives(style)
def ready(): return Ready()
def broken(): return {}["weights"]
"""
SHAPES = ["--shape", "image=1,3,16,16", "--shape", "audio=1,48,20"]


@pytest.fixture
def init(tmp_path, monkeypatch):
    """Run ``mmedge spec init`` in a user's folder; gives the spec that it wrote."""
    (tmp_path / "mine.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def run(*arguments):
        CliRunner().invoke(spec_command, ["init", *arguments], standalone_mode=False, catch_exceptions=False)
        text = (tmp_path / "SPEC.toml").read_text()
        return read_spec(text, "SPEC.toml"), text

    yield run
    sys.modules.pop("mine", None)


def test_names_are_enough_for_a_file_to_edit(init):
    spec, text = init("mine:late")
    assert (spec.name, spec.factory) == ("mine", "mine:late")
    assert [port.modality for port in spec.ports.values()] == ["camera", "audio"]
    assert list(spec.outputs) == ["output"]
    assert text.count("EDIT") > 10
    assert max(map(len, text.splitlines())) <= 140


@pytest.mark.parametrize(
    ("arguments", "style", "outputs"),
    [
        (["mine:late", *SHAPES], "keyword", ["output_0", "output_1"]),
        (["mine:ready"], "keyword", ["output_0", "output_1"]),
        (["mine:dicts", *SHAPES], "dict", ["output_0", "output_1"]),
        (["mine:typed", *SHAPES], "dataclass", ["output_0", "output_1"]),
        (["mine:listed", *SHAPES], "list", ["output_0", "output_1"]),
        (["mine:unpacked", *SHAPES], "list", ["output_0", "output_1"]),
        (["mine:gives", *SHAPES, "--argument", "style=dataclass"], "keyword", ["level", "event"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_shapes_give_exactly_the_ports_and_the_outputs(init, arguments, style, outputs):
    spec, _ = init(*arguments)
    assert spec.call.style == style
    assert {name: port.shape for name, port in spec.ports.items()} == {"image": (3, 16, 16), "audio": (48, 20)}
    assert list(spec.outputs) == outputs


def test_with_shapes_the_file_exports_at_once(init, tmp_path):
    spec, _ = init("mine:listed", *SHAPES)
    assert spec.call.constants == {"training": False}
    from mine import listed

    torch.save(listed().state_dict(), tmp_path / "weights.pt")
    export(tmp_path / "weights.pt", tmp_path / "mine.mmedge", ExportOptions(random_samples=True))


def test_the_signature_of_a_graph_is_read_without_running_it(init, tmp_path):
    onnx.save(late_graph(), tmp_path / "late.onnx")
    spec, _ = init("late.onnx")
    assert {name: port.shape for name, port in spec.ports.items()} == {"image": (3, 16, 16), "audio": (48, 20)}
    export(tmp_path / "late.onnx", tmp_path / "late.mmedge", ExportOptions(random_samples=True))


@pytest.mark.parametrize(
    ("graph", "states"),
    [
        ("denoiser", {"conv_cache": (2, 2, 16), "tra_cache": (1, 4)}),
        ("recognizer", {"cached_key": (6, 1, 8), "processed_lens": ()}),
    ],
)
def test_a_state_is_known_by_the_output_that_is_called_after_it(init, tmp_path, graph, states):
    onnx.save(getattr(streaming_graphs, graph)(), tmp_path / "a.onnx")
    spec, _ = init("a.onnx")
    assert {name: port.shape for name, port in spec.ports.items() if port.state} == states
    assert len(spec.outputs) == 1
    export(tmp_path / "a.onnx", tmp_path / "a.mmedge", ExportOptions(random_samples=True))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["mine:nobody"], "cannot be imported"),
        (["mine:broken"], "failed: 'weights'"),
        (["mine:gives"], "refused model.arguments.*style"),
        (["mine:late", "--shape", "sound=1,2,3"], "has no input sound; forward\\(\\) takes image, audio"),
        (["mine:late", "--shape", "image=big"], "is not NAME=SIZES"),
        (["mine:late", "--argument", "style"], "is not NAME=VALUE"),
        (["mine:late", "--shape", "image=1,3,4,4", "--shape", "audio=1,2,3"], "forward\\(\\) failed on image.*--shape"),
        (["mine:listed"], "takes a list: name what is in it, with --shape"),
        (["nothing.onnx"], "does not exist"),
        (["mine:late", "-o", "no/such.toml"], "no is not a folder"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(init, tmp_path, arguments, text):
    with pytest.raises(mmedge.MmedgeError, match=text) as refused:
        init(*arguments)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "SPEC.toml").exists()


def test_a_file_is_never_overwritten(init, tmp_path):
    (tmp_path / "SPEC.toml").write_text("mine")
    with pytest.raises(mmedge.SpecError, match="exists; delete it"):
        init("mine:late")
    assert (tmp_path / "SPEC.toml").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("image", (1, 3, 120, 160), ["size = [160, 120]", 'layout = "CHW"', 'color = "rgb"']),
        ("x", (1, 8, 3, 120, 160), ["size = [160, 120]", "frames = 8", 'layout = "TCHW"']),
        ("video", (1, 3, 16, 112, 96), ["size = [96, 112]", "frames = 16", 'layout = "CTHW"']),
        ("faces", (1, 50, 112, 112), ["frames = 50", 'layout = "THW"', 'color = "gray"']),
        ("image", (1, 120, 160, 3), ["size = [160, 120]", 'layout = "HWC"']),
        ("lips", (1, 1, 29, 88, 88), ["frames = 29", 'layout = "CTHW"', 'color = "gray"']),
        ("x", (1, 16000), ["window_ms = 1000", 'features = "waveform"', 'layout = "N"']),
        ("audio", (1, 1, 15601), ["window_ms = 975.0625", 'layout = "CN"']),
        ("mel", (1, 98, 64), ["window_ms = 995", "mels = 64", 'layout = "TM"']),
        ("mel", (1, 1, 128, 204), ["window_ms = 2055", "mels = 128", 'layout = "CMT"']),
    ],
)
def test_a_shape_becomes_a_port_of_that_shape(name, shape, expected):
    lines = [f"{key} = {value}" for key, value, _ in guess_input(Tensor(name=name, shape=shape))]
    assert set(expected) <= set(lines)
    document = "\n".join(['[model]\nname = "x"\n[inputs.x]', *lines, "[outputs.y]"])
    assert read_spec(document, "SPEC.toml").ports["x"].shape == shape[1:]


@pytest.mark.parametrize(("name", "shape"), [("lidar", (1, 4, 360)), ("image", (1, 512)), ("h", (1, 2, 3, 4, 5, 6))])
def test_what_no_sensor_that_we_know_gives_is_a_tensor(name, shape):
    lines = {key: value for key, value, _ in guess_input(Tensor(name=name, shape=shape))}
    assert (lines["modality"], lines["shape"]) == ('"tensor"', str(list(shape[1:])))


def test_the_command_is_where_the_package_says():
    module, name = spec_command.callback.__module__, "spec_command"
    assert f'\nspec = "{module}:{name}"\n' in PROJECT.read_text()
