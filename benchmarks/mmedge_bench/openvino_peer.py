"""OpenVINO behind the runtime's seam, as a careful user would set it up for latency on a CPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmedge.backends.base import Buffers
from mmedge.errors import needs
from mmedge.manifest import Manifest

__all__ = ["OpenVinoSession"]


class OpenVinoSession:
    """A whole ONNX graph in OpenVINO, float32, inputs and outputs in the caller's memory.

    Args:
        path: The graph.
        manifest: Of its bundle.
        threads: Of one inference.

    Raises:
        MissingLibraryError: openvino is not installed.
    """

    def __init__(self, path: Path, manifest: Manifest, *, threads: int) -> None:
        self._openvino: Any = needs("openvino", fix="pip install openvino")
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._compiled = self._openvino.Core().compile_model(str(path), "CPU", settings)
        self.inputs = tuple(manifest.ports)
        self.outputs = tuple(dict.fromkeys(manifest.results.values()))

    def bind(self, buffers: Buffers) -> Callable[[], None]:
        """See :meth:`mmedge.backends.base.Session.bind`."""
        request = self._compiled.create_infer_request()
        for name in (*self.inputs, *self.outputs):
            request.set_tensor(name, self._openvino.Tensor(buffers[name], shared_memory=True))
        run: Callable[[], None] = request.infer
        return run
