"""A Zarr array as a lazy array."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ChunkImgError, FormatError, UnsupportedError
from ..lazy import Block, LazyArray, Region, ViewArray
from ..volume import DIMS
from .zarr_folder import FolderArray
from .zarr_read import read_region

__all__ = ["ZarrArray", "arranged", "decoding"]

#: packages that bring codecs, by the beginning of the codec's name
_CODEC_PACKAGES = {"imagecodecs": "imagecodecs", "zfpy": "zfpy", "pcodec": "pcodec"}
_CHANNELS = (("r", "g", "b"), ("r", "g", "b", "a"))


@contextmanager
def decoding(place: Any) -> Iterator[None]:
    """Turn what zarr and its codecs raise about damaged chunks and metadata into `FormatError`."""
    try:
        yield
    except (OSError, MemoryError, ChunkImgError):
        raise
    except Exception as error:
        if type(error).__name__ == "UnknownCodecError":
            text = str(error)
            package = next((p for name, p in _CODEC_PACKAGES.items() if name in text), None)
            way = f"; install the package {package!r} and register its codecs" if package else ""
            raise UnsupportedError(f"{place}: is compressed by a codec that is not installed: {text}{way}") from error
        raise FormatError(f"{place}: cannot be read, it is damaged or not reachable: {error}") from error


class ZarrArray(LazyArray):
    """Voxels of a Zarr array (v2 or v3, any store), read in its own axis order.

    Voxels of RGB(A) records (as in NIfTI-Zarr) have their samples along a last axis.

    Parameters
    ----------
    array : zarr.Array or FolderArray
        The opened array; it pickles as its metadata and its store. Of one in a local folder chunks are read by
        `zarr_read`, of others by zarr-python.

    Raises
    ------
    UnsupportedError
        If its type is none of voxels.
    """

    def __init__(self, array: Any) -> None:
        self.array = array
        stored = np.dtype(array.dtype)
        samples = _samples(stored)
        kind = np.dtype("u1") if samples else stored
        if kind.kind not in "biufc" or kind.itemsize > (16 if kind.kind == "c" else 8):
            raise UnsupportedError(
                f"{array.store_path}: holds {stored}; voxels are numbers of at most 64 bits (or RGB)"
            )
        self.samples = samples
        self.dtype = kind.newbyteorder("=")
        more = (samples,) if samples else ()
        self.shape = (*array.shape, *more)
        self.chunks = (*(max(1, min(c, n)) for c, n in zip(array.chunks, array.shape, strict=True)), *more)
        self.file_order = tuple(range(len(self.shape)))
        # a store that answers late wants to be asked for much at once
        self.piecewise = isinstance(array, FolderArray)

    def _read(self, region: Region) -> Block:
        region, last = (region[:-1], region[-1:]) if self.samples else (region, ())
        # chunks that a stride steps over are not read
        if isinstance(self.array, FolderArray):
            self.array.require_same()
            block = read_region(self.array.store_path, self.array.spec, region)
            self.array.require_same()
            return block
        with decoding(self.array.store_path):
            block = np.asarray(self.array[tuple(slice(r.start, r.stop, r.step) for r in region)])
        if self.samples:
            block = np.ascontiguousarray(block)[..., None].view("u1")[..., last[0].start : last[0].stop : last[0].step]
        return block.astype(self.dtype, copy=False)

    def __dask_tokenize__(self) -> Any:
        if isinstance(self.array, FolderArray):
            stored = json.dumps(self.array.document, sort_keys=True)
            return ("chunkimg-zarr", self.array.store_path, stored, os.stat(self.array.document_name).st_mtime_ns)
        store = self.array.store_path.store
        stored = json.dumps(self.array.metadata.to_dict(), sort_keys=True, default=str)
        root = getattr(store, "root", None)
        # of a zip file
        source = getattr(store, "source", None)
        changed = None if source is None else source.token()
        if isinstance(root, Path):
            for name in ("zarr.json", ".zarray"):
                document = root / self.array.path / name
                if document.exists():
                    changed = document.stat().st_mtime_ns
        return ("chunkimg-zarr", str(self.array.store_path), stored, changed)


def _samples(dtype: np.dtype[Any]) -> int:
    """Samples of an RGB(A) record of single bytes, or 0."""
    names = dtype.names or ()
    bytes_only = all(dtype[name] == np.dtype("u1") for name in names)
    return len(names) if bytes_only and tuple(n.lower() for n in names) in _CHANNELS else 0


def arranged(data: LazyArray, names: Sequence[str | None]) -> tuple[LazyArray, tuple[str, ...]]:
    """An array with its axes in the order of images, z, y, x always there; and its dims.

    Parameters
    ----------
    data : LazyArray
        The array as it is stored.
    names : sequence of (str or None)
        Dim of each of its axes; None for one of size 1 that is left out. Axes beyond these are channels.
    """
    full = (*names, *["c"] * (data.ndim - len(names)))
    if full.count("c") > 1:
        raise UnsupportedError("both the voxels and an axis of this image are channels; an image has one channel axis")
    dims = tuple(d for d in DIMS if d in full or d in ("z", "y", "x"))
    if full == dims:
        return data, dims
    picks = [range(n) for n in data.shape]
    return ViewArray(data, picks, [full.index(d) if d in full else None for d in dims]), dims
