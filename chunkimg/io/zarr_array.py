"""A Zarr array as a lazy array."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ChunkImgError, FormatError
from ..lazy import Block, LazyArray, Region

__all__ = ["ZarrArray", "decoding"]


@contextmanager
def decoding(place: Any) -> Iterator[None]:
    """Turn what zarr and its codecs raise about damaged chunks and metadata into `FormatError`."""
    try:
        yield
    except (OSError, MemoryError, ChunkImgError):
        raise
    except Exception as error:
        raise FormatError(f"{place}: cannot be read, it is damaged or not reachable: {error}") from error


class ZarrArray(LazyArray):
    """Voxels of a Zarr array (v2 or v3, any store), read in its own axis order.

    Parameters
    ----------
    array : zarr.Array
        The opened array; it pickles as its metadata and its store.
    """

    def __init__(self, array: Any) -> None:
        self.array = array
        self.shape = tuple(array.shape)
        self.dtype = np.dtype(array.dtype).newbyteorder("=")
        self.chunks = tuple(array.chunks)
        self.file_order = tuple(range(len(self.shape)))

    def _read(self, region: Region) -> Block:
        # chunks that a stride steps over are not read
        with decoding(self.array.store_path):
            block = self.array[tuple(slice(r.start, r.stop, r.step) for r in region)]
        return np.asarray(block).astype(self.dtype, copy=False)

    def __dask_tokenize__(self) -> Any:
        place = str(self.array.store_path)
        stored = json.dumps(self.array.metadata.to_dict(), sort_keys=True, default=str)
        root = getattr(self.array.store_path.store, "root", None)
        changed = None
        if isinstance(root, Path):
            for name in ("zarr.json", ".zarray"):
                document = root / self.array.path / name
                if document.exists():
                    changed = document.stat().st_mtime_ns
        return ("chunkimg-zarr", place, stored, changed)
