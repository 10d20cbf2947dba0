"""Streaming writer of Zarr stores: one group that is OME-Zarr 0.5 (or 0.4), plain xarray, and lossless.

Layout, with ``scaleK/`` only for pyramids::

    zarr.json            attributes: ome, chunkimg, coordinates = "nifti" (0.4: .zattrs, multiscales for ome)
    image, x, y, z, t, c one array per coordinate; or all of them in scale0/, scale1/, …
    nifti                header bytes of a NIfTI source (as in NIfTI-Zarr), dimension nifti_byte

Chunks are written first, metadata when all voxels are there. A local store is built under a temporary name and renamed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

import chunkimg.metadata as metadata

from ..chunks import StorePlan, explicit_chunks, level_factors, plan_store
from ..errors import FormatError, UnsupportedError
from ..geometry import Grid
from ..geometry import attrs as keys
from ..geometry.attrs import NIFTI_HEADER
from ..lazy import LazyArray
from ..ops.downsample import METHODS, CoarsenedArray
from ..volume import TimeAxis, Volume
from . import codecs, ome
from .format import WriteOptions
from .zarr_array import ZarrArray
from .zarr_dest import destination
from .zarr_fill import fill
from .zarr_names import ROOT_KEY
from .zarr_nodes import Nodes, spec_of
from .zarr_plan import LevelPlan, WritePlan, identity
from .zarr_put import Store
from .zarr_resume import recorded

__all__ = ["plan_of", "write"]

#: headers up to this size stand in the attributes too
_SMALL_HEADER = 64 << 10


def write(volume: Volume, dest: Any, options: WriteOptions) -> None:
    """Write an image to a local folder, a URL, or a Zarr store."""
    image = _Image.of(volume, dest, options)
    plan = image.plan()
    with destination(dest, image.volume, options) as store:
        image.write(store, plan)


def plan_of(volume: Volume, dest: Any, options: WriteOptions) -> WritePlan:
    """What `write` would do; nothing is written."""
    return _Image.of(volume, dest, options).plan()


class _Image:
    """An image as it is written: its plan, and its metadata, which wait in memory until all voxels are there."""

    def __init__(self, volume: Volume, options: WriteOptions) -> None:
        self.volume, self.options = volume, options
        self.version = options.ome_version or "0.5"
        self.zarr_format: Literal[2, 3] = 2 if self.version == "0.4" else 3
        self.labels = metadata.is_label(volume.properties)
        self.method = options.downsample or ("mode" if self.labels or volume.data.dtype.kind == "b" else "mean")
        self.factors = level_factors(volume.dims, volume.data.shape, _spacing(volume.grid)) if options.pyramid else []

    @classmethod
    def of(cls, volume: Volume, dest: Any, options: WriteOptions) -> _Image:
        """The image, if it can be written so."""
        for name, of in (("version", "NIfTI"), ("gzip_level", "NIfTI and NRRD"), ("encoding", "NRRD")):
            if getattr(options, name) is not None:
                raise FormatError(f"{name}= is for {of} files, {dest} is a Zarr store")
        if not options.gzip_table:
            raise FormatError(f"gzip_table= is for NIfTI and NRRD files, {dest} is a Zarr store")
        if options.downsample not in (None, *METHODS):
            raise FormatError(f"downsample is {options.downsample!r}; expected one of {', '.join(METHODS)}")
        if options.ome_version not in (None, *ome.VERSIONS):
            known = " and ".join(ome.VERSIONS)
            raise FormatError(f"{dest}: ome_version is {options.ome_version!r}; {known} are written")
        dtype = volume.data.dtype
        if dtype.kind not in "biufc" or dtype.itemsize > (16 if dtype.kind == "c" else 8):
            raise UnsupportedError(f"{dest}: Zarr readers do not share a type for {dtype}; convert the image first")
        if volume.scaling is not None and dtype.kind == "c":
            # CF scaling is for real numbers: xarray would drop the imaginary part
            volume = replace(volume, data=volume.values, scaling=None)
        return cls(volume, options)

    def plan(self) -> WritePlan:
        """What is written where, and in which steps."""
        source: LazyArray = self.volume.data
        planned = []
        for k, (_, grid, _times) in enumerate(self._levels()):
            step = [self.factors[k - 1].get(d, 1) if k else 1 for d in self.volume.dims]
            if k:
                source = CoarsenedArray(source, step, self.method)
            chunks = self._chunks(source, grid)
            compressor = codecs.compressor(self.options.codec, source.dtype, self.labels)
            spec = spec_of(self.zarr_format, source.shape, source.dtype, chunks.chunks, chunks.shards, compressor)
            planned.append(LevelPlan.of(self._path(k, "image"), spec, step, source, self.options.budget))
        told = identity(self.volume.data, self._attributes())
        return WritePlan(told, self.volume.dims, self.method, self.options.budget, tuple(planned))

    def write(self, store: Store, plan: WritePlan) -> None:
        """Write everything, metadata last."""
        nodes = Nodes(store, self.zarr_format)
        levels = self._levels()
        if self.options.progress is not None:
            self.options.progress.start(sum(_nbytes(self.volume, n) for n, _, _ in levels))
        with recorded(store, plan, self.options.resume):
            nodes.group("", self._root_attributes(levels))
            for k, (level, (_, grid, times)) in enumerate(zip(plan.levels, levels, strict=True)):
                if self.options.pyramid:
                    nodes.group(f"scale{k}", {})
                nodes.array(level.path, level.spec, self.volume.dims, self._array_attributes())
                for name, (values, attrs) in self._coordinates(level.spec.shape, grid, times).items():
                    nodes.small(self._path(k, name), values, (name,) if np.ndim(values) else (), attrs)
            header = self.volume.headers.get(NIFTI_HEADER)
            if header is not None:
                nodes.small("nifti", np.frombuffer(header, np.uint8), ("nifti_byte",), {})
            done = store.has if self.options.resume else None
            fill(plan, self.volume.data, store, lambda level: _stored(nodes, level), self.options.progress, done)
            nodes.commit()

    def _path(self, level: int, name: str) -> str:
        return f"scale{level}/{name}" if self.options.pyramid else name

    # ------------------------------------------------------------------ what there is to write

    def _levels(self) -> list[tuple[tuple[int, ...], Grid | None, TimeAxis | None]]:
        volume = self.volume
        shape, grid = volume.data.shape, volume.grid
        out = [(shape, grid, volume.times)]
        for step in self.factors:
            shape = tuple(n // step.get(d, 1) for d, n in zip(volume.dims, shape, strict=True))
            grid = None if grid is None else grid.coarsen(**step)
            out.append((shape, grid, volume.times))
        return out

    def _root_attributes(
        self, levels: Sequence[tuple[tuple[int, ...], Grid | None, TimeAxis | None]]
    ) -> dict[str, Any]:
        described = [(self._path(k, "image"), grid, times) for k, (_, grid, times) in enumerate(levels)]
        volume = self.volume
        root: dict[str, Any] = {
            **ome.metadata(described, volume, self.method if len(levels) > 1 else None, self.version),
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

    def _array_attributes(self) -> dict[str, Any]:
        attributes = self._attributes()
        if self.volume.time is not None:
            # a scalar is a coordinate to xarray only where it is named so
            attributes["coordinates"] = "t"
        if self.volume.scaling is not None:
            attributes.update(scale_factor=self.volume.scaling.slope, add_offset=self.volume.scaling.inter)
        return attributes

    def _chunks(self, source: LazyArray, grid: Grid | None) -> StorePlan:
        asked = None if self.options.chunks is None else explicit_chunks(self.options.chunks, self.volume.dims)
        plan = plan_store(
            self.volume.dims,
            source.shape,
            source.dtype.itemsize,
            _spacing(grid),
            chunks=asked,
            front_to_back=source.front_to_back,
            budget=self.options.budget,
        )
        return plan if self.zarr_format == 3 else replace(plan, shards=None)

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


def _stored(nodes: Nodes, level: LevelPlan) -> LazyArray:
    return ZarrArray(nodes.reopened(level.path, level.spec))


def _spacing(grid: Grid | None) -> dict[str, float]:
    return {} if grid is None else dict(zip(("x", "y", "z"), grid.spacing, strict=True))


def _nbytes(volume: Volume, shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=object)) * volume.data.dtype.itemsize
