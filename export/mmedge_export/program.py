"""The graph that torch.export made of a module, run in any precision: what every tensor inside should be.

It is what the ONNX graph was written from, and gives tensors the same names. That it computes what the module computes
is not believed either: its outputs are compared with the module's, both in float64.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx.node import map_aggregate

from mmedge.types import Array
from mmedge_export.parity.comparison import Divergence
from mmedge_export.parity.origin import users_line
from mmedge_export.recorded import Signatures
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
        self, feeds: Sequence[Mapping[str, Array]], names: Collection[str], dtype: torch.dtype
    ) -> dict[str, Array]:
        """Floating-point tensors by their names in the ONNX graph, [F, ...] as float64, as far as they are in it.

        Args:
            feeds: Port tensors, batch axis included.
            names: Outputs, or tensors inside.
            dtype: torch.float32 or torch.float64; dtypes that are written into the module become this one, too.

        Raises:
            Exception: Any of :data:`mmedge_export.user_code.USER_ERRORS`, when it cannot be run in that precision.
        """
        made_by = self._made_by
        wanted = made_by.keys() & set(names)
        run = self._runner(dtype)
        rows = [run(feed, {made_by[name] for name in wanted}) for feed in feeds]
        return {
            name: np.stack([row[made_by[name]].double().numpy() for row in rows])
            for name in wanted
            if all(made_by[name] in row for row in rows)
        }

    def first_unlike(self, feed: Mapping[str, Array], seen: Signatures) -> Divergence | None:
        """The first tensor here that is not among those that the module makes, and is not made up for later on.

        Args:
            feed: Port tensors, batch axis included.
            seen: What the module made of the same feed, in float64.
        """
        nodes = [node for node in self.exported.graph.nodes if node.op == "call_function"]
        values = self._runner(torch.float64)(feed, {node.name for node in nodes})
        unlike = {node: not seen.has(values[node.name]) for node in nodes if node.name in values}
        healed: dict[torch.fx.Node, bool] = {}
        for node in reversed(self.exported.graph.nodes):  # another way to the same number is no divergence
            healed[node] = any(not unlike.get(user, True) or healed.get(user, False) for user in node.users)
        first = next((node for node in unlike if unlike[node] and not healed[node]), None)
        return _divergence(first) if first is not None else None

    @property
    def _made_by(self) -> dict[str, str]:
        """The graph's own name of each tensor; an ONNX graph renames what it gives back."""
        inside = {node.name: node.name for node in self.exported.graph.nodes if node.op == "call_function"}
        returned = [str(name) for name in self.exported.graph_signature.user_outputs]
        return inside | dict(zip(self.outputs, returned, strict=True))

    def _runner(self, dtype: torch.dtype) -> Callable[[Mapping[str, Array], set[str]], dict[str, torch.Tensor]]:
        """Runs the graph on one feed and gives some of its tensors."""
        constants = self._constants(dtype)
        wants = [node.name for node in self.exported.graph.nodes if node.op == "placeholder"]

        def run(feed: Mapping[str, Array], wanted: set[str]) -> dict[str, torch.Tensor]:
            given = {name: _in(dtype, torch.from_numpy(np.ascontiguousarray(array))) for name, array in feed.items()}
            recorder = _Recorder(self.exported.graph_module, wanted, dtype)
            with torch.inference_mode(), random_kept():
                recorder.run(*((constants[name] if name in constants else given[name]) for name in wants))
            return recorder.kept

        return run

    def _constants(self, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        exported, found = self.exported, dict[str, torch.Tensor]()
        for spec in exported.graph_signature.input_specs:
            if spec.kind in {InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR} and spec.target:
                held = exported.state_dict if spec.target in exported.state_dict else exported.constants
                found[spec.arg.name] = _in(dtype, held[spec.target].detach())
        return found


class _Recorder(torch.fx.Interpreter):
    def __init__(self, module: torch.fx.GraphModule, wanted: set[str], dtype: torch.dtype) -> None:
        super().__init__(module)
        self.kept: dict[str, torch.Tensor] = {}
        self._wanted, self._dtype = wanted, dtype

    def run_node(self, n: torch.fx.Node) -> Any:
        """One node of the graph."""
        value = super().run_node(n)
        if n.name in self._wanted and isinstance(value, torch.Tensor) and value.is_floating_point():
            self.kept[n.name] = value
        return value

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """One operator, with the dtypes that are written into it."""
        return super().call_function(target, map_aggregate(args, self._cast), map_aggregate(kwargs, self._cast))

    def _cast(self, argument: Any) -> Any:
        return self._dtype if argument is torch.float32 else argument


def _in(dtype: torch.dtype, tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(dtype) if tensor.dtype == torch.float32 else tensor


def _divergence(node: torch.fx.Node) -> Divergence:
    around = list(node.meta.get("nn_module_stack", {}).values())  # path and class of each module, ours outermost
    classes = [kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}" for _, kind in around]
    return Divergence(
        operator=str(node.target).removeprefix("aten."),
        tensor=node.name,
        module=str(around[-1][0]).partition("model.")[2] if around else "",
        line=users_line(node.meta.get("stack_trace") or "", classes),
    )
