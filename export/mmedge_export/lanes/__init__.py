"""Follows the items of a window through a graph."""

from mmedge_export.lanes.lane import Followed, Graph, Lane, Step
from mmedge_export.lanes.rules import follow

__all__ = ["Followed", "Graph", "Lane", "Step", "follow"]
