"""Functions of the voxels around each voxel, lazily: the geometry stays, memory is bounded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from .errors import GeometryError
from .geometry import Grid
from .geometry import affine as aff
from .geometry.attrs import LABEL
from .geometry.frames import in_unit
from .lazy import Block, LazyArray
from .metadata import is_label
from .ops.gaussian import Gaussian, sigma_of_fwhm
from .ops.overlap import Halo, OverlapArray, Whole
from .volume import Volume

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["map_overlap", "smooth", "smoothed"]

#: along x, y, z, or one for all three
Lengths = float | Sequence[float]


def map_overlap(
    image: xr.DataArray,
    function: Callable[[Block], Any],
    *,
    depth: int | Sequence[int] | None = None,
    depth_mm: Lengths | None = None,
    boundary: str = "reflect",
    fill: float = 0.0,
    dtype: DTypeLike | None = None,
) -> xr.DataArray:
    """An image of a function of each voxel's neighbourhood; see `ImageAccessor.map_overlap`."""
    from .image.derived import derived

    if (depth is None) == (depth_mm is None):
        raise ValueError("give either depth= (voxels) or depth_mm=")

    def change(volume: Volume) -> Volume:
        around = _voxels(depth) if depth is not None else _reach(volume, depth_mm or 0)
        kind = volume.values.dtype if dtype is None else np.dtype(dtype)
        halo = Halo(around, boundary, _fill(fill, volume.values.dtype))
        return computed(volume, OverlapArray(volume.values, Whole(function, around, kind), halo, kind))

    return derived(image, change, require_grid=depth_mm is not None)


def smooth(image: xr.DataArray, fwhm_mm: Lengths, *, boundary: str = "reflect", truncate: float = 4.0) -> xr.DataArray:
    """An image smoothed by a Gaussian; see `ImageAccessor.smooth`."""
    from .image.derived import derived

    return derived(image, lambda v: smoothed(v, fwhm_mm, boundary, truncate), require_grid=True)


def smoothed(volume: Volume, fwhm_mm: Lengths, boundary: str = "reflect", truncate: float = 4.0) -> Volume:
    """A volume smoothed by a Gaussian of a full width at half maximum, along x, y, z; float32."""
    if is_label(volume.properties):
        raise TypeError(
            "this image holds labels, and there is nothing between labels; smooth the mask of one: "
            "(image == 3).astype('f4').assign_attrs(is_label=False)"
        )
    if volume.values.dtype.kind == "c":
        raise TypeError("this image is complex; smooth its parts: image.real, image.imag")
    widths = _lengths("fwhm_mm", fwhm_mm)
    spacings = np.array([g.spacing for g in _grids(volume)])
    if np.any(np.abs(spacings / spacings[0] - 1) > 1e-3):
        raise GeometryError("the voxel size of this image changes with time; smooth its frames one by one")
    units = _grid(volume).units
    x, y, z = (sigma_of_fwhm(in_unit(w, "mm", units)) / s for w, s in zip(widths, spacings[0].tolist(), strict=True))
    gaussian = Gaussian((z, y, x), truncate)
    halo = Halo(gaussian.depth, boundary)
    return computed(volume, OverlapArray(volume.values, gaussian, halo, np.float32, repr(gaussian)))


def computed(volume: Volume, data: LazyArray) -> Volume:
    """The volume with other values; they are labels only if they are integers."""
    properties = volume.properties
    if is_label(properties) and data.dtype.kind not in "biu":
        properties = {**properties, LABEL: False}
    return replace(volume, data=data, scaling=None, properties=properties)


def _grid(volume: Volume) -> Grid:
    if volume.grid is None:
        raise GeometryError("the image has no position, so that nothing says how large its voxels are")
    return volume.grid


def _grids(volume: Volume) -> list[Grid]:
    """The grid of each frame whose geometry is its own, or the one of all."""
    grid = _grid(volume)
    if volume.poses is None:
        return [grid]
    matrices = [volume.poses.at(t, grid) for t in volume.poses.times]
    return [Grid(grid.shape, tuple(map(tuple, m.tolist())), grid.space, grid.units) for m in matrices]


def _reach(volume: Volume, depth_mm: Lengths) -> tuple[int, int, int]:
    """Voxels along z, y, x within which all voxels of a ball, or of a box along the image's axes, lie."""
    lengths = [in_unit(v, "mm", _grid(volume).units) for v in _lengths("depth_mm", depth_mm)]
    most = [0, 0, 0]
    for grid in _grids(volume):
        if np.ndim(depth_mm):
            steps = np.divide(lengths, grid.spacing)
        else:
            # planes of voxels of a sheared grid are closer to each other than its voxels
            steps = np.multiply(lengths, np.linalg.norm(aff.inverse(grid.matrix)[:3, :3], axis=1))
        # a whole number of voxels up to rounding is that number
        most = [max(m, math.ceil(s - 1e-6)) for m, s in zip(most, steps.tolist(), strict=True)]
    return most[2], most[1], most[0]


def _voxels(depth: int | Sequence[int]) -> tuple[int, int, int]:
    given = np.asarray(depth)
    if given.shape not in ((), (3,)) or given.dtype.kind not in "iu" or np.any(given < 0):
        raise ValueError(f"depth is a number of voxels, or three along x, y, z, at least 0; found {depth!r}")
    x, y, z = np.broadcast_to(given, 3).tolist()
    return z, y, x


def _lengths(name: str, given: Lengths) -> list[float]:
    out = np.asarray(given, dtype=np.float64)
    if out.shape not in ((), (3,)) or not np.all(np.isfinite(out)) or np.any(out < 0):
        raise ValueError(f"{name} is a length, or three along x, y, z, at least 0; found {given!r}")
    return list(np.broadcast_to(out, 3).tolist())


def _fill(value: float, dtype: np.dtype[Any]) -> float:
    with np.errstate(invalid="ignore"):
        held = np.asarray(value).astype(dtype)
    if not np.array_equal(held, value, equal_nan=dtype.kind in "fc"):
        raise ValueError(f"fill={value!r} is no value of {dtype}")
    return value
