"""OME-Zarr and plain Zarr stores."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

import chunkimg.metadata as metadata

from ..errors import FormatError, UnsupportedError
from ..geometry import Grid
from ..geometry import attrs as keys
from ..geometry.attrs import NIFTI_HEADER
from ..geometry.grid import AXES
from ..lazy import Scaling
from ..volume import DIMS, TimeAxis, Volume
from . import ome
from .format import Header, ReadOptions, WriteOptions
from .zarr_array import ZarrArray, decoding
from .zarr_write import ROOT_KEY, write

__all__ = ["ZarrFormat", "level_count"]


class ZarrFormat:
    """Zarr stores: folders, URLs, and `zarr.abc.store.Store` objects."""

    name = "zarr"

    def sniff(self, source: Any) -> bool:
        """Whether a folder holds Zarr metadata."""
        path = os.fspath(source)
        return any(os.path.exists(os.path.join(path, name)) for name in ("zarr.json", ".zgroup", ".zarray", ".zattrs"))

    def read_header(self, source: Any, options: ReadOptions) -> Header:
        """Geometry, attributes and layout of the finest level."""
        group = _open_group(source, options.storage_options)
        with decoding(source):
            volume = _volume(group, 0, source)
        array = _array(group, 0, source)
        fields = {
            "zarr_format": array.metadata.zarr_format,
            "levels": ome.paths(dict(group.attrs)),
            "chunks": list(array.chunks),
            "shards": None if array.shards is None else list(array.shards),
            "codecs": [type(c).__name__ for c in array.compressors],
        }
        return Header.of(volume, "Zarr", np.dtype(array.dtype).str, fields)

    def open(self, source: Any, options: ReadOptions) -> Volume:
        """Open one resolution level lazily."""
        with decoding(source):
            return _volume(_open_group(source, options.storage_options), options.level, source)

    def write(self, volume: Volume, dest: Any, options: WriteOptions) -> None:
        """Stream to a store."""
        write(volume, dest, options)


def level_count(source: Any, storage_options: Mapping[str, Any] | None = None) -> int:
    """Number of resolution levels of a store."""
    return len(ome.paths(dict(_open_group(source, storage_options).attrs)))


def _open_group(source: Any, storage_options: Mapping[str, Any] | None) -> Any:
    import zarr

    options = dict(storage_options) if storage_options else None
    where = os.fspath(source) if isinstance(source, os.PathLike) else source
    try:
        return zarr.open_group(where, mode="r", storage_options=options)
    except FileNotFoundError as error:
        raise FormatError(
            f"{source}: no Zarr group is here: there is no zarr.json (v3) or .zgroup (v2); was its write interrupted?"
        ) from error
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise FormatError(f"{source}: no Zarr group can be opened here: {error}") from error


def _array(group: Any, level: int, source: Any) -> Any:
    import zarr

    paths = ome.paths(dict(group.attrs))
    if not paths:
        raise UnsupportedError(
            f"{source}: the Zarr group declares no OME multiscales image; its attributes are {sorted(group.attrs)}"
        )
    if not -len(paths) <= level < len(paths):
        raise FormatError(f"{source}: has {len(paths)} resolution levels, level {level} was asked for")
    try:
        array = group[paths[level]]
    except KeyError:
        raise FormatError(f"{source}: level {level} is declared at {paths[level]!r}, where there is no array") from None
    if not isinstance(array, zarr.Array):
        raise FormatError(f"{source}: level {level} is declared at {paths[level]!r}, which is no array")
    return array


def _volume(group: Any, level: int, source: Any) -> Volume:
    array = _array(group, level, source)
    root = dict(group.attrs)
    attrs = dict(array.attrs)
    if keys.RANK not in attrs and isinstance(root.get(ROOT_KEY), Mapping):
        # another tool rewrote the array and dropped its attributes
        attrs = {**root[ROOT_KEY].get("attrs", {}), **attrs}
    dims = _dims(array, source)
    parent = group[array.path.rpartition("/")[0]] if "/" in array.path else group
    spatial = _spatial(parent)
    times = _times(parent, dims, array.shape)
    scaling = _scaling(attrs)
    headers = metadata.headers_of(attrs)
    if NIFTI_HEADER in headers or "nifti" in group:
        headers.update(_nifti_header(group))
    time = _time(parent, dims)
    grid, poses = _grid(spatial, attrs), None
    if grid is not None:
        grid, poses = metadata.posed(grid, attrs, times.values if times is not None else time)
    return Volume(
        data=ZarrArray(array),
        dims=dims,
        grid=grid,
        times=times,
        time=time,
        scaling=scaling,
        properties=metadata.properties_of(attrs),
        rank=metadata.rank_of(attrs),
        headers=headers,
        poses=poses,
        channels=dict(parent["c"].attrs) if "c" in dims and "c" in parent else {},
        source=str(source),
    )


def _dims(array: Any, source: Any) -> tuple[str, ...]:
    dims = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    if not dims or tuple(dims) != tuple(d for d in DIMS if d in dims) or not {"z", "y", "x"} <= set(dims):
        raise UnsupportedError(
            f"{source}: the array {array.path!r} has dimensions {dims}; {', '.join(DIMS)} in this order are expected "
            "(t and c optional)"
        )
    return tuple(dims)


def _spatial(parent: Any) -> dict[str, keys.Coordinate]:
    return {a: (np.asarray(parent[a][...], np.float64), dict(parent[a].attrs)) for a in AXES if a in parent}


def _grid(spatial: Mapping[str, keys.Coordinate], attrs: Mapping[str, Any]) -> Grid | None:
    if not any(keys.DIRECTION in attributes for _, attributes in spatial.values()):
        # what an image of unusable geometry is stored with
        return None
    return keys.decode(spatial, attrs)


def _times(parent: Any, dims: tuple[str, ...], shape: tuple[int, ...]) -> TimeAxis | None:
    if "t" not in dims:
        return None
    if "t" in parent:
        return metadata.time_axis(parent["t"][...], dict(parent["t"].attrs))
    return TimeAxis(tuple(float(k) for k in range(shape[dims.index("t")])), "unknown", None)


def _time(parent: Any, dims: tuple[str, ...]) -> float | None:
    if "t" in dims or "t" not in parent or parent["t"].ndim:
        return None
    return float(parent["t"][()])


def _scaling(attrs: Mapping[str, Any]) -> Scaling | None:
    slope, inter = attrs.get("scale_factor", 1.0), attrs.get("add_offset", 0.0)
    return None if (slope, inter) == (1.0, 0.0) else Scaling(float(slope), float(inter))


def _nifti_header(group: Any) -> dict[str, bytes]:
    if "nifti" not in group:
        return {}
    return {NIFTI_HEADER: bytes(np.asarray(group["nifti"][...], np.uint8))}


FORMAT = ZarrFormat()
