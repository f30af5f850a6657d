"""The variants that a bundle can have, what each is for, and how one of its stages is made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import onnx

from mmedge.calibration import TensorRange
from mmedge.errors import InputError
from mmedge.manifest import Manifest, Stage, StagePlan
from mmedge_export.front_graph import FRONT_END
from mmedge_export.quantize.explicit import Kind, explicit, too_small
from mmedge_export.quantize.half import halved, overflowing
from mmedge_export.quantize.imitation import imitate_bfloat16, imitate_fp8
from mmedge_export.quantize.int4 import int4
from mmedge_export.quantize.int8_cpu import int8_cpu, weights_only
from mmedge_export.quantize.placement import named

__all__ = ["VARIANTS", "Family", "imitated_stage", "made_stage", "parse_precision", "prepared"]

Ranges = Mapping[str, TensorRange]
TENSORRT = ("tensorrt", "tensorrt-rtx")
CPU = ("onnxruntime-cpu",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One kind of variant.

    Attributes:
        backends: What it is for.
        precisions: What its stages may compute in, its own first.
        measured: Whether ONNX Runtime computes its graphs on the CPU; else a float32 imitation is measured.
        note: What one should know.
    """

    backends: tuple[str, ...]
    precisions: tuple[str, ...]
    measured: bool = True
    note: str = ""


VARIANTS: Mapping[str, Family] = {
    "int8-cpu": Family(backends=CPU, precisions=("int8", "int8-weights", "fp32")),
    "int8-trt": Family(backends=TENSORRT, precisions=("int8", "fp16", "fp32"), note="GPUs from Turing on"),
    "fp16": Family(backends=(*TENSORRT, "onnxruntime-cuda"), precisions=("fp16", "fp32")),
    "bf16": Family(
        backends=TENSORRT,
        precisions=("bf16", "fp32"),
        measured=False,
        note="SM80 and newer, opset 22: not for the TensorRT of JetPack 6",
    ),
    "fp8": Family(backends=TENSORRT, precisions=("fp8", "fp16", "fp32"), measured=False, note="SM89 and newer"),
    "int4": Family(
        backends=(*TENSORRT, *CPU),
        precisions=("int4", "fp32"),
        note="weights only, opset 21: not for the TensorRT of JetPack 6",
    ),
}


def prepared(graph: bytes) -> onnx.ModelProto:
    """An fp32 stage with a name for every node."""
    return named(onnx.load_from_string(graph))


def made_stage(model: onnx.ModelProto, ranges: Ranges, plan: StagePlan, family: str) -> onnx.ModelProto:
    """One stage of a variant.

    Args:
        model: The fp32 stage, as :func:`prepared` gives it.
        ranges: Of its activations.
        plan: How to make it.
        family: Of VARIANTS.
    """
    if plan.precision == "fp32":
        return model
    plan = _front_end_exact(model, plan)
    make: Mapping[tuple[str, str], Callable[[], onnx.ModelProto]] = {
        ("int8-cpu", "int8"): lambda: int8_cpu(model, ranges, plan.method, plan.exact, plan.wide),
        ("int8-cpu", "int8-weights"): lambda: weights_only(model, plan.exact),
        ("int8-trt", "int8"): lambda: _explicit_half(model, ranges, plan, "int8"),
        ("int8-trt", "fp16"): lambda: halved(model, "float16", _wide(model, ranges, plan)),
        ("fp16", "fp16"): lambda: halved(model, "float16", _wide(model, ranges, plan)),
        ("bf16", "bf16"): lambda: halved(model, "bfloat16", plan.exact),
        ("fp8", "fp8"): lambda: _explicit_half(model, ranges, plan, "fp8"),
        ("fp8", "fp16"): lambda: halved(model, "float16", _wide(model, ranges, plan)),
        ("int4", "int4"): lambda: int4(model, plan.exact),
    }
    return make[family, plan.precision]()


def imitated_stage(model: onnx.ModelProto, ranges: Ranges, plan: StagePlan, family: str) -> onnx.ModelProto:
    """What ONNX Runtime can compute of such a stage on a CPU: the stage itself, or its rounding in float32."""
    plan = _front_end_exact(model, plan)
    if plan.precision == "bf16":
        return imitate_bfloat16(model, plan.exact)
    if plan.precision == "fp8":
        return imitate_fp8(explicit(model, ranges, plan.method, plan.exact, "fp8"))
    return made_stage(model, ranges, plan, family)


def parse_precision(given: tuple[str, ...], manifest: Manifest, family: str) -> dict[str, str]:
    """Precisions that a user chose, by stage.

    Args:
        given: ``WHAT=PRECISION``; what is a stage, a port, a modality, or "head" for stages of several sensors.
        manifest: Of the bundle.
        family: Of VARIANTS.

    Raises:
        InputError: One of them is not understood.
    """
    chosen: dict[str, str] = {}
    allowed = VARIANTS[family].precisions
    for text in given:
        what, _, precision = text.partition("=")
        stages = [stage.name for stage in manifest.stages if _is(stage, what, manifest)]
        if not stages:
            known = dict.fromkeys([*manifest.ports, *(s.name for s in manifest.stages), "head"])
            raise InputError(f"--precision {text}: {what!r} is no part of the model; expected {', '.join(known)}")
        if precision not in allowed:
            raise InputError(f"--precision {text}: a stage of {family} is {', '.join(allowed)}")
        chosen |= dict.fromkeys(stages, precision)
    return chosen


def _front_end_exact(model: onnx.ModelProto, plan: StagePlan) -> StagePlan:
    """The plan, with an audio front end in the graph left in float32: quiet sound would drown in less."""
    kept = [node.name for node in model.graph.node if node.name.startswith(FRONT_END)]
    return replace(plan, exact=(*plan.exact, *kept))


def _is(stage: Stage, what: str, manifest: Manifest) -> bool:
    several = len(stage.ports) > 1
    sensor = not several and what in {stage.ports[0], manifest.ports[stage.ports[0]].modality}
    return stage.name == what or sensor or (several and what == "head")


def _explicit_half(model: onnx.ModelProto, ranges: Ranges, plan: StagePlan, kind: Kind) -> onnx.ModelProto:
    """Q/DQ around products, half precision elsewhere, float32 for what was kept exact."""
    small = too_small(model, ranges, plan.method, kind)
    quantized = explicit(model, ranges, plan.method, {*plan.exact, *small}, kind)
    return halved(quantized, "float16", _wide(model, ranges, replace(plan, exact=(*plan.exact, *sorted(small)))))


def _wide(model: onnx.ModelProto, ranges: Ranges, plan: StagePlan) -> set[str]:
    return overflowing(model, ranges) | set(plan.exact)
