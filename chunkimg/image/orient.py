"""Images whose axes are reversed or renamed, by moves that xarray makes lazily, with Dask and without."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import xarray as xr

import chunkimg.metadata as metadata

from ..align import turned_properties
from ..geometry import AXES
from ..geometry import attrs as keys
from ..ops.orient import axis_order, spatial_dims
from ..volume import DIMS
from .build import grid_of, raw_grid_of, spatial_coordinates, whole

__all__ = ["flip", "reorient"]


def flip(image: xr.DataArray, dims: str | Sequence[str]) -> xr.DataArray:
    """The voxels in reversed order along some axes; see `SpacePart.flip`."""
    names = [d for d in spatial_dims(dims) if d in image.dims]
    out = image.isel({d: slice(None, None, -1) for d in names})
    out.attrs = _turned_attrs(image, {a: a for a in AXES}, names)
    return out


def reorient(image: xr.DataArray, codes: str) -> xr.DataArray:
    """The image with x, y, z along given body directions; see `SpacePart.reorient`."""
    image = whole(image)
    take, backwards = axis_order(grid_of(image), codes)
    order = [take[a] for a in AXES]
    turned = raw_grid_of(image).crop(**{d: slice(None, None, -1) for d in backwards}).permute(order)
    attrs = _turned_attrs(image, take, backwards)
    # the numbers of the reference are only turned, so that turning back is exact
    attrs.update(keys.turned(image.attrs, backwards, order) or keys.encode(turned)[1])
    turned = keys.decode(keys.encode(turned)[0], attrs)
    out = image.isel({d: slice(None, None, -1) for d in backwards}).drop_vars(AXES)
    out = out.rename({old: new for new, old in take.items() if new != old})
    out = out.transpose(*[d for d in DIMS if d in out.dims]).assign_coords(spatial_coordinates(turned))
    source = {str(d): take.get(str(d), str(d)) for d in out.dims}
    out.attrs = attrs
    out.encoding = dict(image.encoding)
    planned = out.encoding.pop("preferred_chunks", None)
    if planned is not None:
        out.encoding["preferred_chunks"] = {new: planned[old] for new, old in source.items() if old in planned}
    return out


def _turned_attrs(image: xr.DataArray, take: Mapping[str, str], backwards: Collection[str]) -> dict[Any, Any]:
    if not backwards and all(a == b for a, b in take.items()):
        return dict(image.attrs)
    properties = metadata.properties_of(image.attrs)
    sizes = {str(d): n for d, n in image.sizes.items()}
    others = {k: v for k, v in image.attrs.items() if k not in properties}
    return {**others, **turned_properties(properties, take, backwards, sizes)}
