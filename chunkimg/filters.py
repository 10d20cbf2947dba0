"""Functions of the voxels around each voxel, lazily: the geometry stays, memory is bounded."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from .errors import GeometryError
from .lazy import Block
from .lengths import Lengths, Voxels, counts, grid_of, grids_of, lengths_in_unit, reach
from .metadata import computed, is_label
from .ops.gaussian import Gaussian, sigma_of_fwhm, smoothed_array
from .ops.overlap import Halo, OverlapArray, Whole
from .volume import Volume

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["map_overlap", "smooth", "smoothed"]


def map_overlap(
    image: xr.DataArray,
    function: Callable[[Block], Any],
    *,
    depth: Voxels | None = None,
    depth_mm: Lengths | None = None,
    boundary: str = "reflect",
    fill: float = 0.0,
    dtype: DTypeLike | None = None,
) -> xr.DataArray:
    """An image of a function of each voxel's neighbourhood; see `ImageAccessor.map_overlap`."""
    from .image.derived import derived

    if not callable(function):
        raise TypeError(f"a function of a block is expected, found {type(function).__name__}")
    if (depth is None) == (depth_mm is None):
        raise ValueError("give either depth= (voxels) or depth_mm=")

    def change(volume: Volume) -> Volume:
        x, y, z = counts("depth", depth) if depth is not None else reach(volume, "depth_mm", depth_mm or 0)
        around = z, y, x
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
    if not 0 < truncate < math.inf:
        raise ValueError(f"truncate is a positive number of standard deviations, found {truncate!r}")
    widths = lengths_in_unit("fwhm_mm", fwhm_mm, grid_of(volume))
    spacings = np.array([g.spacing for g in grids_of(volume)])
    if np.any(np.abs(spacings / spacings[0] - 1) > 1e-3):
        raise GeometryError("the voxel size of this image changes with time; smooth its frames one by one")
    x, y, z = (sigma_of_fwhm(w) / s for w, s in zip(widths, spacings[0].tolist(), strict=True))
    return computed(volume, smoothed_array(volume.values, Gaussian((z, y, x), truncate), boundary))


def _fill(value: float, dtype: np.dtype[Any]) -> float:
    with np.errstate(invalid="ignore"):
        held = np.asarray(value).astype(dtype)
    if not np.array_equal(held, value, equal_nan=dtype.kind in "fc"):
        raise ValueError(f"fill={value!r} is no value of {dtype}")
    return value
