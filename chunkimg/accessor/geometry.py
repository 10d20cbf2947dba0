"""Where an image lies."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..geometry import Grid
from ..image import build

__all__ = ["GeometryPart"]

Array = NDArray[np.float64]
Triple = tuple[float, float, float]


class GeometryPart:
    """Geometry of the image, and of others beside it."""

    def __init__(self, image: xr.DataArray) -> None:
        self._image = image

    @property
    def grid(self) -> Grid:
        """The voxel grid as an immutable value.

        Where geometry changes with time: that of the frame for a single one, of the reference for several.
        """
        return build.grid_of(self._image)

    @property
    def affine(self) -> Array:
        """Index (i, j, k) along (x, y, z) to world, shape (4, 4)."""
        return self.grid.matrix.copy()

    @property
    def spacing(self) -> Triple:
        """Voxel size along x, y, z, in `units`."""
        return self.grid.spacing

    @property
    def origin(self) -> Triple:
        """World position of the centre of the first voxel."""
        return self.grid.origin

    @property
    def direction(self) -> Array:
        """Direction matrix, shape (3, 3): column k is the unit world vector along x, y, z."""
        return self.grid.direction

    @property
    def orientation(self) -> str | None:
        """Body directions in which x, y, z increase, e.g. ``"LPS"``; None in an unknown space."""
        return self.grid.orientation

    @property
    def space(self) -> str:
        """World frame: ``"RAS"`` or ``"unknown"``."""
        return self.grid.space

    @property
    def units(self) -> str:
        """Unit of length: ``"mm"``, ``"um"``, ``"m"``, … or ``"unknown"``."""
        return self.grid.units

    @property
    def extent(self) -> Triple:
        """Physical size along x, y, z."""
        return self.grid.extent

    @property
    def bounds(self) -> tuple[Triple, Triple]:
        """World-axis box around the outer voxel edges: (lo, hi)."""
        return self.grid.bounds

    @property
    def center(self) -> Triple:
        """World position of the middle of the image."""
        return self.grid.center

    def corners(self, *, centers: bool = False) -> Array:
        """World positions of the 8 corners, shape (8, 3): outer edges, or centres of the corner voxels."""
        return self.grid.corners(centers=centers)

    def affine_at(self, t: float, method: str | None = None) -> Array:
        """Affine at time `t` (a value of the coordinate t), shape (4, 4); that of the image where it does not change.

        Parameters
        ----------
        t : float
            A value of t.
        method : str, optional
            ``"nearest"``: of the frame nearest to `t`, as for ``image.sel(t=t, method="nearest")``.

        Raises
        ------
        GeometryError
            If the geometry changes with time and no entry is stored for `t`.
        """
        return build.affine_at(self._image, t, method)

    def to_world(self, index: ArrayLike) -> Array:
        """World coordinates of (fractional) voxel indices in x, y, z order, shape (..., 3)."""
        return self.grid.to_world(index)

    def to_index(self, world: ArrayLike) -> Array:
        """Fractional voxel indices in x, y, z order of world coordinates, shape (..., 3)."""
        return self.grid.to_index(world)

    def same_grid(self, other: xr.DataArray, tol: float = 1e-3) -> bool:
        """Whether both images occupy the same space, in each frame: no corner displaced by more than `tol` voxel."""
        return build.same_place(self._image, other, tol)

    def require_same_grid(self, other: xr.DataArray, tol: float = 1e-3) -> None:
        """Raise `GeometryError`, listing all differences, unless both images occupy the same space, in each frame."""
        build.require_same_place(self._image, other, tol)
