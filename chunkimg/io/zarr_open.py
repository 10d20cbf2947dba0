"""Opening OME-Zarr, NIfTI-Zarr and plain xarray stores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

import chunkimg.metadata as metadata

from ..errors import FormatError
from ..geometry import attrs as keys
from ..geometry.attrs import NIFTI_HEADER
from ..labelling import image_label_of
from ..scaling import Scaling
from ..volume import TimeAxis, Volume
from . import nifti_zarr, zarr_layout, zarr_store
from .format import MAX_AXIS, Header, ReadOptions
from .ome_read import channels_of, dims_of, metadata_of
from .zarr_array import ZarrArray, arranged, decoding
from .zarr_grid import ome_grid, own_grid, plain_grid, spatial_arrays, unpacked
from .zarr_layout import Found
from .zarr_names import ROOT_KEY

__all__ = ["header_of", "level_count", "opened"]

#: attributes of an array that its readers act upon
_OF_XARRAY = frozenset({"_ARRAY_DIMENSIONS", "coordinates"})


def header_of(source: Any, options: ReadOptions) -> Header:
    """Geometry, attributes and layout of the finest level."""
    found = zarr_layout.find(source, 0, options.storage_options)
    array = found.array
    with decoding(source):
        fields = {
            "zarr_format": zarr_store.version_of(array),
            "ome_version": None if found.image is None else found.image.version,
            "levels": list(found.paths),
            "labels": zarr_layout.label_names(found),
            "chunks": list(array.chunks),
            "shards": None if array.shards is None else list(array.shards),
            "codecs": zarr_store.codec_names(array),
        }
        return Header.of(_volume(found, source), "Zarr", np.dtype(array.dtype).str, fields)


def opened(source: Any, options: ReadOptions) -> Volume:
    """One resolution level, lazily."""
    found = zarr_layout.find(source, options.level, options.storage_options)
    with decoding(source):
        return _volume(found, source)


def level_count(source: Any, storage_options: Mapping[str, Any] | None = None) -> int:
    """Number of resolution levels of a store."""
    return len(zarr_layout.find(source, 0, storage_options).paths)


def _volume(found: Found, source: Any) -> Volume:
    root = {} if found.root is None else dict(found.root.attrs)
    repeated = root.get(ROOT_KEY)
    ours = repeated if isinstance(repeated, Mapping) else {}
    attrs = _attributes(found, ours)
    names = dims_of(zarr_layout.axes_of(found, source), found.array.shape, source)
    data, dims = arranged(ZarrArray(found.array), names)
    sizes = dict(zip(dims, data.shape, strict=True))
    _check_sizes(sizes, source)
    parent = found.parent
    times = _times(found, names, parent, sizes)
    volume = Volume(
        data=data,
        dims=dims,
        grid=None,
        times=times,
        time=_time(parent) if times is None else None,
        scaling=_scaling(attrs, data.dtype, source),
        properties=_properties(found, root, attrs),
        rank=metadata.rank_of({keys.RANK: sum(name is not None for name in names), **attrs}),
        headers=metadata.headers_of(attrs),
        channels=_channels(parent, root, sizes),
        source=str(source),
    )
    return _placed(volume, found, ours, attrs, names)


def _attributes(found: Found, ours: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of the image; where another tool rewrote the array without them, those that the root repeats."""
    attrs = {k: v for k, v in dict(found.array.attrs).items() if k not in _OF_XARRAY}
    repeated = ours.get("attrs")
    if keys.RANK not in attrs and isinstance(repeated, Mapping):
        return {**repeated, **attrs}
    return attrs


def _check_sizes(sizes: Mapping[str, int], source: Any) -> None:
    if min(sizes.values()) < 1 or max(sizes.values()) > MAX_AXIS:
        raise FormatError(f"{source}: sizes {dict(sizes)}; an image has 1 to {MAX_AXIS} voxels along each axis")


# ---------------------------------------------------------------------------------------------- position


def _placed(volume: Volume, found: Found, ours: Mapping[str, Any], attrs: Mapping[str, Any], names: Any) -> Volume:
    """The volume where it lies, by the first of the sources of `zarr_grid` that says so."""
    sizes, where = volume.sizes, volume.source
    shape = (sizes["x"], sizes["y"], sizes["z"])
    levels = None if found.image is None else (found.image.levels[0], found.image.levels[found.level])
    spatial = spatial_arrays(found.parent, sizes, zarr_store.child)
    units = ours.get("units")
    grid = own_grid(spatial, attrs, str(units) if units else None, shape, levels, names)
    header = None if found.root is None else zarr_store.child(found.root, "nifti")
    raw = None if not hasattr(header, "dtype") else nifti_zarr.header_bytes(header, where)
    if grid is not None or ours:
        # ours; without a grid if the position of its source was unusable
        if raw is not None:
            volume = replace(volume, headers={**volume.headers, NIFTI_HEADER: raw})
        if grid is None:
            return volume
        times = volume.times.values if volume.times is not None else volume.time
        grid, poses = metadata.posed(grid, attrs, times)
        return replace(volume, grid=grid, poses=poses)
    if raw is not None:
        return nifti_zarr.described(volume, raw, levels, names, where)
    if found.image is not None:
        return replace(volume, grid=ome_grid(found.image, found.level, names, shape, where))
    return replace(volume, grid=plain_grid(spatial, sizes, where))


def _times(found: Found, names: Any, parent: Any, sizes: Mapping[str, int]) -> TimeAxis | None:
    """Times: of the coordinate t, or by OME-Zarr, or frame numbers."""
    if "t" not in sizes:
        return None
    for name in ("t", "time"):
        stored = _numbers(parent, name, (sizes["t"],))
        if stored is not None:
            return metadata.time_axis(*stored)
    level = None if found.image is None else found.image.levels[found.level]
    if level is None or level.scale is None or level.start is None or found.image is None:
        return TimeAxis(tuple(float(k) for k in range(sizes["t"])), "unknown", None)
    at = names.index("t")
    step, start, unit = level.scale[at], level.start[at], found.image.axes[at].unit
    values = [start + step * k for k in range(sizes["t"])]
    if unit is None and (step, start) == (1.0, 0.0):
        return TimeAxis(tuple(values), "unknown", None)
    return metadata.time_axis(values, {keys.UNITS: unit, keys.SPACING: step})


def _time(parent: Any) -> float | None:
    """When a single frame without axis t was taken."""
    stored = _numbers(parent, "t", ())
    return None if stored is None else metadata.time_axis(*stored).values[0]


def _numbers(parent: Any, name: str, shape: tuple[int, ...]) -> tuple[Any, dict[str, Any]] | None:
    """Values and attributes of an array of numbers of a shape, or None where there is no such."""
    array = None if parent is None else zarr_store.child(parent, name)
    if array is None or getattr(array, "shape", None) != shape or array.dtype.kind not in "iuf":
        return None
    values, attributes = unpacked(array)
    if isinstance(attributes.get(keys.UNITS), str):
        # of a date, as CF has it, what has passed since
        attributes[keys.UNITS] = attributes[keys.UNITS].partition(" since ")[0]
    return values, attributes


# ---------------------------------------------------------------------------------------------- values, metadata


def _scaling(attrs: Mapping[str, Any], dtype: np.dtype[Any], source: Any) -> Scaling | None:
    slope, inter = attrs.get("scale_factor", 1.0), attrs.get("add_offset", 0.0)
    numbers = [v for v in (slope, inter) if isinstance(v, (int, float)) and math.isfinite(v)]
    if len(numbers) < 2 or slope == 0:
        raise FormatError(f"{source}: scale_factor {slope!r:.40} and add_offset {inter!r:.40} are no scaling of values")
    if (slope, inter) == (1.0, 0.0):
        return None
    if dtype.kind == "c":
        raise FormatError(f"{source}: scale_factor and add_offset have no meaning for complex numbers")
    return Scaling(float(slope), float(inter))


def _properties(found: Found, root: Mapping[str, Any], attrs: Mapping[str, Any]) -> dict[str, Any]:
    out = metadata.properties_of(attrs)
    if found.label:
        if not metadata.is_label(out):
            # where a code of NIfTI says so, nothing is added
            out[keys.LABEL] = True
        stated = metadata_of(root).get(keys.IMAGE_LABEL)
        if isinstance(stated, Mapping) and _unversioned(stated) != _unversioned(image_label_of(out)):
            out[keys.IMAGE_LABEL] = dict(stated)
    return out


def _unversioned(stated: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of labels; `ome.metadata` writes nothing else."""
    return {k: v for k, v in stated.items() if k != "version"}


def _channels(parent: Any, root: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
    """Attributes of the coordinate c, and what OMERO knows of channels."""
    if "c" not in sizes:
        return {}
    stored = None if parent is None else zarr_store.child(parent, "c")
    own = {k: v for k, v in dict(getattr(stored, "attrs", {})).items() if k not in _OF_XARRAY}
    return {**channels_of(root, sizes["c"]), **own}
