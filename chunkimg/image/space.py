"""Parts of images, and images with more or larger voxels: what is stored is read through, with Dask and without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from ..errors import GeometryError
from ..geometry import AXES, Grid
from ..geometry import attrs as keys
from ..ops.coarsen import coarsened, factors_of, func_for, reduced
from ..ops.pad import padded, widths, within
from ..volume import Volume
from .build import frame_grids, require_image, spatial_coordinates, to_dataarray, to_volume, whole
from .index import TOLERANCE
from .lazily import unwrapped
from .views import is_dask, viewed

__all__ = ["coarsen", "crop_like", "pad"]


def crop_like(image: xr.DataArray, other: xr.DataArray) -> xr.DataArray:
    """The smallest part that covers another image; see `SpacePart.crop_like`."""
    require_image(other)
    mine, theirs = frame_grids(image), frame_grids(other)
    _require_one_world(mine[0], theirs[0])
    if "unknown" not in (mine[0].space, theirs[0].space):
        theirs = [grid.to_space(mine[0].space) for grid in theirs]
    corners = np.concatenate([grid.corners() for grid in theirs])
    boxes = [grid.box_of(corners, TOLERANCE) for grid in mine]
    union = [slice(min(s.start for s in along), max(s.stop for s in along)) for along in zip(*boxes, strict=True)]
    box = dict(zip(AXES, mine[0].clip(union, "other image"), strict=True))
    return image.isel({d: s for d, s in box.items() if d in image.dims})


def _require_one_world(a: Grid, b: Grid) -> None:
    if a.units != b.units and "unknown" not in (a.units, b.units):
        raise GeometryError(
            f"lengths are in {a.units} in one image and in {b.units} in the other; "
            "declare what they are with img.img.assign_geometry(units=...)"
        )


def pad(
    image: xr.DataArray, width: Any, by_axis: Mapping[str, Any], sides: tuple[Any, Any], mode: str, fill: Any
) -> xr.DataArray:
    """The image with voxels added around it; see `SpacePart.pad`."""
    wanted = widths(width, sides, **by_axis)

    def by_dask(variable: xr.Variable) -> xr.Variable:
        if mode == "constant":
            made: xr.Variable = variable.pad(wanted, mode="constant", constant_values=fill)
            return made
        # Dask's own modes add no more than the image has
        for axis, (before, after) in wanted.items():
            at = within(range(variable.sizes[axis] + before + after), before, variable.sizes[axis], mode)
            ends = variable.isel({axis: list(at[:before])}), variable.isel({axis: list(at[len(at) - after :])})
            variable = xr.Variable.concat([ends[0], variable, ends[1]], axis)
        return variable

    return _remade(image, lambda volume: padded(volume, wanted, mode, fill), by_dask)


def coarsen(
    image: xr.DataArray, factor: Any, by_axis: Mapping[str, int | None], func: str | None, boundary: str
) -> xr.DataArray:
    """The image with larger voxels; see `SpacePart.coarsen`."""
    factors = factors_of(factor, **by_axis)
    chosen = func_for(to_volume(image), func)

    def by_dask(variable: xr.Variable) -> xr.Variable:
        sizes = [factors.get(str(d), 1) for d in variable.dims]
        if boundary == "trim":
            whole_blocks = [slice(0, n // f * f) for n, f in zip(variable.shape, sizes, strict=True)]
            variable = variable[tuple(whole_blocks)]
        blocks = [max(f, max(c) // f * f) for c, f in zip(variable.data.chunks, sizes, strict=True)]
        data = variable.data.rechunk(dict(enumerate(blocks)))
        chunks = [tuple(-(-n // f) for n in c) for c, f in zip(data.chunks, sizes, strict=True)]
        made = data.map_blocks(reduced, sizes, chosen, chunks=chunks, dtype=data.dtype.newbyteorder("="))
        return xr.Variable(variable.dims, made)

    return _remade(image, lambda volume: coarsened(volume, factors, func, boundary), by_dask)


def _remade(
    image: xr.DataArray, change: Callable[[Volume], Volume], by_dask: Callable[[xr.Variable], xr.Variable]
) -> xr.DataArray:
    """What a change of lazy arrays makes of an image: read through where it shows a source, else left to Dask.

    Values in memory stay in memory. The reference grid is kept: positions are exact in its steps.
    """
    image = whole(image)
    data, given = image.variable._data, to_volume(image)
    before, volume = given.properties, change(given)
    if is_dask(data) and viewed(data) is None:
        made = by_dask(image.variable)
        out = xr.DataArray(made._data, dims=image.dims)
    else:
        out = to_dataarray(volume, chunks="auto" if is_dask(data) else None)
        if not is_dask(data) and unwrapped(data) is None:
            out = out.copy(data=out.values)
    encoding = dict(out.encoding)
    out = xr.DataArray(out.variable, name=image.name)
    others = {n: c for n, c in image.coords.items() if n not in AXES and not set(c.dims) & set(AXES)}
    out = out.assign_coords(others)
    out.attrs = {k: v for k, v in image.attrs.items() if k not in keys.GEOMETRY_KEYS and k not in before}
    out.attrs.update(volume.properties)
    if volume.grid is not None:
        out.attrs.update(_reference(image, volume))
        out = out.assign_coords(spatial_coordinates(keys.decode(keys.encode(volume.grid)[0], out.attrs)))
    out.encoding = encoding
    return out


def _reference(image: xr.DataArray, volume: Volume) -> dict[str, Any]:
    """Attributes of the grid that positions are steps of: that of the image before, unless a frame has its own."""
    assert volume.grid is not None
    out = keys.encode(volume.grid)[1]
    if volume.poses is not None or keys.POSES not in image.attrs:
        out.update({k: v for k, v in image.attrs.items() if k in keys.GEOMETRY_KEYS})
    if volume.poses is not None:
        out[keys.POSES] = keys.encode_poses(volume.poses)
    return out
