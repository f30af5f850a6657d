"""The ``mmedge`` command; what needs more than the runtime joins by the entry-point group ``mmedge.commands``."""

import os
import sys
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

import click

import mmedge
from mmedge.errors import MmedgeError

__all__ = ["main"]

OWN = {name: f"mmedge.commands.{name}:{name}_command" for name in ("inspect", "check", "run", "doctor")}
INTERRUPTED = 130


class _Commands(click.Group):
    """Imports a command when it is asked for, so that ``mmedge run`` does not wait for torch."""

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
        try:
            loaded: click.Command = point.load()
        except ImportError as error:
            raise click.ClickException(
                f"mmedge {cmd_name} needs more than the runtime ({error}); try: pip install 'mmedge[export]'"
            ) from error
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
    except click.UsageError as error:
        hint = f"; try: {error.ctx.command_path} --help" if error.ctx else ""
        sys.exit(_fail(f"{error.format_message()}{hint}"))
    except click.ClickException as error:
        sys.exit(_fail(error.format_message()))
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left; say nothing at exit
        sys.exit(0)
    except OSError as error:
        sys.exit(_fail(f"{error.filename or 'a file'}: {error.strerror or error}"))
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> int:
    click.echo(f"mmedge: {' '.join(message.split())}", err=True)
    return 1
