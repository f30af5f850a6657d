"""Values that are a model's input as they come: a sensor's tensors, and states."""

from typing import Any

import numpy as np
import numpy.typing as npt

from mmedge.errors import InputError
from mmedge.features.settings import StateSettings, TensorSettings

__all__ = ["TensorFrontEnd"]

Array = npt.NDArray[Any]


class TensorFrontEnd:
    """The front end of one port: nothing is converted, everything is checked."""

    def __init__(self, settings: TensorSettings | StateSettings) -> None:
        self.settings = settings
        self._dtype = np.dtype(settings.dtype)

    def window(self, values: Array) -> Array:
        """The values, if they are what the model was trained on.

        Args:
            values: ``settings.shape``, of exactly ``settings.dtype``.

        Returns:
            The same array, not a copy.

        Raises:
            InputError: Another shape or dtype, a NaN or an infinity.
        """
        expected = f"{list(self.settings.shape)} {self._dtype}"
        if not isinstance(values, np.ndarray):
            raise InputError(f"the tensor is a numpy array {expected}, not {type(values).__name__}")
        if values.shape != self.settings.shape or values.dtype != self._dtype:
            raise InputError(f"the tensor is {expected}, not {list(values.shape)} {values.dtype}")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise InputError("NaN or infinity in the tensor; put what the model was trained on in its place")
        return values
