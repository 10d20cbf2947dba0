"""Streaming writer of Zarr stores: one group that is OME-Zarr 0.5, plain xarray, and lossless.

Layout, with ``scaleK/`` only for pyramids::

    zarr.json            attributes: ome, chunkimg, coordinates = "nifti"
    image, x, y, z, t, c one array per coordinate; or all of them in scale0/, scale1/, …
    nifti                header bytes of a NIfTI source (as in NIfTI-Zarr), dimension nifti_byte

Chunks are written first; every ``zarr.json`` is kept in memory until all voxels are there and then written bottom-up,
the root last. A local store is built under a temporary name and renamed.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

import chunkimg.metadata as metadata

from ..chunks import StorePlan, block_shape, explicit_chunks, level_factors, plan_store, regions, slab_bytes
from ..errors import FormatError, UnsupportedError
from ..geometry import Grid
from ..geometry import attrs as keys
from ..geometry.attrs import NIFTI_HEADER, strict_json
from ..lazy import LazyArray, Region
from ..ops.downsample import METHODS, CoarsenedArray
from ..volume import TimeAxis, Volume
from . import codecs, ome
from .commit import check_destination, partial_directory
from .copy import copy
from .format import WriteOptions
from .zarr_array import ZarrArray

__all__ = ["ROOT_KEY", "write"]

#: root attribute that repeats geometry and properties: other tools drop attributes of arrays
ROOT_KEY = "chunkimg"
#: headers up to this size stand in the attributes too
_SMALL_HEADER = 64 << 10


def write(volume: Volume, dest: Any, options: WriteOptions) -> None:
    """Write an image to a local folder, a URL, or a Zarr store."""
    for name in ("version", "gzip_level"):
        if getattr(options, name) is not None:
            raise FormatError(f"{name}= is for NIfTI files, {dest} is a Zarr store")
    if options.downsample not in (None, *METHODS):
        raise FormatError(f"downsample is {options.downsample!r}; expected one of {', '.join(METHODS)}")
    dtype = volume.data.dtype
    if dtype.kind not in "biufc" or dtype.itemsize > (16 if dtype.kind == "c" else 8):
        raise UnsupportedError(f"{dest}: Zarr readers do not share a type for {dtype}; convert the image first")
    if volume.scaling is not None and dtype.kind == "c":
        # CF scaling is for real numbers: xarray would drop the imaginary part
        volume = replace(volume, data=volume.values, scaling=None)
    with _destination(dest, volume, options) as store:
        _StoreWriter(store, volume, options).run()


@contextmanager
def _destination(dest: Any, volume: Volume, options: WriteOptions) -> Iterator[Any]:
    """The store to write to; a local folder appears under its name when all is done."""
    from zarr.abc.store import Store
    from zarr.core.sync import sync
    from zarr.storage import FsspecStore, LocalStore

    local = _local_path(dest)
    if local is not None:
        _refuse_source(volume, local)
        path = check_destination(local, options.overwrite)
        _check_replaceable(path)
        with partial_directory(path, options.overwrite) as folder:
            yield LocalStore(folder)
        return
    store = dest
    if isinstance(dest, (str, os.PathLike)):
        store = FsspecStore.from_url(os.fspath(dest), storage_options=dict(options.storage_options or {}))
    if not isinstance(store, Store):
        raise FormatError(f"a Zarr destination is a path, a URL or a zarr Store; found {dest!r}")
    sync(store._ensure_open())
    _refuse_source(volume, store)
    _clear(store, options.overwrite)
    yield store


def _local_path(dest: Any) -> str | None:
    """The path of a destination on this machine, however it was given."""
    from zarr.storage import LocalStore

    if isinstance(dest, LocalStore):
        return str(dest.root)
    if not isinstance(dest, (str, os.PathLike)):
        return None
    path = os.fspath(dest)
    if path.startswith("file://"):
        return path.removeprefix("file://")
    return None if "://" in path else path


def _refuse_source(volume: Volume, dest: Any) -> None:
    """Refuse to overwrite a store that the image is still to be read from."""
    from zarr.storage import LocalStore, MemoryStore

    for leaf in volume.data.leaves():
        if not isinstance(leaf, ZarrArray):
            continue
        source = leaf.array.store_path.store
        if isinstance(source, LocalStore):
            same = isinstance(dest, str) and os.path.realpath(source.root) == os.path.realpath(dest)
        elif isinstance(source, MemoryStore):
            same = isinstance(dest, MemoryStore) and source._store_dict is dest._store_dict
        else:
            # file systems make new wrappers for every store: class and path are what stays
            same = not isinstance(dest, str) and (source is dest or str(source) == str(dest))
        if same:
            raise FormatError(
                f"{dest}: the image is read from this store, which cannot be replaced meanwhile; choose another name"
            )


def _check_replaceable(path: Any) -> None:
    """Refuse to replace a folder that is no Zarr store."""
    known = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
    if path.is_dir() and any(path.iterdir()) and not any((path / name).exists() for name in known):
        raise FileExistsError(f"{path} is a folder with other things than a Zarr store in it, and is not replaced")


def _clear(store: Any, overwrite: bool) -> None:
    """Refuse or empty a store that holds something; its root metadata goes first."""
    from zarr.core.sync import sync

    if sync(store.is_empty("")):
        return
    if not overwrite:
        raise FileExistsError(f"{store} is not empty; give overwrite=True (--overwrite) to replace its content")
    sync(store.delete("zarr.json"))
    sync(store.clear())


class _StoreWriter:
    """One write: the plan, the nodes whose metadata waits in memory, and the voxels."""

    def __init__(self, store: Any, volume: Volume, options: WriteOptions) -> None:
        from zarr.storage import MemoryStore

        self.store, self.volume, self.options = store, volume, options
        self.waiting: dict[str, Any] = {}
        self.nodes = MemoryStore(store_dict=self.waiting)
        self.labels = metadata.is_label(volume.properties)
        self.method = options.downsample or ("mode" if self.labels or volume.data.dtype.kind == "b" else "mean")

    def run(self) -> None:
        """Write everything, metadata last."""
        factors = self._factors()
        nested = self.options.pyramid
        levels = self._levels(factors)
        self._group("", self._root_attributes(levels, nested))
        if self.options.progress is not None:
            self.options.progress.start(sum(_nbytes(self.volume, n) for n, _, _ in levels))
        source: LazyArray = self.volume.data
        for k, (shape, grid, times) in enumerate(levels):
            group = f"scale{k}" if nested else ""
            if nested:
                self._group(group, {})
            if k:
                step = [factors[k - 1].get(d, 1) for d in self.volume.dims]
                source = CoarsenedArray(source, step, self.method)
            source = self._image(group, source, shape, grid, times)
        header = self.volume.headers.get(NIFTI_HEADER)
        if header is not None:
            self._small("nifti", np.frombuffer(header, np.uint8), ("nifti_byte",), {})
        self._commit()

    # ------------------------------------------------------------------ what there is to write

    def _factors(self) -> list[dict[str, int]]:
        if not self.options.pyramid:
            return []
        volume = self.volume
        return level_factors(volume.dims, volume.data.shape, _spacing(volume.grid))

    def _levels(self, factors: list[dict[str, int]]) -> list[tuple[tuple[int, ...], Grid | None, TimeAxis | None]]:
        volume = self.volume
        shape, grid = volume.data.shape, volume.grid
        out = [(shape, grid, volume.times)]
        for step in factors:
            shape = tuple(n // step.get(d, 1) for d, n in zip(volume.dims, shape, strict=True))
            grid = None if grid is None else grid.coarsen(**step)
            out.append((shape, grid, volume.times))
        return out

    def _root_attributes(
        self, levels: Sequence[tuple[tuple[int, ...], Grid | None, TimeAxis | None]], nested: bool
    ) -> dict[str, Any]:
        described = [
            (f"scale{k}/image" if nested else "image", grid, times) for k, (_, grid, times) in enumerate(levels)
        ]
        volume = self.volume
        root: dict[str, Any] = {
            "ome": ome.multiscales(described, volume, self.method if len(levels) > 1 else None),
            ROOT_KEY: {"version": 1, "attrs": self._attributes()},
        }
        if volume.grid is not None:
            root[ROOT_KEY]["units"] = volume.grid.units
        if NIFTI_HEADER in volume.headers:
            # hides the header array from xarray's data variables
            root["coordinates"] = "nifti"
        return root

    def _attributes(self) -> dict[str, Any]:
        volume = self.volume
        small = {k: v for k, v in volume.headers.items() if len(v) <= _SMALL_HEADER}
        return metadata.join(replace(volume, headers=small))

    # ------------------------------------------------------------------ nodes

    def _group(self, path: str, attributes: Mapping[str, Any]) -> None:
        import zarr

        zarr.create_group(self.nodes, path=path, zarr_format=3, attributes=strict_json(attributes))

    def _array(
        self,
        path: str,
        shape: Sequence[int],
        dtype: np.dtype[Any],
        dims: Sequence[str],
        attributes: Mapping[str, Any],
        plan: StorePlan,
        compressor: Any,
    ) -> Any:
        """An array that writes its chunks to the store while its metadata waits."""
        import zarr
        from zarr.storage import StorePath

        node = zarr.create_array(
            self.nodes,
            name=path,
            shape=tuple(shape),
            dtype=dtype.newbyteorder("="),
            chunks=plan.chunks,
            shards=plan.shards,
            compressors=compressor,
            fill_value=0,
            dimension_names=tuple(dims),
            attributes=strict_json(attributes),
            zarr_format=3,
        )
        return zarr.Array(zarr.AsyncArray(node.metadata, StorePath(self.store, path)))

    def _small(self, path: str, values: Any, dims: tuple[str, ...], attributes: Mapping[str, Any]) -> None:
        array = self._array(path, values.shape, values.dtype, dims, attributes, StorePlan(values.shape), None)
        array[...] = values

    def _image(
        self, group: str, source: LazyArray, shape: tuple[int, ...], grid: Grid | None, times: TimeAxis | None
    ) -> LazyArray:
        """Write the image and the coordinates of one level; what is returned reads them back."""
        volume, prefix = self.volume, f"{group}/" if group else ""
        plan = self._plan(source, shape, grid)
        attributes = self._attributes()
        if volume.time is not None:
            # a scalar is a coordinate to xarray only where it is named so
            attributes["coordinates"] = "t"
        if volume.scaling is not None:
            attributes.update(scale_factor=volume.scaling.slope, add_offset=volume.scaling.inter)
        codec = codecs.compressor(self.options.codec, source.dtype, self.labels)
        array = self._array(f"{prefix}image", shape, source.dtype, volume.dims, attributes, plan, codec)
        for name, (values, attrs) in self._coordinates(shape, grid, times).items():
            self._small(prefix + name, values, (name,) if values.ndim else (), attrs)

        def store(region: Region, block: Any) -> None:
            array[tuple(slice(r.start, r.stop) for r in region)] = block

        copy(source, store, self._slabs(source, plan), self.options.progress)
        return ZarrArray(array)

    def _plan(self, source: LazyArray, shape: tuple[int, ...], grid: Grid | None) -> StorePlan:
        asked = None if self.options.chunks is None else explicit_chunks(self.options.chunks, self.volume.dims)
        return plan_store(
            self.volume.dims,
            shape,
            source.dtype.itemsize,
            _spacing(grid),
            chunks=asked,
            front_to_back=source.front_to_back,
            budget=self.options.budget,
        )

    def _slabs(self, source: LazyArray, plan: StorePlan) -> Iterator[Region]:
        sequential = source.front_to_back and source.file_order is not None
        order = source.file_order
        block = block_shape(
            source.shape,
            source.dtype.itemsize,
            unit=plan.unit,
            order=order,
            front_to_back=sequential,
            target=slab_bytes(self.options.budget),
        )
        return regions(source.shape, block, order)

    def _coordinates(
        self, shape: tuple[int, ...], grid: Grid | None, times: TimeAxis | None
    ) -> dict[str, tuple[Any, dict[str, Any]]]:
        volume = self.volume
        sizes = dict(zip(volume.dims, shape, strict=True))
        out: dict[str, tuple[Any, dict[str, Any]]] = {}
        if grid is not None:
            out.update(keys.encode(grid)[0])
        else:
            out.update({d: (np.arange(sizes[d], dtype=np.float64), {}) for d in ("x", "y", "z")})
        if times is not None:
            out["t"] = np.asarray(times.values, dtype=np.float64), metadata.time_attrs(times)
        elif volume.time is not None:
            out["t"] = np.asarray(volume.time), {keys.UNITS: "s"}
        if "c" in sizes:
            out["c"] = np.arange(sizes["c"], dtype=np.int64), dict(volume.channels)
        return out

    # ------------------------------------------------------------------ commit

    def _commit(self) -> None:
        """Write all metadata bottom-up, the root last; only then does anything open."""
        import zarr
        from zarr.core.sync import sync

        with warnings.catch_warnings():
            # zarr warns that consolidated metadata is no part of the v3 specification; readers ignore it or use it
            warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
            zarr.consolidate_metadata(self.nodes, zarr_format=3)
        for key in sorted(self.waiting, key=lambda k: (-k.count("/"), k)):
            sync(self.store.set(key, self.waiting[key]))


def _spacing(grid: Grid | None) -> dict[str, float]:
    return {} if grid is None else dict(zip(("x", "y", "z"), grid.spacing, strict=True))


def _nbytes(volume: Volume, shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=object)) * volume.data.dtype.itemsize
