"""The ``mmedge`` command; what needs more than the runtime joins by the entry-point group ``mmedge.commands``."""

import os
import sys
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

import mmedge
from mmedge.errors import MmedgeError

__all__ = ["main"]

OWN = {
    name: f"mmedge.commands.{name}:{name}_command" for name in ("inspect", "check", "run", "record", "sync", "doctor")
}
PACKAGES = {"mmedge", "mmedge_export", "mmedge_bench"}
INTERRUPTED = 130
NO_ARGUMENTS: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())  # before click 8.2 the help is no error


class _Commands(click.Group):
    """Imports a command when it is asked for, so that ``mmedge run`` does not wait for torch."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader left and has what it wanted; click would end with status 1
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return status

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return sorted({*OWN, *(point.name for point in _points())})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name in OWN:
            module, _, attribute = OWN[cmd_name].partition(":")
            command: click.Command = getattr(import_module(module), attribute)
            return command
        point = next((point for point in _points() if point.name == cmd_name), None)
        if point is None:
            return None
        loaded: click.Command = point.load()
        return loaded


def _points() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group="mmedge.commands"))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(mmedge.__version__, prog_name="mmedge")
def cli() -> None:
    """From the PyTorch checkpoint of a camera-plus-audio fusion model to decisions at each sensor's own clock."""


def main() -> None:
    """Run a command; a mistake is one line on stderr and exit status 1."""
    try:
        status = cli.main(standalone_mode=False)
    except MmedgeError as error:
        sys.exit(_fail(str(error)))
    except ImportError as error:
        library = (error.name or "").partition(".")[0]
        if library in PACKAGES:
            raise
        sys.exit(_fail(f"this command needs {library or error}; try: pip install 'mmedge[export]'"))
    except NO_ARGUMENTS as error:
        click.echo(error.format_message())
        sys.exit(0)
    except click.UsageError as error:
        hint = f"; try: {error.ctx.command_path} --help" if error.ctx else ""
        sys.exit(_fail(f"{error.format_message().removesuffix('.')}{hint}"))
    except click.ClickException as error:
        sys.exit(_fail(error.format_message()))
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
    except OSError as error:
        sys.exit(_fail(f"{error.filename or 'standard output'}: {error.strerror or error}"))
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> int:
    click.echo(f"mmedge: {' '.join(message.split())}", err=True)
    return 1
