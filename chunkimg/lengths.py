"""Lengths in millimetres and in voxels, as users give them: one for all axes, or three along x, y, z."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .errors import GeometryError
from .geometry import Grid
from .geometry import affine as aff
from .geometry.frames import in_unit
from .volume import Volume

__all__ = ["Lengths", "Voxels", "counts", "grid_of", "grids_of", "lengths_in_unit", "reach"]

Lengths = float | Sequence[float]
Voxels = int | Sequence[int]


def lengths_in_unit(name: str, given: Lengths, grid: Grid) -> tuple[float, float, float]:
    """Lengths in millimetres along x, y, z in the unit of a grid.

    Raises
    ------
    ValueError
        If they are no numbers of at least 0; `name` is what the user calls them.
    GeometryError
        If the unit of the grid is unknown.
    """
    try:
        out = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        out = np.empty(0)
    if out.shape not in ((), (3,)) or not np.all(np.isfinite(out)) or np.any(out < 0):
        raise ValueError(f"{name} is a length, or three along x, y, z, at least 0; found {given!r}")
    x, y, z = (in_unit(v, "mm", grid.units) for v in np.broadcast_to(out, 3).tolist())
    return x, y, z


def counts(name: str, given: Voxels, least: int = 0) -> tuple[int, int, int]:
    """Numbers of voxels along x, y, z.

    Raises
    ------
    ValueError
        If they are no whole numbers of at least `least`.
    """
    out = np.asarray(given)
    if out.shape not in ((), (3,)) or out.dtype.kind not in "iu" or np.any(out < least):
        raise ValueError(f"{name} is a number of voxels, or three along x, y, z, at least {least}; found {given!r}")
    x, y, z = np.broadcast_to(out, 3).tolist()
    return x, y, z


def grid_of(volume: Volume) -> Grid:
    """The grid of a volume, that of reference where geometry changes with time."""
    if volume.grid is None:
        raise GeometryError("the image has no position, so that nothing says how large its voxels are")
    return volume.grid


def grids_of(volume: Volume) -> list[Grid]:
    """The grid of each frame whose geometry is its own, or the one of all."""
    grid = grid_of(volume)
    if volume.poses is None:
        return [grid]
    matrices = [volume.poses.at(t, grid) for t in volume.poses.times]
    return [Grid(grid.shape, tuple(map(tuple, m.tolist())), grid.space, grid.units) for m in matrices]


def reach(volume: Volume, name: str, given: Lengths) -> tuple[int, int, int]:
    """Voxels along x, y, z within which all voxels of a ball, or of a box along the image's axes, lie."""
    lengths = lengths_in_unit(name, given, grid_of(volume))
    most = [0, 0, 0]
    for grid in grids_of(volume):
        if np.ndim(given):
            steps = np.divide(lengths, grid.spacing)
        else:
            # planes of voxels of a sheared grid are closer to each other than its voxels
            steps = np.multiply(lengths, np.linalg.norm(aff.inverse(grid.matrix)[:3, :3], axis=1))
        # a whole number of voxels up to rounding is that number
        most = [max(m, math.ceil(s - 1e-6)) for m, s in zip(most, steps.tolist(), strict=True)]
    x, y, z = most
    return x, y, z
