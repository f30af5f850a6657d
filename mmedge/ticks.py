"""When a stream decides."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from mmedge.errors import InputError
from mmedge.manifest import Manifest
from mmedge.types import NS

__all__ = ["Tick", "parse_tick"]

EXPECTED = "audio, camera, tensor, any, or a rate such as 50hz"
FOLLOWED = ("audio", "camera", "tensor")  # the first that the model has is the default
MAX_RATE_HZ = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A rule for the moments of decision.

    Attributes:
        kind: "audio", "camera" and "tensor" follow the hops, pictures or tensors of a port, "grid" comes at a rate,
            "any" is every packet.
        port: The port that is followed.
        rate_hz: Decisions per second, as far as they are known beforehand; 0 if not.
        text: As :func:`parse_tick` reads it.
    """

    kind: Literal["audio", "camera", "tensor", "grid", "any"]
    port: str | None
    rate_hz: Fraction
    text: str

    def at(self, number: int) -> int:
        """Time of a tick of the grid, by its number since time 0."""
        return number * NS * self.rate_hz.denominator // self.rate_hz.numerator

    def first_from(self, t_ns: int) -> int:
        """Number of the first tick of the grid that is not before a time."""
        number = t_ns * self.rate_hz.numerator // (NS * self.rate_hz.denominator)
        return number if self.at(number) >= t_ns else number + 1


def parse_tick(text: str | None, manifest: Manifest) -> Tick:
    """Read "audio", "camera", "tensor", "any" or "50hz"; None is the first of these that the model has a port for.

    Raises:
        InputError: It is none of these, or the model has no such port.
    """
    ports = manifest.ports
    if text is None:
        present = {port.modality for port in ports.values()}
        text = next((kind for kind in FOLLOWED if kind in present), "any")
    if not isinstance(text, str):
        raise InputError(f"tick = {text!r} is not known; expected {EXPECTED}")
    if text == "any":
        return Tick(kind="any", port=None, rate_hz=Fraction(0), text=text)
    if rate := re.fullmatch(r"(\d+(?:\.\d+)?) ?hz", text.lower()):
        rate_hz = Fraction(rate[1])
        if not 0 < rate_hz <= MAX_RATE_HZ:
            raise InputError(f"tick = {text!r}: the rate must be above 0 and at most {MAX_RATE_HZ} Hz")
        return Tick(kind="grid", port=None, rate_hz=rate_hz, text=text)
    if text not in FOLLOWED:
        raise InputError(f"tick = {text!r} is not known; expected {EXPECTED}")
    name = next((name for name, port in ports.items() if port.modality == text), None)
    if name is None:
        raise InputError(f"tick = {text!r}, but the model has no {text} port; expected {EXPECTED}")
    port = ports[name]
    if port.audio is not None:
        return Tick(kind="audio", port=name, rate_hz=Fraction(port.audio.rate_hz, port.audio.hop_samples), text=text)
    paced = port.camera or port.tensor
    assert paced is not None  # the port is one of the three
    kind: Literal["camera", "tensor"] = "camera" if port.camera else "tensor"
    return Tick(kind=kind, port=name, rate_hz=Fraction(paced.rate_hz).limit_denominator(1000), text=text)
