"""Stands where TensorRT is installed, for the process that builds."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tensorrt_double import *  # noqa: F403 - the whole library
from tensorrt_double import NAMES

globals().update({each.__name__: each for each in NAMES})
__version__ = "10.3.0"
