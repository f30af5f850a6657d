"""ONNX Runtime on the CPU, with inputs and outputs bound to the stages' own memory."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmedge.backends.base import Buffers
from mmedge.backends.external_data import check_external_data
from mmedge.errors import BundleError, InputError, needs
from mmedge.types import Array

__all__ = ["OrtSession"]

ERRORS_ONLY = 3
WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
ORT_NAMES = {"float32": "float", "float64": "double"}  # where ONNX Runtime's differ from numpy's


class OrtSession:
    """One graph in ONNX Runtime.

    Args:
        model: Bytes of an ONNX file.
        threads: Threads of one operator; sessions of several stages do not share them.
        name: The stage, for messages.
        weights: Files of one folder that the graph may keep weights in, by their names; they are mapped, not copied.

    Raises:
        MissingLibraryError: onnxruntime is not installed.
        BundleError: ONNX Runtime cannot load the graph, or it refers to other data outside.
    """

    def __init__(self, model: bytes, *, threads: int, name: str, weights: Sequence[Path] = ()) -> None:
        ort: Any = needs("onnxruntime", fix="pip install 'mmedge[cpu]'")
        options = ort.SessionOptions()
        if check_external_data(model, name, {path.name: path.stat().st_size for path in weights}):
            options.add_session_config_entry(WEIGHTS_FOLDER, str(weights[0].parent.resolve()))
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = ERRORS_ONLY
        options.add_session_config_entry("session.load_model_format", "ONNX")  # not .ort, which nobody has looked into
        self._name = name
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except _failures() as error:
            raise BundleError(f"ONNX Runtime {ort.__version__} cannot load stage {name}: {_line(error)}") from error
        self.inputs = tuple(node.name for node in self._session.get_inputs())
        self.outputs = tuple(node.name for node in self._session.get_outputs())

    def run(self, inputs: Buffers) -> dict[str, Array]:
        """All outputs by name, as new arrays: for tools that look at graphs, not for streams."""
        return dict(zip(self.outputs, self._session.run(None, dict(inputs)), strict=True))

    def bind(self, buffers: Buffers) -> Callable[[], None]:
        """See :meth:`mmedge.backends.base.Session.bind`.

        Raises:
            BundleError: The graph has other inputs or outputs than the buffers; also when what is returned is called
                and ONNX Runtime cannot compute it.
        """
        self._check(buffers)
        binding = self._session.io_binding()
        for names, bind in ((self.inputs, binding.bind_input), (self.outputs, binding.bind_output)):
            for name in names:
                array = buffers[name]
                if not array.flags.c_contiguous:
                    raise InputError(f"the buffer of {name} is not contiguous")
                bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        run = self._session.run_with_iobinding
        failures: tuple[type[Exception], ...] = (*_failures(), RuntimeError)

        def call() -> None:
            try:
                run(binding)
            except failures as error:
                raise BundleError(f"stage {self._name} cannot be computed: {_line(error)}") from error

        return call

    def _check(self, buffers: Buffers) -> None:
        """Compare with what the graph says of itself; an axis that it leaves open fits any size."""
        if unlike := sorted({*self.inputs, *self.outputs} ^ buffers.keys()):
            where = "the manifest" if unlike[0] in buffers else "its graph"
            raise BundleError(f"stage {self._name} has {unlike[0]!r} only in {where}; export the bundle again")
        for node in (*self._session.get_inputs(), *self._session.get_outputs()):
            array, shape = buffers[node.name], node.shape or []
            kind = f"tensor({ORT_NAMES.get(array.dtype.name, array.dtype.name)})"
            fits = len(shape) == array.ndim and all(
                size == given for size, given in zip(array.shape, shape, strict=True) if isinstance(given, int)
            )
            if node.type != kind or (shape and not fits):
                raise BundleError(
                    f"stage {self._name}: {node.name} is {shape} {node.type} in its graph, "
                    f"{list(array.shape)} {kind} in the manifest; export the bundle again"
                )


def _failures() -> tuple[type[Exception], ...]:
    # ONNX Runtime's exceptions share no base but Exception
    state = needs("onnxruntime.capi.onnxruntime_pybind11_state", fix="pip install 'mmedge[cpu]'")
    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented")
    return tuple(getattr(state, name) for name in (*names, "RuntimeException"))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
