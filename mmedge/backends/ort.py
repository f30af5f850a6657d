"""ONNX Runtime: on the CPU, on CUDA, and through NVIDIA's TensorRT-RTX plugin.

What was asked for is what computes: ONNX Runtime replaces a provider that it cannot load by the CPU and says so in a
log at most, so every session is asked what it really has.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from types import EllipsisType
from typing import Any

import numpy as np

from mmedge.backends.base import Buffers, DeviceTensor
from mmedge.backends.external_data import check_external_data
from mmedge.errors import BackendError, BundleError, InputError, needs
from mmedge.types import Array

__all__ = ["PROVIDERS", "OrtMemory", "OrtSession", "Provider", "ort_version", "provider_problem"]

ERRORS_ONLY = 3
WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
ORT_NAMES = {"float32": "float", "float64": "double"}  # where ONNX Runtime's differ from numpy's
RTX_PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """What computes inside ONNX Runtime.

    Attributes:
        name: ONNX Runtime's name of it.
        device: Where its buffers are, or "" where it reads and writes the stages' own memory.
        options: What it is told.
        plugin: The module that brings it, or "" where it is built in.
        fix: What to type when it is missing.
    """

    name: str
    device: str = ""
    options: dict[str, str] = field(default_factory=dict)
    plugin: str = ""
    fix: str = "pip install 'mmedge[cpu]'"


PROVIDERS = {
    "onnxruntime-cpu": Provider(name="CPUExecutionProvider"),
    "onnxruntime-cuda": Provider(
        name="CUDAExecutionProvider",
        device="cuda",
        options={"enable_cuda_graph": "1", "use_tf32": "0"},  # TF32 has 10 bits: not what was proved at export
        fix="pip uninstall -y onnxruntime && pip install 'mmedge[gpu]'",
    ),
    "onnxruntime-rtx": Provider(
        name="NvTensorRTRTXExecutionProvider", plugin=RTX_PLUGIN, fix="pip install onnxruntime-ep-nv-tensorrt-rtx-cu13"
    ),
}


class OrtMemory:
    """Buffers on a device that sessions of one model share; they can be bound, not moved.

    Args:
        device: ONNX Runtime's name of it.
    """

    moves = False

    def __init__(self, device: str) -> None:
        self._device = device

    def tensor(self, shape: tuple[int, ...], dtype: str) -> "_Place":
        """See :class:`mmedge.backends.base.Memory`."""
        return _Place(np.zeros(shape, dtype), self._device)


class OrtSession:
    """One graph in ONNX Runtime.

    Args:
        model: Bytes of an ONNX file.
        threads: Threads of one operator; sessions of several stages do not share them.
        name: The stage, for messages.
        weights: Files of one folder that the graph may keep weights in, by their names; they are mapped, not copied.
        provider: What computes.
        memory: What the sessions of one model share; None where they compute in arrays.

    Attributes:
        memory: See ``Args``.
        notes: What is not as fast as it could be; nothing here.

    Raises:
        MissingLibraryError: onnxruntime is not installed, or the provider's plugin.
        BackendError: The provider is not there, or cannot compute all of the graph.
        BundleError: ONNX Runtime cannot load the graph, or it refers to other data outside.
    """

    def __init__(
        self,
        model: bytes,
        *,
        threads: int,
        name: str,
        weights: Sequence[Path] = (),
        provider: Provider = PROVIDERS["onnxruntime-cpu"],
        memory: OrtMemory | None = None,
    ) -> None:
        ort: Any = needs("onnxruntime", fix="pip install 'mmedge[cpu]'")
        if problem := _absent(ort, provider):
            raise BackendError(problem)
        options = ort.SessionOptions()
        if check_external_data(model, name, {path.name: path.stat().st_size for path in weights}):
            options.add_session_config_entry(WEIGHTS_FOLDER, str(weights[0].parent.resolve()))
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = ERRORS_ONLY
        options.add_session_config_entry("session.load_model_format", "ONNX")  # not .ort, which nobody has looked into
        if provider.name != "CPUExecutionProvider":
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        self._name, self._provider, self.memory = name, provider, memory
        self.notes: list[str] = []
        try:
            self._session = _open(ort, model, options, provider)
        except _failures() as error:
            what = f"ONNX Runtime {ort.__version__} cannot load stage {name}"
            if provider.name != "CPUExecutionProvider":
                raise BackendError(f"{what} with {provider.name}: {_line(error)}") from error
            raise BundleError(f"{what}: {_line(error)}") from error
        given = self._session.get_providers()
        if not given or given[0] != provider.name:
            took = given[0] if given else "no provider"
            raise BackendError(
                f"stage {name}: ONNX Runtime took {took} instead of {provider.name}; try: {provider.fix}"
            )
        self.inputs = tuple(node.name for node in self._session.get_inputs())
        self.outputs = tuple(node.name for node in self._session.get_outputs())
        self._bindings = 0
        self._one_at_a_time: AbstractContextManager[Any] = (  # captured graphs are not for two threads
            Lock() if provider.device else nullcontext()
        )

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
        if self._provider.device:
            return self._bind_on_device(buffers)
        binding = self._session.io_binding()
        for names, bind in ((self.inputs, binding.bind_input), (self.outputs, binding.bind_output)):
            for name in names:
                array = buffers[name]
                bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        return self._guarded(binding, None)

    def _bind_on_device(self, buffers: Buffers) -> Callable[[], None]:
        """Tie the graph to buffers on the device, at addresses that stay, as a captured graph needs them."""
        binding, device = self._session.io_binding(), self._provider.device
        places = {
            name: buffer if isinstance(buffer, _Place) else _Place(buffer, device) for name, buffer in buffers.items()
        }
        for name in self.inputs:
            binding.bind_ortvalue_input(name, places[name].value)
        for name in self.outputs:
            binding.bind_ortvalue_output(name, places[name].value)
        self._bindings += 1
        run_options = needs("onnxruntime", fix=self._provider.fix).RunOptions()
        run_options.add_run_config_entry("gpu_graph_id", str(self._bindings))  # one captured graph for each binding
        run = self._guarded(binding, run_options)
        uploads = [(places[name], buffers[name]) for name in self.inputs if buffers[name] is not places[name]]
        downloads = [(places[name], buffers[name]) for name in self.outputs if buffers[name] is not places[name]]

        def call() -> None:
            for place, array in uploads:
                place[...] = array
            run()
            for place, array in downloads:
                np.copyto(array, place)

        return call

    def _guarded(self, binding: Any, run_options: Any) -> Callable[[], None]:
        run, lock = self._session.run_with_iobinding, self._one_at_a_time
        failures: tuple[type[Exception], ...] = (*_failures(), RuntimeError)

        def call() -> None:
            try:
                with lock:
                    run(binding, run_options)
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
            if not isinstance(array, _Place) and not array.flags.c_contiguous:
                raise InputError(f"the buffer of {node.name} is not contiguous")
            kind = f"tensor({ORT_NAMES.get(array.dtype.name, array.dtype.name)})"
            fits = len(shape) == len(array.shape) and all(
                size == given for size, given in zip(array.shape, shape, strict=True) if isinstance(given, int)
            )
            if node.type != kind or (shape and not fits):
                raise BundleError(
                    f"stage {self._name}: {node.name} is {shape} {node.type} in its graph, "
                    f"{list(array.shape)} {kind} in the manifest; export the bundle again"
                )


def ort_version() -> str:
    """The installed version of ONNX Runtime.

    Raises:
        MissingLibraryError: onnxruntime is not installed.
    """
    return str(needs("onnxruntime", fix="pip install 'mmedge[cpu]'").__version__)


def provider_problem(backend: str) -> str:
    """Why ONNX Runtime cannot compute with a backend of :data:`PROVIDERS` here, or "" if it can be tried.

    Raises:
        MissingLibraryError: onnxruntime is not installed.
    """
    provider = PROVIDERS[backend]
    ort: Any = needs("onnxruntime", fix="pip install 'mmedge[cpu]'")
    if provider.plugin:
        try:
            _plugin_devices(ort, provider)
        except (BackendError, ImportError) as error:
            return str(error)
        return ""
    return _absent(ort, provider)


def _absent(ort: Any, provider: Provider) -> str:
    """Why this ONNX Runtime has no such provider built in, or "" if it has, or a plugin brings it."""
    if provider.plugin or provider.name in ort.get_available_providers():
        return ""
    return f"onnxruntime {ort.__version__} has no {provider.name}; try: {provider.fix}"


class _Place:
    """A :class:`mmedge.backends.base.DeviceTensor` as large as an array, by way of the host where it is copied."""

    def __init__(self, like: Array, device: str) -> None:
        ort: Any = needs("onnxruntime", fix="pip install 'mmedge[gpu]'")
        self.value = ort.OrtValue.ortvalue_from_numpy(like, device, 0)
        self.shape, self.dtype = like.shape, like.dtype

    def __setitem__(self, key: EllipsisType, values: Any) -> None:
        self.value.update_inplace(np.ascontiguousarray(values, self.dtype))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:  # noqa: FBT001 - numpy's signature
        del copy  # it always is one
        return np.asarray(self.value.numpy(), dtype)

    def shift_in(self, item: DeviceTensor, axis: int) -> None:
        raise NotImplementedError("OrtMemory.moves is False")

    def wait(self) -> None:
        """Runs of ONNX Runtime have ended when they return."""


def _open(ort: Any, model: bytes, options: Any, provider: Provider) -> Any:
    if not provider.plugin:
        return ort.InferenceSession(model, options, providers=[(provider.name, provider.options)])
    options.add_provider_for_devices(_plugin_devices(ort, provider), provider.options)
    return ort.InferenceSession(model, options)


def _plugin_devices(ort: Any, provider: Provider) -> list[Any]:
    plugin = needs(provider.plugin, fix=provider.fix)
    name = plugin.get_ep_name()
    if not hasattr(ort, "register_execution_provider_library"):
        raise BackendError(f"onnxruntime {ort.__version__} takes no plugins; try: pip install --upgrade onnxruntime")
    devices = [device for device in ort.get_ep_devices() if device.ep_name == name]
    if not devices:
        failures: tuple[type[Exception], ...] = (*_failures(), RuntimeError)
        try:
            ort.register_execution_provider_library(name, plugin.get_library_path())
        except failures as error:
            raise BackendError(f"{provider.name} cannot be loaded: {_line(error)}") from error
        devices = [device for device in ort.get_ep_devices() if device.ep_name == name]
    if not devices:
        raise BackendError(f"{provider.name} finds no GPU that it knows; try: nvidia-smi")
    return devices


def _failures() -> tuple[type[Exception], ...]:
    # ONNX Runtime's exceptions share no base but Exception
    state = needs("onnxruntime.capi.onnxruntime_pybind11_state", fix="pip install 'mmedge[cpu]'")
    names = ("EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented")
    return tuple(getattr(state, name) for name in (*names, "RuntimeException") if hasattr(state, name))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
