"""Code that the user wrote: importing it, and saying which of its lines failed."""

import importlib
import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmedge.errors import SpecError

__all__ = ["USER_ERRORS", "first_line", "interrupted", "library_folders", "reason", "resolve"]

# What a user's function may raise: everything but the requests to stop, and but our own refusals, which come first.
USER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
MAX_LINE = 300


def resolve(name: str, key: str) -> Callable[..., Any]:
    """Import ``package.module:function``.

    Args:
        name: What to import.
        key: The key of the spec it stands under, for messages.

    Raises:
        SpecError: It cannot be imported or is not there.
    """
    module_name, _, attribute = name.partition(":")
    if not attribute or not module_name:
        raise SpecError(f"{key} = {name!r} is not package.module:function")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except USER_ERRORS as error:
        raise SpecError(
            f"{key} = {name!r} cannot be imported ({first_line(error)}); run from the folder that holds it, or "
            "install it"
        ) from error
    if not callable(found):
        raise SpecError(f"{key} = {name!r} is {type(found).__name__}, expected a function")
    function: Callable[..., Any] = found
    return function


def reason(error: BaseException) -> str:
    """The first cause, and the line of the user's code that it came from."""
    not_users = library_folders()
    where = ""
    while True:
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(not_users)]
        if own:
            where = f" (at {own[-1].filename}:{own[-1].lineno}: {own[-1].line})"
        cause = error.__cause__ or error.__context__
        if cause is None:
            return f"{first_line(error)}{where}"
        error = cause


def interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C or a signal to end is among the causes; the exporter takes it for a failure of its own."""
    chain: BaseException | None = error
    while chain is not None and not isinstance(chain, KeyboardInterrupt | SystemExit):
        chain = chain.__cause__ or chain.__context__
    return chain is not None


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:MAX_LINE]


def library_folders() -> tuple[str, ...]:
    """How the file names of code begin that the user did not write."""
    libraries = [logging, *(sys.modules[name] for name in ("torch", "numpy", "onnx") if sys.modules.get(name))]
    return (str(Path(__file__).parent), "<", *(str(Path(module.__file__ or "<").parent) for module in libraries))
