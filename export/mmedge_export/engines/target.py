"""What engines are built for: ``rtx:sm86,sm89``, ``rtx`` for the GPU in this machine, or ``tensorrt``."""

from dataclasses import dataclass

from mmedge.backends.cuda import find_device
from mmedge.backends.trt import library_version
from mmedge.engine_file import TARGET_BITS, Library
from mmedge.errors import BackendError, InputError
from mmedge.jetson import WHERE_DLA_IS, describe_dla, jetson_model

__all__ = ["RTX_CAPABILITIES", "Target", "no_dla", "parse_target"]

RTX_CAPABILITIES = tuple(TARGET_BITS.values())
EXAMPLES = (
    "e.g. rtx:sm86,sm89 (sm75 Turing, sm80 and sm86 Ampere, sm89 Ada, sm120 Blackwell, sm121 DGX Spark) or tensorrt"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A library and the devices that its engines are for.

    Attributes:
        library: What builds and loads them.
        version: Its installed version.
        capabilities: Compute capabilities.
        device: Name of this machine's GPU where engines fit only that, else "".
    """

    library: Library
    version: str
    capabilities: tuple[str, ...]
    device: str = ""

    def __str__(self) -> str:
        where = self.device or ", ".join(self.capabilities)
        return f"{self.library} {self.version} for {where}"


def parse_target(text: str) -> Target:
    """Read ``--target``.

    Raises:
        InputError: It is not of one of the known forms.
        MissingLibraryError: The library is not installed.
        BackendError: It means the GPU of this machine, and there is none.
    """
    name, colon, rest = text.strip().lower().partition(":")
    if "dla" in text.lower():
        raise no_dla(f"--target {text}")
    if name not in {"rtx", "tensorrt"} or (name == "tensorrt" and colon):
        raise InputError(f"--target {text!r} is not known; expected {EXAMPLES}")
    if name == "tensorrt":
        version, device = library_version("tensorrt"), find_device()
        return Target(library="tensorrt", version=version, capabilities=(device.capability,), device=device.name)
    wanted = {part.strip() for part in rest.split(",")} if colon else {_own_capability()}
    if unknown := sorted(wanted - set(RTX_CAPABILITIES)):
        raise InputError(
            f"--target {text}: TensorRT-RTX does not build for {unknown[0] or 'nothing'!r}; expected {EXAMPLES}"
        )
    capabilities = tuple(each for each in RTX_CAPABILITIES if each in wanted)
    return Target(library="tensorrt-rtx", version=library_version("tensorrt-rtx"), capabilities=capabilities)


def no_dla(given: str) -> InputError:
    """Why mmedge does not build for a DLA, and whether there would be one here.

    Args:
        given: What was asked for.
    """
    return InputError(
        f"{given}: mmedge builds for the GPU only. {WHERE_DLA_IS}; {describe_dla(jetson_model())}. "
        "Take --target tensorrt on the Jetson itself"
    )


def _own_capability() -> str:
    try:
        return find_device().capability
    except BackendError as error:
        raise BackendError(
            f"--target rtx means the GPU of this machine: {error}; or name devices, {EXAMPLES}"
        ) from error
