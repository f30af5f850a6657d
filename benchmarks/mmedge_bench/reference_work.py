"""A fixed piece of work that tells a slow machine from slow code."""

import hashlib
from time import thread_time_ns

__all__ = ["reference_work_ns"]

CONTENT = bytes(range(256)) * 256


def reference_work_ns() -> int:
    """Processor time of one SHA-256 over 64 KiB: arithmetic in the cache, the same code whatever is measured.

    The first pass is not timed: what ran before has left its own state in caches and clocks.
    """
    hashlib.sha256(CONTENT).digest()
    begin = thread_time_ns()
    hashlib.sha256(CONTENT).digest()
    return thread_time_ns() - begin
