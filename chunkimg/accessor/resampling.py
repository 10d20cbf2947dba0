"""The image on other grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from .._later import later
from ..geometry import Grid
from .geometry import GeometryPart

if TYPE_CHECKING:
    import chunkimg.resampling as resampling
else:
    resampling = later("chunkimg.resampling")

__all__ = ["ResamplingPart"]


class ResamplingPart(GeometryPart):
    """Values between voxels."""

    def resample_to(
        self,
        ref: xr.DataArray | Grid,
        method: str | None = None,
        transform: Any = None,
        fill: complex = 0,
        antialias: bool = False,
    ) -> xr.DataArray:
        """The image on the grid of another, lazily; t and c are carried along.

        Each part is made from the box of the image that it needs. Values keep their type: integers are rounded to
        nearest (SimpleITK cuts off). Where all voxels lie on voxels (within 1e-3 of one: the same grid, a crop, a flip,
        a larger grid), none is computed: the result shows those of the image, bit for bit. Where geometry changes with
        time each frame is taken from its own place.

        A voxel is inside if its centre lies on the image, up to the outer edges of the outer voxels, where the
        outermost centre stands for it, as in ITK.

        Parameters
        ----------
        ref : xarray.DataArray or Grid
            The grid; of an image only its position counts.
        method : str, optional
            ``"nearest"``, ``"linear"``, ``"cubic"`` (B-splines), or ``"label"``, the nearest, for values that must not
            be mixed. By default linear, and label for label maps.
        transform : array_like of shape (4, 4), or object, optional
            Where points of the reference's world (RAS+, in its unit) lie in that of the image, as in ITK: a matrix, or
            an object with ``matrix`` (4×4, or None) and ``map(points)`` for points of shape (..., 3). Points mapped to
            NaN are outside.
        fill : number
            Value of voxels outside the image.
        antialias : bool
            Whether the image is smoothed first where voxels of the grid are larger, by a Gaussian whose full width at
            half maximum is ``sqrt(new² - old²)`` along each axis (Cardoso et al., MICCAI 2015), so that fine structure
            does not alias. Of a map that is not affine the two grids alone count.

        Raises
        ------
        GeometryError
            If one of the images has no position, or only one says where the patient is.
        ValueError
            If the method, or antialiasing, would mix labels, `fill` is no value of the image's type, or complex
            values are to be antialiased.

        Examples
        --------
        >>> import chunkimg as ci
        >>> import nibabel
        >>> data = f"{nibabel.__path__[0]}/tests/data"
        >>> scan = ci.open_image(f"{data}/anatomical.nii")
        >>> fmri = ci.open_image(f"{data}/example4d.nii.gz")
        >>> fmri.img.resample_to(scan).img.same_grid(scan)
        True
        """
        found: xr.DataArray = resampling.resample_to(self._image, ref, method, transform, fill, antialias)
        return found

    def resample(
        self, spacing: float | Sequence[float], method: str | None = None, antialias: bool = False
    ) -> xr.DataArray:
        """The image with other voxel sizes, lazily; its middle and directions stay, sizes are rounded.

        Where geometry changes with time each frame stays at its own place.

        Parameters
        ----------
        spacing : float or (x, y, z)
            New voxel size, in the image's unit.
        method : str, optional
            As for `resample_to`.
        antialias : bool
            As for `resample_to`. Without it nothing is smoothed: many small voxels in one large one alias.

        Raises
        ------
        GeometryError
            If a spacing is not positive, or the image has no position.
        ValueError
            As of `resample_to`.

        Examples
        --------
        >>> import chunkimg as ci
        >>> import nibabel
        >>> scan = ci.open_image(f"{nibabel.__path__[0]}/tests/data/anatomical.nii")
        >>> scan.img.spacing, dict(scan.img.resample(spacing=1).sizes)
        ((2.0, 2.0, 2.0), {'z': 50, 'y': 82, 'x': 66})
        """
        found: xr.DataArray = resampling.resample(self._image, spacing, method, antialias)
        return found
