"""Why a build failed, in one line: which node, which module of the user's, and what would fit.

Source: the messages of TensorRT-RTX 1.7.1, provoked one by one; those of TensorRT 10 that are marked so, from its
    open-source parser (github.com/onnx/onnx-tensorrt).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mmedge_export.engines.job import BuildJob, BuildOutcome
from mmedge_export.graph_facts import GraphFacts, NodeFacts

__all__ = ["Diagnosis", "diagnose"]

ECHO = "cudaError 35"  # follows every error where there is no driver, and says nothing
OUT_OF_MEMORY = re.compile(r"out ?of ?memory|std::bad_alloc|insufficient memory|cannot allocate memory", re.IGNORECASE)
UNKNOWN = "unknown operator"
UNREADABLE = "unsupported datatype"
NOISE = (  # of its messages: names of functions, files and lines
    r"IBuilder::\w+: ",
    r"Error Code \d+: ",
    r"Myelin \(\[[^\]]*\] ",
    r"\[[\w./]+::\w+::\d+\] ",
    r"\.? ?In \w+ at /\S+:\d+\)?",
    r"In node \d+ with name: \S* and operator: \w+ \(\w+\): ",
    r"\w+\.cpp:\d+: ",
    r"\s*Cuda Runtime \(\s*\(cudaError 35[^)]*\)+",  # where there is no driver, also in the midst of others
    r"\. Please set kENABLE_\w+_DLA .*",  # of no use without a DLA
)
SIGKILL = 9
SINCE = {"fp8": ("sm89", "sm120", "sm121"), "b16": ("sm80", "sm86", "sm89", "sm120", "sm121")}
SINCE_TURING = ("sm80", "sm86", "sm89", "sm120", "sm121")
INT8_TRT = "this graph was quantized for ONNX Runtime; take the variant int8-trt (mmedge quantize makes it)"
ADVICE = (  # what the message says, and what would fit
    (r"opset|No Op registered|Unsupported ONNX opset", "export with opset 20, which every version from 10.3 on reads"),
    (r"\bDFT\b", "no TensorRT has a Fourier transform; leave it to mmedge's audio front end, or write it as a Conv"),
    (r"\bSTFT\b", "STFT needs TensorRT 10.5; leave it to mmedge's audio front end, or write it as a Conv"),
    (r"[Aa]ntialias", "resize without antialiasing, or let mmedge's camera front end resize"),
    (r"\bNonZero\b", "use a mask instead of indices: the shape of the result must not depend on the data"),
    (r"Int32 but must have type FP8|bias_DequantizeLinear", f"biases must stay float; {INT8_TRT}"),
    (r"shiftIsAllZeros|Non-zero zero point", f"zero points must be 0; {INT8_TRT}"),
    (UNREADABLE, f"TensorRT does not read this type of weights; {INT8_TRT}"),
    (r"only the quantization axis may be blocked", "quantize only MatMul to int4, with blocks along the inner axis"),
    (
        r"Attention operation was not supported",
        "export with opset 20, where attention is MatMul and Softmax, or in fp16",
    ),
    (r"input and kernel must be of same type", "convert the exported fp32 graph instead of exporting a bfloat16 model"),
    (r"input has type UInt8", "let a Cast be the first node after a uint8 input"),
    (r"Failed to import initializer", "weights must be inside the file; export the bundle again"),
    (
        rf"Plugin not found|No importer registered|plugin creator|{UNKNOWN}",
        "{library} {version} has no such operator; replace it",
    ),
    (r"within workspace limit", "give --workspace more MiB, or leave it out"),
    (r"Could not find any implementation", "give --workspace more MiB, or another --level"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What went wrong.

    Attributes:
        text: One line: what failed and what would fit.
        memory: It would have needed more memory than there is; with less scratch memory it may go.
        capabilities: Devices for which the same graph may still be built, where some are in its way.
    """

    text: str
    memory: bool = False
    capabilities: tuple[str, ...] = ()


def diagnose(
    job: BuildJob, version: str, facts: GraphFacts, outcome: BuildOutcome | None, log: Sequence[str], status: int
) -> Diagnosis:
    """Say why there is no plan.

    Args:
        job: What was to be built.
        version: Of the library.
        facts: Of the graph.
        outcome: What the process said, or None if it died.
        log: Its lines, ``SEVERITY<tab>text``.
        status: Its exit status, negative for a signal.
    """
    errors = [line.partition("\t")[2] for line in log if line.startswith(("ERROR\t", "INTERNAL_ERROR\t"))]
    errors = [text for text in errors if ECHO not in text] or errors
    library = f"{job.library} {version}"
    if outcome is None and status == -SIGKILL:
        return Diagnosis(
            text=f"{library} was killed while it built: the memory of this machine is too small", memory=True
        )
    said = _first(errors)
    if any(OUT_OF_MEMORY.search(text) for text in errors):
        return Diagnosis(text=f"{library} ran out of memory: {said}", memory=True)
    if outcome is None:
        how = f"crashed (signal {-status})" if status < 0 else f"failed (exit status {status})"
        return Diagnosis(text=f"{library} {how} while it built: {said}")
    if outcome.refused:
        bad = outcome.refused[0]
        node = next((node for node in facts.nodes if node.name == bad.name), None)
        where = _where(node or NodeFacts(name=bad.name, operator=bad.operator, module=""))
        why = next((text for text in errors if UNREADABLE in text), bad.text)  # which the parser only logs
        message = f"{bad.operator} {why}" if bad.known else f"{bad.operator} {why} {UNKNOWN}"
        return _with_advice(f"{library} refuses {where}: {_line(why)}", message, job, version)
    node = _named(facts, errors)
    where = f" at {_where(node)}" if node else ""
    return _with_advice(f"{library} cannot build it{where}: {said}", " ".join(errors), job, version)


def _with_advice(text: str, message: str, job: BuildJob, version: str) -> Diagnosis:
    if datatype := re.search(r"HW-specific datatypes: (\w+)", message):
        kind = "fp8" if datatype[1].startswith("fp8") else datatype[1]
        fit = tuple(each for each in job.capabilities if each in SINCE.get(kind, ()))
        shown = {"b16": "bfloat16"}.get(kind, kind)
        return Diagnosis(
            text=f"{text}; {shown} needs {SINCE.get(kind, ('a newer device',))[0]} or newer", capabilities=fit
        )
    if "FP32 GEMM is not supported" in message:
        fit = tuple(each for each in job.capabilities if each in SINCE_TURING)
        return Diagnosis(text=f"{text}; sm75 has no fp32 matrix product here, take the variant fp16", capabilities=fit)
    for pattern, advice in ADVICE:
        if re.search(pattern, message):
            return Diagnosis(text=f"{text}; {advice.format(library=job.library, version=version)}")
    return Diagnosis(text=text)


def _named(facts: GraphFacts, errors: Sequence[str]) -> NodeFacts | None:
    """The node whose name is in the messages, the longest if one name is part of another."""
    words = set(re.findall(r"[\w./:-]+", " ".join(errors).replace("...", " ")))  # {ForeignNode[first...last]}
    found = [node for node in facts.nodes if node.name and node.name in words]
    return max(found, key=lambda node: len(node.name), default=None)


def _where(node: NodeFacts) -> str:
    module = f" of module {node.module}" if node.module else ""
    return f"{node.operator or 'a node'} {node.name}{module}".strip()


def _first(errors: Sequence[str]) -> str:
    return _line(errors[0]) if errors else "it does not say why"


def _line(text: str) -> str:
    """Without the places in NVIDIA's sources, at most 300 characters."""
    for noise in NOISE:
        text = re.sub(noise, "", text)
    return " ".join(text.split())[:300].rstrip(" .")
