"""The ``.img`` accessor: one line per method, no state, everything delegated; in parts, by subject."""

from __future__ import annotations

from typing import Any

import xarray as xr

from ..api import save
from ..image import show
from ..image.properties import Properties
from .filters import FiltersPart
from .labels import LabelsPart
from .points import PointsPart
from .resampling import ResamplingPart
from .space import SpacePart
from .time import TimePart
from .values import ValuesPart

__all__ = ["ImageAccessor"]


@xr.register_dataarray_accessor("img")
class ImageAccessor(SpacePart, ValuesPart, LabelsPart, FiltersPart, PointsPart, TimePart, ResamplingPart):
    """Geometry, properties and output of an image: ``image.img``.

    All geometry is computed from the coordinates x, y, z and so is right after any slicing, flipping or transposing.
    World coordinates are RAS+ (x to the right, y to the front, z to the head), unless the source does not say where
    the patient is (``space == "unknown"``). Tuples are in x, y, z order.

    Every geometry property raises `GeometryError` where the image's position is lost (an axis was reduced or stacked)
    or was never known.
    """

    @property
    def properties(self) -> Properties:
        """Metadata as a live mapping; the geometry keys are computed and read-only."""
        return Properties(self._image)

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
        from ..interop.nibabel import to_nibabel

        return to_nibabel(self._image)

    def to_sitk(self) -> Any:
        """A SimpleITK image (LPS); the voxels are read into memory."""
        from ..interop.sitk import to_sitk

        return to_sitk(self._image)

    def __repr__(self) -> str:
        return show.as_text(self._image)

    def _repr_html_(self) -> str:
        return show.as_html(self._image)
