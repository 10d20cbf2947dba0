"""Functions of neighbourhoods and of patches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr
from numpy.typing import DTypeLike, NDArray

from .._later import later
from .geometry import GeometryPart

if TYPE_CHECKING:
    import chunkimg.filters as filters
    import chunkimg.patches as patches_of

    from ..patches import Patches
else:
    filters, patches_of = later("chunkimg.filters"), later("chunkimg.patches")

__all__ = ["FiltersPart"]


class FiltersPart(GeometryPart):
    """Images of what lies around each voxel, or in patches."""

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
            Computed when it is read. Saving streams: a chunk is decoded once where three layers of chunks fit into
            128 MiB, else its outer planes are once more for each neighbour.

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

    def patches(
        self,
        size: int | Sequence[int | None] | None = None,
        overlap: int | Sequence[int] = 0,
        *,
        size_mm: float | Sequence[float] | None = None,
    ) -> Patches:
        """The image in patches of one size that cover it: a sequence of lazy images, each where it lies.

        They begin at steps of size - overlap; the last along an axis is shifted back to end with the image, so that it
        shares more with the one before it (the rule of TorchIO's ``GridSampler``). x runs fastest, z slowest. Frames
        and channels are not cut.

        Parameters
        ----------
        size : int or (x, y, z)
            In voxels; None for an axis takes all of it.
        overlap : int or (x, y, z)
            Voxels that neighbours share.
        size_mm : float or (x, y, z), optional
            Instead of `size`: in millimetres along the image's axes, rounded up to whole voxels.

        Returns
        -------
        Patches
            Has a length, indices and slices, and can be gone through; ``start(k)`` is the first voxel of a patch,
            ``size`` is that of all. Patches are without Dask: each reads its own region when its values are asked for,
            whole chunks or planes of gzip with it: going through all of them reads these several times, `map_patches`
            once.
            `chunkimg.assemble` puts together what was made of them.

        Raises
        ------
        ValueError
            If a patch is larger than the image, or shares all of itself.
        GeometryError
            If `size_mm` is given, and the image's unit is unknown.

        Examples
        --------
        >>> import chunkimg as ci
        >>> import nibabel
        >>> scan = ci.open_image(f"{nibabel.__path__[0]}/tests/data/anatomical.nii")
        >>> tiles = scan.img.patches(16, overlap=4)
        >>> tiles
        <24 patches (3 × 4 × 2) of 16 × 16 × 16 voxels along x, y, z>
        >>> tiles.start(-1), tiles[-1].shape
        ((17, 25, 9), (16, 16, 16))
        """
        return patches_of.patches(self._image, size, overlap, size_mm=size_mm)

    def map_patches(
        self,
        function: Callable[[NDArray[Any]], Any],
        size: int | Sequence[int | None] | None = None,
        overlap: int | Sequence[int] = 0,
        *,
        size_mm: float | Sequence[float] | None = None,
        weights: str = "crop",
        dtype: DTypeLike | None = None,
        channels: int | Sequence[str] | None = None,
    ) -> xr.DataArray:
        """An image of what a function makes of each patch, lazily: tiled inference.

        Parameters
        ----------
        function : callable
            Takes a NumPy array of the patch, axes z, y, x, or c, z, y, x for an image with channels, its own to change;
            called for each frame by itself. Gives an array of the same shape, or one with `channels`. It is called for
            one patch at a time (by Dask: for one patch at a time in each of its threads).
        size, overlap, size_mm
            As for `patches`: all patches have the same size.
        weights : str
            What becomes of voxels that several patches hold, as for `chunkimg.assemble`: ``"crop"``, ``"average"`` or
            ``"hann"``.
        dtype : dtype, optional
            Type of the result, that of the image by default. Values are not forced into it: where the function gives
            floating point and this is an integer, reading raises TypeError.
        channels : int or sequence of str, optional
            The function gives so many channels, or channels of these names: arrays with axes c, z, y, x.

        Returns
        -------
        xarray.DataArray
            On the grid of the image. Saving streams, and calls the function once for each patch and frame: of patches
            that reach into what is written later, 128 MiB are kept in memory, more in a temporary file. Dask blocks, of
            images that have them, are cut where cropped patches meet; with weights, Dask makes a patch for each of the
            blocks that it reaches into.

        Raises
        ------
        ValueError, GeometryError
            As of `patches`; ValueError when values are read, if the function gives another shape.
        TypeError
            If there are weights for values that are no floating point.

        Examples
        --------
        >>> import chunkimg as ci
        >>> import nibabel
        >>> scan = ci.open_image(f"{nibabel.__path__[0]}/tests/data/anatomical.nii")
        >>> def model(patch):
        ...     return (patch > 9000).astype("u1")
        >>> mask = scan.img.map_patches(model, 16, overlap=4, dtype="u1").img.as_label()
        >>> bool((mask == (scan > 9000)).all())
        True
        """
        return patches_of.map_patches(
            self._image,
            function,
            size,
            overlap,
            size_mm=size_mm,
            weights=weights,
            dtype=dtype,
            channels=channels,
        )
