"""docs/sensors.md against what is there."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from mmedge.sources.uri import SCHEMES, parse_uri

PAGE = (Path(__file__).parents[1] / "docs" / "sensors.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^mmedge ((?:run|record|sync) .*?)(?:\s{2,}#.*)?$", PAGE.replace("\\\n", ""), re.MULTILINE)


def test_every_scheme_is_on_the_page_and_every_name_on_the_page_is_understood():
    named = {name for row in re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)}
    schemes = {parse_uri(name.replace("NAME", "clip.mp4")).scheme for name in named if not name.startswith(".")}
    assert schemes | {"rtsps", "https"} == set(SCHEMES)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_on_the_page_can_be_typed(line):
    name, *arguments = shlex.split(line)
    command = getattr(import_module(f"mmedge.commands.{name}"), f"{name}_command")
    assert command.make_context(name, arguments).params


def test_there_are_commands_on_the_page():
    assert len(COMMANDS) >= 8
