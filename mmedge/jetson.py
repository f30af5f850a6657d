"""Which Jetson this is, and where deep-learning accelerators (DLA) are.

Source: NVIDIA's data sheets of the Jetson modules; docs.nvidia.com/deeplearning/tensorrt/11.4.1, Working with DLA.
"""

from pathlib import Path

__all__ = ["WHERE_DLA_IS", "describe_dla", "jetson_model"]

MODEL = Path("/proc/device-tree/model")
WHERE_DLA_IS = (
    "DLA is on Jetson AGX Orin, Orin NX and Xavier, not on Orin Nano, Thor, or any card; TensorRT has it up to 10.7, "
    "and since 11.4.1 on AGX Orin with JetPack 7.2.2; TensorRT-RTX never"
)
CORES = {  # by what is in the name of the module or kit
    "AGX Orin": "two",
    "Orin NX": "two (the module with 8 GB: one)",
    "Orin Nano": "none",
    "Thor": "none",
    "Xavier": "two",
    "Jetson-AGX": "two",  # what an AGX Xavier calls itself
}


def jetson_model(path: Path = MODEL) -> str:
    """What this machine calls itself, such as ``NVIDIA Jetson AGX Orin Developer Kit``; "" if it is no Jetson.

    Args:
        path: The file that boards with a device tree have.
    """
    try:
        model = path.read_text(errors="replace").rstrip("\0\n ")
    except OSError:
        return ""
    return model if "Jetson" in model else ""


def describe_dla(model: str) -> str:
    """How many DLA there are on a Jetson, in words.

    Args:
        model: What :func:`jetson_model` gave.
    """
    if not model:
        return "this machine is no Jetson"
    found = next((count for name, count in CORES.items() if name in model), "a number that mmedge does not know")
    return f"on this {model} there are {found}"
