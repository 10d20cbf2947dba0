"""SimpleITK images, both ways (in memory: SimpleITK has no lazy images)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import xarray as xr

from ..errors import GeometryError, require
from ..geometry import Grid
from ..geometry.attrs import strict_json
from ..image.build import to_volume
from ..image.create import from_array
from ..io.nifti_header import PROPERTIES
from ..lazy import full_region

__all__ = ["from_sitk", "to_sitk"]


#: cosine between axes that counts as shear; float32 headers of real scans reach 2e-5
_SHEAR = 1e-3
#: what SimpleITK repeats of a NIfTI header: it describes the file that was read, not the image
_STRUCTURE = re.compile(
    r"ITK_|nifti_type|dim\[|dim_info|pixdim|bitpix|datatype|vox_offset|scl_|xyzt_units|toffset|slice_|"
    r"[qs]form_|qto_|sto_|qfac|quatern|qoffset|srow_"
)


def to_sitk(image: xr.DataArray) -> Any:
    """A SimpleITK image with the same voxels at the same place (LPS); the voxels are read into memory.

    A channel axis becomes vector pixels, t a fourth dimension. Properties become metadata strings.

    Raises
    ------
    GeometryError
        If the axes are sheared (ITK's direction is a rotation), or the pose changes with time.
    MissingExtraError
        If SimpleITK is not installed.
    """
    sitk = require("SimpleITK", "sitk")
    volume = to_volume(image, require_grid=True)
    grid = volume.grid
    assert grid is not None
    if volume.poses is not None and not volume.poses.is_constant():
        raise GeometryError("SimpleITK holds one position for all times, this image has one per time step")
    if grid.space != "unknown":
        grid = grid.to_space("LPS")
    direction = grid.direction
    if not np.allclose(direction.T @ direction, np.eye(3), atol=_SHEAR):
        raise GeometryError(
            "the axes of this image are sheared, which ITK cannot hold; resample it to an orthogonal grid first"
        )
    values = volume.values._read(full_region(volume.data.shape))
    if "c" in volume.dims:
        values = np.moveaxis(values, volume.dims.index("c"), -1)
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    out = sitk.GetImageFromArray(np.ascontiguousarray(values), isVector="c" in volume.dims)
    full_direction, spacing, origin = direction, list(grid.spacing), list(grid.origin)
    if volume.times is not None:
        full_direction = np.eye(4)
        full_direction[:3, :3] = direction
        step = volume.times.regular_step()
        spacing.append(step if step is not None and step > 0 else 1.0)
        origin.append(volume.times.values[0])
    out.SetSpacing(spacing)
    out.SetOrigin(origin)
    out.SetDirection(full_direction.ravel().tolist())
    for key, value in volume.properties.items():
        out.SetMetaData(key, value if isinstance(value, str) else str(strict_json(value)))
    return out


def from_sitk(image: Any, *, units: str = "mm") -> xr.DataArray:
    """An image of a SimpleITK image of 2, 3 or 4 dimensions, scalar or vector.

    Parameters
    ----------
    image : SimpleITK.Image
        Its world is LPS, in millimetres by convention.
    units : str
        Unit of length.

    Raises
    ------
    GeometryError
        If the fourth axis is not orthogonal to space.
    """
    sitk = require("SimpleITK", "sitk")
    ndim = image.GetDimension()
    values = sitk.GetArrayFromImage(image)
    dims = ("t", "z", "y", "x")[-ndim:]
    if image.GetNumberOfComponentsPerPixel() > 1:
        dims = (*dims, "c")
    direction = np.asarray(image.GetDirection()).reshape(ndim, ndim)
    space = min(ndim, 3)
    if ndim == 4 and (np.any(direction[3, :3]) or np.any(direction[:3, 3])):
        raise GeometryError("the fourth axis of the SimpleITK image is not orthogonal to space, so it is no time")
    matrix = np.eye(4)
    matrix[:space, :space] = direction[:space, :space] * np.asarray(image.GetSpacing())[:space]
    matrix[:space, 3] = np.asarray(image.GetOrigin())[:space]
    times = None
    if ndim == 4:
        count, step, start = image.GetSize()[3], image.GetSpacing()[3], image.GetOrigin()[3]
        times = [start + k * step for k in range(count)]
    grid = Grid((*image.GetSize()[:space], 1, 1, 1)[:3], tuple(map(tuple, matrix.tolist())), "LPS", units)
    return from_array(
        values, dims, affine=grid.affine, space="LPS", units=units, t=times, properties=_properties(image)
    )


def _properties(image: Any) -> dict[str, Any]:
    """Metadata of a SimpleITK image; ITK keeps all of it as text, numbers of NIfTI fields become numbers again."""
    out: dict[str, Any] = {}
    for key in image.GetMetaDataKeys():
        if _STRUCTURE.match(key):
            continue
        value: Any = image.GetMetaData(key)
        unset = PROPERTIES.get(key, "")
        if not isinstance(unset, str):
            try:
                value = type(unset)(float(value))
            except ValueError:
                continue
        if value != unset:
            out[key] = value
    return out
