"""Every error a caller of mmedge can meet.

Each one is also the builtin that a careful caller would have expected, and its text is one line: what failed, what was
given, what was expected, what to do next.

    MmedgeError
    ├── MissingLibraryError (ImportError)    an optional library is not installed
    ├── BundleError (ValueError)             the bundle is damaged, incomplete or not to be trusted
    │   └── BundleVersionError               the bundle was written by a newer mmedge
    ├── SpecError (ValueError)               the description of a model does not fit
    ├── CheckpointError (ValueError)         a checkpoint cannot be read, or must not be
    ├── ExportError (RuntimeError)           tracing or splitting failed
    │   └── ParityError                      the exported graphs do not compute what the model computes
    ├── BackendError (RuntimeError)          a library, driver or device that should compute is not there, or fails
    │   └── EngineError                      an engine cannot be built, or must not be loaded
    ├── SourceError (OSError)                a file, camera or microphone does not give what was asked
    │   └── ShortSourceError                 one sensor ended before the other
    ├── StreamError (RuntimeError)           a thread of a live stream broke; what broke it is its cause
    └── InputError (ValueError)              an array or option given to the runtime does not fit the model
        └── ClosedError (RuntimeError)       used after close()
"""

import importlib
from types import ModuleType

__all__ = [
    "BackendError",
    "BundleError",
    "BundleVersionError",
    "CheckpointError",
    "ClosedError",
    "EngineError",
    "ExportError",
    "InputError",
    "MissingLibraryError",
    "MmedgeError",
    "ParityError",
    "ShortSourceError",
    "SourceError",
    "SpecError",
    "StreamError",
    "needs",
]


class MmedgeError(Exception):
    """Anything that mmedge refuses; the command line prints it as one line and ends with status 1."""


class MissingLibraryError(MmedgeError, ImportError):
    """An optional library is not installed; the text says what to type."""


class BundleError(MmedgeError, ValueError):
    """The bundle is damaged, incomplete or not to be trusted."""


class BundleVersionError(BundleError):
    """The bundle was written by a newer mmedge."""


class SpecError(MmedgeError, ValueError):
    """The description of a model's inputs and outputs does not fit."""


class CheckpointError(MmedgeError, ValueError):
    """A checkpoint cannot be read, does not fit its model, or must not be trusted."""


class ExportError(MmedgeError, RuntimeError):
    """Tracing or splitting a model failed."""


class ParityError(ExportError):
    """The exported graphs do not compute what the model computes."""


class BackendError(MmedgeError, RuntimeError):
    """A library, driver or device that should compute is not there, or fails."""


class EngineError(BackendError):
    """An engine cannot be built, or must not be loaded."""


class SourceError(MmedgeError, OSError):
    """A file, camera or microphone does not give what was asked."""


class ShortSourceError(SourceError):
    """One sensor's data ended before the other's."""


class StreamError(MmedgeError, RuntimeError):
    """A thread of a live stream broke; what broke it is the error's cause."""


class InputError(MmedgeError, ValueError):
    """An array or option given to the runtime does not fit the model."""


class ClosedError(InputError, RuntimeError):
    """A model, stream or source was used after close()."""


def needs(module: str, *, fix: str) -> ModuleType:
    """Import an optional library, or say in one line how to get it.

    Args:
        module: What to import, e.g. ``"onnxruntime"``.
        fix: What to type when it is missing, e.g. ``"pip install 'mmedge[cpu]'"``.

    Raises:
        MissingLibraryError: It is not installed, or breaks while it is imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingLibraryError(f"{module} cannot be imported ({error}); try: {fix}") from error
