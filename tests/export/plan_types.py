"""What a plan of TensorRT-RTX 1.7 computes with: it has its program inside, as text. Not documented; for tests only."""

import re
from collections import Counter

__all__ = ["products", "stored_bytes"]

TENSOR = re.compile(rb"tensor=\{ ([^\n]*?) type=(\w+) \}")
NAME = re.compile(rb'name="([^"]+)"')
CONSTANT = re.compile(rb"const_payload_size=(\d+)")
PRODUCT = re.compile(rb"\n  (corrltn|fully_connected|runtime_fusion)=\{ ([^\n]*)")
INPUTS = re.compile(rb" input(?:_args)?=\{([^}]*)\}")


def products(plan: bytes) -> Counter[str]:
    """How many convolutions and matrix products have operands of each type, e.g. ``int8,int8``."""
    types = {name[1]: match[2].decode() for match in TENSOR.finditer(plan) if (name := NAME.search(match[1]))}
    found = Counter[str]()
    for match in PRODUCT.finditer(plan):
        inputs = INPUTS.search(match[2])
        operands = [types.get(name, "?") for name in re.findall(rb'"([^"]+)"', inputs[1])] if inputs else []
        found[",".join(operands[:2])] += 1
    return found


def stored_bytes(plan: bytes) -> Counter[str]:
    """Bytes of weights of each type."""
    found = Counter[str]()
    for match in TENSOR.finditer(plan):
        if size := CONSTANT.search(match[1]):
            found[match[2].decode()] += int(size[1])
    return found
