"""Images that lie elsewhere than this one, or show a part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import xarray as xr
from numpy.typing import ArrayLike

from ..image import create, orient, space
from .geometry import GeometryPart

__all__ = ["SpacePart"]


class SpacePart(GeometryPart):
    """Parts of the image in physical space, and the same voxels elsewhere."""

    def crop_world(self, lo: Sequence[float], hi: Sequence[float]) -> xr.DataArray:
        """The smallest part whose voxels cover a box in world coordinates, lazily; right for oblique images too.

        Parameters
        ----------
        lo, hi : (x, y, z)
            Corners of the box in world coordinates (RAS+), in the image's unit.

        Raises
        ------
        GeometryError
            If the box lies outside the image.

        Examples
        --------
        >>> import chunkimg as ci
        >>> import nibabel
        >>> fmri = ci.open_image(f"{nibabel.__path__[0]}/tests/data/example4d.nii.gz")
        >>> dict(fmri.img.crop_world((-20, 0, 10), (20, 40, 30)).sizes)
        {'t': 2, 'z': 13, 'y': 22, 'x': 21}
        """
        x, y, z = self.grid.box(lo, hi)
        return self._image.isel(x=x, y=y, z=z)

    def crop_like(self, other: xr.DataArray) -> xr.DataArray:
        """The smallest part whose voxels cover those of another image, as far as this one has them, lazily.

        Right for oblique images, on grids of any spacing and direction: all corners of the other image lie inside, if
        they lie in this one at all. A twin's grid that is displaced by no more than 1e-3 voxel takes no further voxels
        in, so that a part of this image is found again exactly. Where geometry changes with time, all frames are
        covered.

        Raises
        ------
        GeometryError
            If the images do not overlap, or are in different units.

        Examples
        --------
        >>> import numpy as np
        >>> import chunkimg as ci
        >>> ct = ci.from_array(np.zeros((8, 50, 40)), spacing=(1, 1, 5))
        >>> mask = ci.from_array(np.zeros((4, 4, 6)), spacing=(2, 2, 2), origin=(10.5, 20.5, 11))
        >>> dict(ct.img.crop_like(mask).sizes)
        {'z': 3, 'y': 8, 'x': 12}
        """
        return space.crop_like(self._image, other)

    def pad(
        self,
        width: int | Mapping[str, int | tuple[int, int]] | None = None,
        *,
        x: int | tuple[int, int] | None = None,
        y: int | tuple[int, int] | None = None,
        z: int | tuple[int, int] | None = None,
        before: Sequence[int] | None = None,
        after: Sequence[int] | None = None,
        mode: str = "constant",
        fill: complex = 0,
    ) -> xr.DataArray:
        """Voxels added around the image, lazily; those that it had stay where they are in the world.

        Parameters
        ----------
        width : int or mapping, optional
            Voxels to add on each side, along all of x, y, z or by axis: a number, or a pair (before, after).
        x, y, z : int or (int, int), optional
            The same for one axis.
        before, after : (int, int, int), optional
            The same along x, y, z, by side.
        mode : str
            What new voxels hold, by `numpy.pad`'s names: ``"constant"``, ``"edge"``, ``"reflect"``, ``"symmetric"`` or
            ``"wrap"``.
        fill : number
            For ``"constant"``: their image value, after scaling.

        Raises
        ------
        GeometryError
            For other axes (frames and channels are not invented), negative widths, another mode, or a `fill` that the
            type of the values cannot hold (NaN among integers).

        Examples
        --------
        >>> import numpy as np
        >>> import chunkimg as ci
        >>> image = ci.from_array(np.arange(3).reshape(1, 1, 3), spacing=(2, 2, 5))
        >>> wider = image.img.pad(x=(2, 1), mode="edge")
        >>> wider.values.tolist(), wider.img.origin
        ([[[0, 0, 0, 1, 2, 2]]], (-4.0, 0.0, 0.0))
        """
        return space.pad(self._image, width, {"x": x, "y": y, "z": z}, (before, after), mode, fill)

    def coarsen(
        self,
        factor: int | Mapping[str, int] | None = None,
        *,
        x: int | None = None,
        y: int | None = None,
        z: int | None = None,
        func: str | None = None,
        boundary: str = "trim",
    ) -> xr.DataArray:
        """Larger voxels, each made of a block of voxels and at the middle of it, lazily.

        Unlike xarray's own `coarsen`, the result is an image (its index checks positions, one voxel keeps its size),
        its values keep their type, and NaN in a block makes NaN.

        Parameters
        ----------
        factor : int or mapping, optional
            Voxels per block, along all of x, y, z or by axis.
        x, y, z : int, optional
            The same for one axis.
        func : str, optional
            ``"mean"`` (integers are rounded to nearest), ``"median"``, ``"mode"``, ``"max"``, ``"min"``, or
            ``"nearest"`` (the voxel at the middle, or before it). By default modes of labels, means of all else.
        boundary : str
            A remainder at the end of an axis is cut off (``"trim"``, as in pyramids), makes a block of the voxels that
            there are (``"pad"``; its middle is where that of a whole block would be), or is refused (``"exact"``).

        Raises
        ------
        GeometryError
            For other axes (frames are put together by xarray), or if no block is left.
        UnsupportedError
            For means and medians of labels.

        Examples
        --------
        >>> import numpy as np
        >>> import chunkimg as ci
        >>> image = ci.from_array(np.arange(10).reshape(1, 2, 5), spacing=(1, 1, 5))
        >>> half = image.img.coarsen(x=2, y=2, func="max")
        >>> half.values.tolist(), half.img.spacing, half.img.origin
        ([[[6, 8]]], (2.0, 2.0, 5.0), (0.5, 0.5, 0.0))
        """
        return space.coarsen(self._image, factor, {"x": x, "y": y, "z": z}, func, boundary)

    def flip(self, dims: str | Sequence[str]) -> xr.DataArray:
        """The voxels in reversed order along one or more axes, lazily; each stays where it is in the world.

        Coordinates along a flipped axis descend, so that slices of `sel` run from high to low.

        Parameters
        ----------
        dims : str or sequence of str
            ``"x"``, ``"y"``, ``"z"``, several of them, or a word such as ``"xy"``.

        Raises
        ------
        GeometryError
            For any other axis.

        Examples
        --------
        >>> import numpy as np
        >>> import chunkimg as ci
        >>> image = ci.from_array(np.arange(6).reshape(1, 2, 3), spacing=(2, 2, 5))
        >>> image.img.flip("xy").values.tolist(), image.img.flip("xy").img.origin
        ([[[5, 4, 3], [2, 1, 0]]], (4.0, 2.0, 0.0))
        """
        return orient.flip(self._image, dims)

    def reorient(self, orientation: str) -> xr.DataArray:
        """Axes permuted and reversed so that x, y, z run along body directions, lazily; nothing is resampled.

        Every voxel stays where it is in the world. The axes of an oblique image run along the directions that are
        nearest. Reorienting back gives the same image, bit for bit, its affine included. What names axes follows:
        NIfTI's dim_info and order of slices, extents of segments, per-axis fields of NRRD headers.

        Parameters
        ----------
        orientation : str
            Directions in which x, y, z are to increase, one letter of each pair R/L, A/P and S/I: ``"RAS"`` (nibabel's
            ``as_closest_canonical``), ``"LPS"``, ``"PIR"``, …

        Raises
        ------
        GeometryError
            For other letters, or if the image does not say where the patient is (``space == "unknown"``).

        Examples
        --------
        >>> import chunkimg as ci
        >>> import nibabel
        >>> fmri = ci.open_image(f"{nibabel.__path__[0]}/tests/data/example4d.nii.gz")
        >>> sagittal = fmri.img.reorient("PIR")
        >>> fmri.img.orientation, dict(sagittal.sizes), sagittal.img.orientation
        ('LAS', {'t': 2, 'z': 128, 'y': 24, 'x': 96}, 'PIR')
        """
        return orient.reorient(self._image, orientation)

    def snap_to(self, other: xr.DataArray, tol: float = 0.1) -> xr.DataArray:
        """Put this image on exactly the grid of `other`, for twins that differ by rounding; voxels are not touched.

        Parameters
        ----------
        other : xarray.DataArray
            An image of the same sizes.
        tol : float
            How far a corner may move, in voxels.

        Raises
        ------
        GeometryError
            If sizes differ, or a corner would move by more than `tol` voxel.

        Examples
        --------
        >>> import numpy as np
        >>> import chunkimg as ci
        >>> ct = ci.from_array(np.zeros((4, 5, 6), "i2"), spacing=(0.7, 0.7, 1.25))
        >>> mask = ci.from_array(np.ones((4, 5, 6), "u1"), spacing=(0.7, 0.7, 1.251))
        >>> mask.img.same_grid(ct), mask.img.snap_to(ct).img.same_grid(ct)
        (False, True)
        """
        return create.snap_to(self._image, other, tol)

    def assign_geometry(
        self,
        *,
        affine: ArrayLike | None = None,
        spacing: Sequence[float] | None = None,
        origin: Sequence[float] | None = None,
        direction: ArrayLike | None = None,
        space: str | None = None,
        units: str | None = None,
    ) -> xr.DataArray:
        """The same voxels with other geometry: what a wrong or silent header should have said.

        Parameters
        ----------
        affine : array_like, shape (4, 4), optional
            Index to world, in `space`.
        spacing, origin, direction : optional
            Replace one part and keep the others.
        space : str, optional
            World frame of what is given, e.g. ``"LPS"``; alone, it declares that of an image of unknown space.
        units : str, optional
            Unit of length.
        """
        return create.assign_geometry(
            self._image,
            affine=affine,
            spacing=spacing,
            origin=origin,
            direction=direction,
            space=space,
            units=units,
        )
