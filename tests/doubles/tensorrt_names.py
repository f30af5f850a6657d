"""The constants of TensorRT's Python API that its double knows."""

from enum import IntEnum

import numpy as np

__all__ = [
    "BuilderFlag",
    "DataType",
    "ILogger",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "ProfilingVerbosity",
    "Severity",
    "TensorIOMode",
    "TensorLocation",
    "nptype",
]


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity
    Severity = Severity

    def log(self, severity, message):
        raise NotImplementedError


class TensorIOMode(IntEnum):
    INPUT = 1
    OUTPUT = 2


class TensorLocation(IntEnum):
    DEVICE = 0
    HOST = 1


class DataType(IntEnum):
    FLOAT = 0
    INT64 = 8


class MemoryPoolType(IntEnum):
    WORKSPACE = 0


class ProfilingVerbosity(IntEnum):
    DETAILED = 2


class BuilderFlag(IntEnum):
    TF32 = 6


class NetworkDefinitionCreationFlag(IntEnum):
    STRONGLY_TYPED = 1


def nptype(kind):
    return {DataType.FLOAT: np.float32, DataType.INT64: np.int64}[kind]
