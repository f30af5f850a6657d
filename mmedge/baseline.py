"""What embeddings look like when all is well: the mean that stands in for a sensor, and how far from it is usual."""

from collections.abc import Mapping
from dataclasses import dataclass

from mmedge.branches import shares
from mmedge.bundle import Bundle
from mmedge.calibration import CALIBRATION, MOMENTS, EmbeddingStatistics, Moments, read_calibration, read_moments
from mmedge.errors import InputError
from mmedge.types import Array

__all__ = ["Baseline", "read_baseline"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Baseline:
    """Calibration statistics of all that the ports share with the rest of the model.

    Attributes:
        shares: The tensors of each port.
        moments: Mean and spread of each tensor, as far as there are any: integers have none.
        statistics: What is usual of each tensor.
        windows: How many windows they are from.
        real: Whether these were real sensor data.
    """

    shares: Mapping[str, tuple[str, ...]]
    moments: Mapping[str, Moments]
    statistics: Mapping[str, EmbeddingStatistics]
    windows: int
    real: bool

    def mean(self, port: str) -> dict[str, Array]:
        """What stands in for a port, by tensor, batch axis included; not to be written to.

        Raises:
            InputError: One of its tensors has no mean, or only one of noise.
        """
        if lost := [name for name in self.shares[port] if name not in self.moments]:
            raise InputError(
                f"{port} has no mean embedding: there are no statistics of {lost[0]}; "
                "calibrate with mmedge quantize --calibration CLIPS, or export again with real samples"
            )
        if not self.real:
            raise InputError(
                f"{port} has no mean embedding: the statistics are of random data; "
                "calibrate with mmedge quantize --calibration CLIPS"
            )
        return {name: self.moments[name].mean for name in self.shares[port]}


def read_baseline(bundle: Bundle) -> Baseline:
    """The statistics of a bundle; empty if it has none.

    Raises:
        BundleError: They cannot be read, or do not fit the model.
    """
    manifest = bundle.manifest
    by_port = shares(manifest)
    if not manifest.calibration:
        return Baseline(shares=by_port, moments={}, statistics={}, windows=0, real=False)
    calibration = read_calibration(bundle.read(manifest.calibration), str(bundle.path / CALIBRATION))
    names = {name for tensors in by_port.values() for name in tensors} & calibration.embeddings.keys()
    shapes = {name: manifest.tensors[name].shape for name in names}
    return Baseline(
        shares=by_port,
        moments=read_moments(bundle.read(MOMENTS), shapes, str(bundle.path / MOMENTS)) if shapes else {},
        statistics={name: calibration.embeddings[name] for name in names},
        windows=calibration.windows,
        real=calibration.real,
    )
