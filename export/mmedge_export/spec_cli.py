"""``mmedge spec``."""

import sys
from pathlib import Path
from typing import Any

import click

from mmedge.errors import SpecError, needs
from mmedge_export.signature import Shape, Signature
from mmedge_export.spec import parse_value
from mmedge_export.spec_text import spec_text

__all__ = ["spec_command"]


@click.group("spec", short_help="Write a first SPEC.toml to edit.")
def spec_command() -> None:
    """Descriptions of what a model's inputs and outputs are made of."""


@spec_command.command("init")
@click.argument("model")
@click.option("-o", "--output", default="SPEC.toml", type=click.Path(path_type=Path), help="The file to write.")
@click.option(
    "--shape", "shapes", multiple=True, metavar="NAME=1,3,120,160", help="Shape of an input, batch axis first."
)
@click.option("--argument", "arguments", multiple=True, metavar="NAME=VALUE", help="Argument of the factory.")
def init_command(model: str, output: Path, shapes: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    """Write a first SPEC.toml for MODEL: a factory as package.module:function, or an .onnx file.

    Inputs are guessed from the names and annotations of forward(), and from their shapes: given here, or by a method
    example_inputs() of the module. Every guess is marked in the file.
    """
    if output.exists():
        raise SpecError(f"{output} exists; delete it, or choose another -o")
    if not output.parent.is_dir():
        raise SpecError(f"{output.parent} is not a folder; make it first, or choose another -o")
    signature = _look_at(model, dict(map(_shape, shapes)), dict(map(_argument, arguments)))
    output.write_text(spec_text(signature), encoding="utf-8")
    inputs = ", ".join(tensor.name for tensor in signature.inputs)
    click.echo(f"{output}: inputs {inputs}; look for EDIT in it")
    checkpoint = "CHECKPOINT" if signature.factory else model
    click.echo(f"next: mmedge export {checkpoint} --spec {output} --samples samples.npz -o NAME.mmedge")


def _look_at(model: str, shapes: dict[str, Shape], arguments: dict[str, Any]) -> Signature:
    if model.endswith(".onnx"):
        needs("onnx", fix="pip install onnx")
        from mmedge_export.onnx_signature import onnx_signature

        return onnx_signature(Path(model), shapes)
    needs("torch", fix="pip install 'mmedge[export]' (an .onnx file needs no torch)")
    from mmedge_export.forward_signature import module_signature

    sys.path.insert(0, str(Path.cwd()))  # where the user's own code is; a console script does not look there
    return module_signature(model, arguments, shapes)


def _shape(text: str) -> tuple[str, Shape]:
    name, _, sizes = text.partition("=")
    try:
        shape = tuple(int(size) for size in sizes.split(","))
    except ValueError:
        shape = ()
    if not name or len(shape) < 2 or min(shape) < 1:
        raise SpecError(f"--shape {text} is not NAME=SIZES with the batch axis first, e.g. image=1,3,120,160")
    return name, (1, *shape[1:])


def _argument(text: str) -> tuple[str, Any]:
    name, given, value = text.partition("=")
    if not name or not given:
        raise SpecError(f"--argument {text} is not NAME=VALUE, e.g. width=3")
    return name, parse_value(value)
