"""The ``.img`` accessor: one line per method, no state, everything delegated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

import chunkimg.statistics as statistics

from .access import Access
from .api import save
from .geometry import Grid
from .image import build, create, show
from .image.properties import Properties
from .metadata import is_label, properties_of
from .statistics import PERCENTILES, Histogram, LabelCounts, Stats

__all__ = ["ImageAccessor"]

Array = NDArray[np.float64]
Triple = tuple[float, float, float]


@xr.register_dataarray_accessor("img")
class ImageAccessor:
    """Geometry, properties and output of an image: ``image.img``.

    All geometry is computed from the coordinates x, y, z and so is right after any slicing, flipping or transposing.
    World coordinates are RAS+ (x to the right, y to the front, z to the head), unless the source does not say where
    the patient is (``space == "unknown"``). Tuples are in x, y, z order.

    Every geometry property raises `GeometryError` where the image's position is lost (an axis was reduced or stacked)
    or was never known.
    """

    def __init__(self, image: xr.DataArray) -> None:
        self._image = image

    # ------------------------------------------------------------------ geometry

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

    def affine_at(self, t: float) -> Array:
        """Affine at time `t` (a value of the coordinate t), shape (4, 4); that of the image where it does not change.

        Raises
        ------
        GeometryError
            If the geometry changes with time and no entry is stored for `t`.
        """
        return build.affine_at(self._image, t)

    def to_world(self, index: ArrayLike) -> Array:
        """World coordinates of (fractional) voxel indices in x, y, z order, shape (..., 3)."""
        return self.grid.to_world(index)

    def to_index(self, world: ArrayLike) -> Array:
        """Fractional voxel indices in x, y, z order of world coordinates, shape (..., 3)."""
        return self.grid.to_index(world)

    # ------------------------------------------------------------------ comparison

    def same_grid(self, other: xr.DataArray, tol: float = 1e-3) -> bool:
        """Whether both images occupy the same space: no corner displaced by more than `tol` voxel."""
        return self.grid.same_as(build.grid_of(other), tol)

    def require_same_grid(self, other: xr.DataArray, tol: float = 1e-3) -> None:
        """Raise `GeometryError`, listing all differences, unless both images occupy the same space."""
        self.grid.require_same_as(build.grid_of(other), tol)

    def snap_to(self, other: xr.DataArray, tol: float = 0.1) -> xr.DataArray:
        """Put this image on exactly the grid of `other`, for twins that differ by rounding.

        Raises
        ------
        GeometryError
            If sizes differ, or a corner would move by more than `tol` voxel.
        """
        return create.snap_to(self._image, other, tol)

    # ------------------------------------------------------------------ images from this image

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

    def as_label(self) -> xr.DataArray:
        """The image declared to hold labels, not intensities (pyramids then take modes, not means)."""
        return create.as_label(self._image)

    # ------------------------------------------------------------------ reading

    @property
    def access(self) -> Access:
        """``"random"``, ``"indexed"`` or ``"sequential"``, of its dearest source; `cost` says what a region costs."""
        return show.access_of(self._image)

    # ------------------------------------------------------------------ statistics

    def stats(self, percentiles: Sequence[float] = PERCENTILES, **options: Any) -> Stats:
        """Number, range, sum, mean, standard deviation and percentiles of all values, streaming; NaN is left out.

        Exact for values of at most 16 bits, scaled or not, in one pass; wider ones are read again for percentiles,
        which are exact too. The passes run on this machine, also with a Dask client.

        Parameters
        ----------
        percentiles : sequence of float
            From 0 to 100, interpolated as of `numpy.percentile`; ``()`` for none.
        **options
            ``bins`` and ``range``: a histogram as well, in the same pass; ``budget``: bytes in memory at once;
            ``progress``.

        Raises
        ------
        TypeError
            If the values are complex.

        Examples
        --------
        >>> import chunkimg as ci
        >>> import nibabel
        >>> scan = ci.open_image(f"{nibabel.__path__[0]}/tests/data/anatomical.nii")
        >>> found = scan.img.stats([50, 99.9])
        >>> found.min, found.max, found.percentiles[50]
        (-610, 30393, 8935.0)
        """
        return statistics.stats(self._image, percentiles, **options)

    def histogram(
        self, bins: int | Sequence[float] = 256, range: tuple[float, float] | None = None, **options: Any
    ) -> Histogram:
        """Counts per bin and the edges of the bins, as of `numpy.histogram` of all values but NaN, streaming.

        Parameters
        ----------
        bins : int or sequence of float
            Number of bins, or their edges.
        range : (float, float), optional
            That of the values by default; values of more than 16 bits are then read twice.
        **options
            ``budget``, ``progress``.
        """
        return statistics.histogram(self._image, bins, range, **options)

    def count_labels(self, **options: Any) -> LabelCounts:
        """Labels that occur, 0 included, and the number of voxels of each: exact, in one pass, for any number of them.

        Parameters
        ----------
        **options
            ``budget``, ``progress``.

        Raises
        ------
        TypeError
            If the values are no integers.

        Examples
        --------
        >>> import numpy as np
        >>> import chunkimg as ci
        >>> cells = ci.from_array(np.array([[[0, 0, 7], [7, 7, 3]]], "u2"), spacing=(1, 1, 2))
        >>> cells.img.count_labels().as_dict()
        {0: 2, 3: 1, 7: 3}
        """
        return statistics.count_labels(self._image, **options)

    # ------------------------------------------------------------------ metadata

    @property
    def properties(self) -> Properties:
        """Metadata as a live mapping; the geometry keys are computed and read-only."""
        return Properties(self._image)

    @property
    def is_label(self) -> bool:
        """Whether the voxels are labels."""
        return is_label(properties_of(self._image.attrs))

    # ------------------------------------------------------------------ output

    def save(self, dest: Any, **options: Any) -> None:
        """Write to a file or store by its suffix, streaming; options as for `chunkimg.save`."""
        save(self._image, dest, **options)

    def to_zarr(self, dest: Any, **options: Any) -> None:
        """Write an OME-Zarr store, whatever the name; options as for `chunkimg.save`."""
        save(self._image, dest, format="zarr", **options)

    def to_nifti(self, dest: Any, **options: Any) -> None:
        """Write a NIfTI file or pair; options as for `chunkimg.save`."""
        save(self._image, dest, format="nifti", **options)

    def to_nrrd(self, dest: Any, **options: Any) -> None:
        """Write an NRRD file, or a header and a file of voxels; options as for `chunkimg.save`."""
        save(self._image, dest, format="nrrd", **options)

    def to_nibabel(self) -> Any:
        """A nibabel image that reads its voxels on demand."""
        from .interop.nibabel import to_nibabel

        return to_nibabel(self._image)

    def to_sitk(self) -> Any:
        """A SimpleITK image (LPS); the voxels are read into memory."""
        from .interop.sitk import to_sitk

        return to_sitk(self._image)

    def numpy(self) -> NDArray[Any]:
        """The values in memory, axes in the order of the image's dims."""
        return np.asarray(self._image.values)

    def __repr__(self) -> str:
        return show.as_text(self._image)

    def _repr_html_(self) -> str:
        return show.as_html(self._image)
