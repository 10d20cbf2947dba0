"""Geometry of voxel grids; depends on NumPy alone."""

from .compare import GridDifference
from .grid import AXES, Grid
from .poses import Poses

__all__ = ["AXES", "Grid", "GridDifference", "Poses"]
