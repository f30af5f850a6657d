"""The graph that torch.export made of a module, run in any precision: what every tensor inside should be.

It is what the ONNX graph was written from, and gives tensors the same names. That it computes what the module computes
is not believed either: its outputs are compared with the module's, both in float64.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx.node import map_aggregate

from mmedge.types import Array
from mmedge_export.untouched import random_kept

__all__ = ["Program"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What was exported.

    Attributes:
        exported: By torch, decomposed to the operators that ONNX has.
        outputs: The model's outputs, in their order.
    """

    exported: ExportedProgram
    outputs: tuple[str, ...]

    def values(
        self, feeds: Sequence[Mapping[str, Array]], names: Collection[str] | None, dtype: torch.dtype
    ) -> dict[str, Array]:
        """Floating-point tensors by their names in the ONNX graph, [F, ...] as float64, as far as they are in it.

        Args:
            feeds: Port tensors, batch axis included.
            names: Outputs, or tensors inside; None for all.
            dtype: torch.float32 or torch.float64; dtypes that are written into the module become this one, too.

        Raises:
            Exception: Any of :data:`mmedge_export.user_code.USER_ERRORS`, when it cannot be run in that precision.
        """
        made_by = self._made_by
        wanted = set(made_by) if names is None else made_by.keys() & set(names)
        constants = self._constants(dtype)
        rows = [self._run(feed, {made_by[name] for name in wanted}, constants, dtype) for feed in feeds]
        kept = [name for name in made_by if name in wanted and all(made_by[name] in row for row in rows)]
        return {name: np.concatenate([row[made_by[name]] for row in rows]) for name in kept}

    @property
    def _made_by(self) -> dict[str, str]:
        """The graph's own name of each tensor; an ONNX graph renames what it gives back."""
        inside = {node.name: node.name for node in self.exported.graph.nodes if node.op == "call_function"}
        returned = [str(name) for name in self.exported.graph_signature.user_outputs]
        return inside | dict(zip(self.outputs, returned, strict=True))

    def _constants(self, dtype: torch.dtype) -> dict[str, Any]:
        exported, found = self.exported, dict[str, Any]()
        for spec in exported.graph_signature.input_specs:
            if spec.kind in {InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR} and spec.target:
                held = exported.state_dict if spec.target in exported.state_dict else exported.constants
                found[spec.arg.name] = _in(dtype, held[spec.target].detach())
        return found

    def _run(
        self, feed: Mapping[str, Array], wanted: set[str], constants: Mapping[str, Any], dtype: torch.dtype
    ) -> dict[str, Array]:
        recorder = _Recorder(self.exported.graph_module, wanted, dtype)
        given = {name: _in(dtype, torch.from_numpy(np.ascontiguousarray(array))) for name, array in feed.items()}
        arguments = [
            constants[node.name] if node.name in constants else given[node.name]
            for node in self.exported.graph.nodes
            if node.op == "placeholder"
        ]
        with torch.inference_mode(), random_kept():
            recorder.run(*arguments)
        return recorder.kept


class _Recorder(torch.fx.Interpreter):
    def __init__(self, module: torch.fx.GraphModule, wanted: set[str], dtype: torch.dtype) -> None:
        super().__init__(module)
        self.kept: dict[str, Array] = {}
        self._wanted, self._dtype = wanted, dtype

    def run_node(self, n: torch.fx.Node) -> Any:
        """One node of the graph."""
        value = super().run_node(n)
        if n.name in self._wanted and isinstance(value, torch.Tensor) and value.is_floating_point():
            self.kept[n.name] = value.double().numpy()[np.newaxis]
        return value

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """One operator, with the dtypes that are written into it."""
        return super().call_function(target, map_aggregate(args, self._cast), map_aggregate(kwargs, self._cast))

    def _cast(self, argument: Any) -> Any:
        return self._dtype if argument is torch.float32 else argument


def _in(dtype: torch.dtype, tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(dtype) if tensor.dtype == torch.float32 else tensor
