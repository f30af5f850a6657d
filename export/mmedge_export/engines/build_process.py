"""Builds engines, as a program: ``python -m mmedge_export.engines.build_process``.

A builder can take all memory there is and be killed for it, or crash; so it has a process of its own. The one path for
TensorRT 10, TensorRT 11 and TensorRT-RTX: networks are strongly typed, so precision is what the graph says and no flag.

Source: docs.nvidia.com/deeplearning/tensorrt, strongly typed networks, the Python API of 10.3, 10.13 and 11.4;
    TensorRT-RTX 1.7.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from mmedge.errors import needs
from mmedge.local import read_if_there, write_atomic
from mmedge.records import from_plain, to_plain
from mmedge_export.engines.job import BuildJob, BuildOutcome, FailedNode

__all__ = ["GRAPH", "JOB", "LOG", "OUTCOME", "PLAN", "TIMINGS", "BuildProcess"]

JOB, GRAPH, LOG, PLAN, OUTCOME, TIMINGS = (
    "job.json",
    "graph.onnx",
    "log.txt",
    "engine.plan",
    "outcome.json",
    "timings.bin",
)
MIB = 1 << 20


class BuildProcess:
    """What the process keeps from job to job: a library wants one logger for all of its builders."""

    def __init__(self) -> None:
        self._loggers: dict[str, Any] = {}

    def build(self, folder: Path) -> BuildOutcome:
        """Build what ``job.json`` says; the plan, if there is one, becomes ``engine.plan``."""
        job = from_plain(BuildJob, json.loads((folder / JOB).read_text()))
        trt = _library(job)
        logger = self._loggers.setdefault(job.library, _logger(trt))
        with (folder / LOG).open("w", buffering=1, encoding="utf-8") as logger.file:
            builder = trt.Builder(logger)
            network = builder.create_network(_network_flags(trt))
            parser = trt.OnnxParser(network, logger)
            if not parser.parse((folder / GRAPH).read_bytes(), str(folder / GRAPH)):
                errors = [parser.get_error(i) for i in range(parser.num_errors)]
                return BuildOutcome(built=False, refused=tuple(_failed(parser, error) for error in errors))
            config = _config(trt, builder, job)
            timings = _timing_cache(config, folder / TIMINGS) if job.library == "tensorrt" else None
            plan = builder.build_serialized_network(network, config)
            if plan is None:
                return BuildOutcome(built=False)
            if timings is not None:
                write_atomic(folder / TIMINGS, bytes(config.get_timing_cache().serialize()))
            (folder / PLAN).write_bytes(plan)
        return BuildOutcome(built=True)


def _library(job: BuildJob) -> Any:
    if job.library == "tensorrt":
        return needs("tensorrt", fix="pip install tensorrt (on a Jetson it comes with JetPack)")
    return needs("tensorrt_rtx", fix="pip install 'mmedge[rtx]'")


def _network_flags(trt: Any) -> int:
    """TensorRT 10 has to be told that types are meant; later ones know no other way."""
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _config(trt: Any, builder: Any, job: BuildJob) -> Any:
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.builder_optimization_level = job.level
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default; its 10 bits are not what was proved at export
    if job.workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, job.workspace_mib * MIB)
    if job.library == "tensorrt-rtx":
        config.num_compute_capabilities = len(job.capabilities)
        for i, name in enumerate(job.capabilities):
            config.set_compute_capability(trt.ComputeCapability(int(name.removeprefix("sm"))), i)
    if job.profiles:
        profile = builder.create_optimization_profile()
        for name, shapes in job.profiles.items():
            profile.set_shape(name, shapes.smallest, shapes.usual, shapes.largest)
        config.add_optimization_profile(profile)
    return config


def _timing_cache(config: Any, path: Path) -> Any:
    """What earlier builds measured on this device, or a new one; TensorRT-RTX measures nothing when it builds."""
    for known in (read_if_there(path), b""):
        cache = config.create_timing_cache(known)
        if cache is not None and config.set_timing_cache(cache, False):  # noqa: FBT003 - of another device: not taken
            return cache
    return None


def _failed(parser: Any, error: Any) -> FailedNode:
    operator = error.node_operator()
    known = not operator or parser.supports_operator(operator)
    return FailedNode(name=error.node_name(), operator=operator, known=known, text=error.desc())


def _logger(trt: Any) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc]
        """Writes each line at once, so that a process that dies leaves its reason."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.file: TextIO | None = None

        def log(self, severity: Any, message: str) -> None:
            if severity != trt.ILogger.VERBOSE and self.file is not None and not self.file.closed:
                self.file.write(f"{severity.name}\t{' '.join(message.split())}\n")

    return Logger()


def main() -> None:
    """The process: a folder on each line of stdin, a line on stdout when it is done."""
    process = BuildProcess()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    for line in sys.stdin:
        folder = Path(line.rstrip("\n"))
        (folder / OUTCOME).write_text(json.dumps(to_plain(process.build(folder))))
        answers.write("done\n")
        answers.flush()


if __name__ == "__main__":
    main()
