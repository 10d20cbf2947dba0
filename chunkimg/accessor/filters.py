"""Functions of neighbourhoods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import xarray as xr
from numpy.typing import DTypeLike, NDArray

import chunkimg.filters as filters

from .geometry import GeometryPart

__all__ = ["FiltersPart"]


class FiltersPart(GeometryPart):
    """Images of what lies around each voxel."""

    def map_overlap(
        self,
        function: Callable[[NDArray[Any]], Any],
        *,
        depth: int | Sequence[int] | None = None,
        depth_mm: float | Sequence[float] | None = None,
        boundary: str = "reflect",
        fill: float = 0.0,
        dtype: DTypeLike | None = None,
    ) -> xr.DataArray:
        """A function of each voxel's neighbourhood, lazily, on the same grid.

        The function is called with blocks of the image and a halo around them, of each frame and channel by itself; of
        what it gives, the halo is cut off. Values do not depend on how the image is cut into blocks as long as none
        depends on voxels farther away than the depth.

        Parameters
        ----------
        function : callable
            Takes a NumPy array with axes z, y, x, its own to change, and gives one of the same shape. It is called
            in several threads at once, with blocks of different shapes.
        depth : int or (x, y, z), optional
            Width of the halo in voxels.
        depth_mm : float or (x, y, z), optional
            Width of the halo in millimetres, rounded up to whole voxels: one number for all voxels within that
            distance, or three along the image's axes. Give this or `depth`.
        boundary : str
            What lies beyond the image: ``"reflect"`` (d c b a | a b c d | d c b a), ``"mirror"``
            (d c b | a b c d | c b a), ``"edge"`` (a a a | a b c d | d d d), or ``"constant"``; the first two are named
            as in `scipy.ndimage` and Dask, not as in `numpy.pad`.
        fill : float
            The constant.
        dtype : dtype, optional
            Type of the result, that of the image by default. Values are not forced into it: where the function gives
            floating point and this is an integer, reading raises TypeError.

        Returns
        -------
        xarray.DataArray
            Computed when it is read. Saving streams: nearly every chunk is decoded once.

        Raises
        ------
        GeometryError
            If `depth_mm` is given, and the image's unit is unknown or its position lost.
        ValueError
            If neither or both of the depths are given, or one is negative. When values are read, if the function gives
            another shape.

        Examples
        --------
        >>> import chunkimg as ci
        >>> import nibabel, numpy as np
        >>> scan = ci.open_image(f"{nibabel.__path__[0]}/tests/data/anatomical.nii")
        >>> def steepness(block):
        ...     return np.abs(np.gradient(block.astype("f4"), axis=0))
        >>> steep = scan.img.map_overlap(steepness, depth=1, dtype="f4")
        >>> steep.img.same_grid(scan), steep.dtype
        (True, dtype('float32'))
        """
        return filters.map_overlap(
            self._image, function, depth=depth, depth_mm=depth_mm, boundary=boundary, fill=fill, dtype=dtype
        )

    def smooth(
        self, fwhm_mm: float | Sequence[float], *, boundary: str = "reflect", truncate: float = 4.0
    ) -> xr.DataArray:
        """The image smoothed by a Gaussian, lazily, in float32.

        Parameters
        ----------
        fwhm_mm : float or (x, y, z)
            Full width at half maximum in millimetres, one for all or along each of the image's axes; 0 leaves an axis
            as it is. The standard deviation is ``fwhm / (2 √(2 ln 2))``, about ``fwhm / 2.355``.
        boundary : str
            What lies beyond the image, as for `map_overlap`.
        truncate : float
            The Gaussian is cut off at so many standard deviations, rounded to voxels, and normalised to a sum of 1.

        Returns
        -------
        xarray.DataArray
            The values of `scipy.ndimage.gaussian_filter` and of nilearn, up to rounding; they do not depend on how the
            image is cut into blocks, not by a bit. NaN spreads to all voxels within reach.

        Raises
        ------
        GeometryError
            If the image's unit is unknown, or its position lost.
        TypeError
            If the voxels are labels, or complex.

        Notes
        -----
        On a sheared grid (a tilted gantry) the width holds along each axis; in the world the Gaussian is sheared, too.

        Examples
        --------
        >>> import chunkimg as ci
        >>> import nibabel
        >>> fmri = ci.open_image(f"{nibabel.__path__[0]}/tests/data/example4d.nii.gz")
        >>> smooth = fmri.img.smooth(6)
        >>> smooth.dtype, bool(smooth.isel(t=0).std() < fmri.isel(t=0).std())
        (dtype('float32'), True)
        """
        return filters.smooth(self._image, fwhm_mm, boundary=boundary, truncate=truncate)
