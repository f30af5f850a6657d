"""What runs here leaves random numbers as they were, so that a user's own script goes on as if nothing had been."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["random_kept"]


@contextmanager
def random_kept() -> Iterator[None]:
    """The random states of torch, numpy and Python's random are afterwards what they were before."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - a model may draw from the global one
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
