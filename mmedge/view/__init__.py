"""A page in the browser about a stream that runs: what it sees, hears and decides; see :class:`View`."""

from mmedge.view.view import View

__all__ = ["View"]
