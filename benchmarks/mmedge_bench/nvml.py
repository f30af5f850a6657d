"""Energy of NVIDIA GPUs, as their driver counts it.

Source: NVML API reference, nvmlDeviceGetTotalEnergyConsumption: millijoules since the driver was loaded, from Volta on.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

__all__ = ["gpu_joules"]


def gpu_joules() -> dict[str, float]:
    """Joules of each GPU since its driver was loaded; nothing where nvidia-ml-py, a driver or a counter is missing."""
    nvml = _nvml()
    if nvml is None:
        return {}
    found = {}
    for number in range(nvml.nvmlDeviceGetCount()):
        device = nvml.nvmlDeviceGetHandleByIndex(number)
        try:
            joules = nvml.nvmlDeviceGetTotalEnergyConsumption(device) / 1e3
        except nvml.NVMLError:  # older than Volta, or hidden by a virtual machine
            continue
        found[f"{number} {nvml.nvmlDeviceGetName(device)}"] = joules
    return found


@cache
def _nvml() -> Any:
    """The library with an open driver, or None."""
    if not find_spec("pynvml"):
        return None
    nvml: Any = import_module("pynvml")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:  # no driver here
        return None
    return nvml
