"""Groups and arrays of a store that is being written: chunks go to the store, metadata waits in memory.

Every metadata document is kept until all voxels are there and then written bottom-up, the root last: only then does
anything open.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ..chunks import StorePlan
from ..geometry.attrs import strict_json

__all__ = ["Nodes"]


class Nodes:
    """The nodes of a store.

    Parameters
    ----------
    store : zarr.abc.store.Store
        Where chunks go at once, and metadata in the end.
    zarr_format : 2 or 3
        Version of Zarr.
    """

    def __init__(self, store: Any, zarr_format: Literal[2, 3]) -> None:
        from zarr.storage import MemoryStore

        self.store, self.zarr_format = store, zarr_format
        self._waiting: dict[str, Any] = {}
        self._memory = MemoryStore(store_dict=self._waiting)

    def group(self, path: str, attributes: Mapping[str, Any]) -> None:
        """A group."""
        import zarr

        zarr.create_group(self._memory, path=path, zarr_format=self.zarr_format, attributes=strict_json(attributes))

    def array(
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

        if self.zarr_format == 3:
            special: dict[str, Any] = {"dimension_names": tuple(dims), "shards": plan.shards, "fill_value": 0}
            config: Any = None
        else:
            attributes = {**attributes, "_ARRAY_DIMENSIONS": list(dims)}
            # xarray takes the fill value of v2 for missing data: there is none, and every chunk is written
            special = {"fill_value": None, "chunk_key_encoding": {"name": "v2", "separator": "/"}}
            config = {"write_empty_chunks": True}
        node = zarr.create_array(
            self._memory,
            name=path,
            shape=tuple(shape),
            dtype=dtype.newbyteorder("="),
            chunks=plan.chunks,
            compressors=compressor,
            attributes=strict_json(attributes),
            zarr_format=self.zarr_format,
            config=config,
            **special,
        )
        return zarr.Array(zarr.AsyncArray(node.metadata, StorePath(self.store, path), config))

    def small(self, path: str, values: Any, dims: tuple[str, ...], attributes: Mapping[str, Any]) -> None:
        """An array of one chunk, with its values."""
        array = self.array(path, values.shape, values.dtype, dims, attributes, StorePlan(values.shape), None)
        array[...] = values

    def commit(self) -> None:
        """Write all metadata, the innermost first, the root last."""
        import zarr
        from zarr.core.sync import sync

        with warnings.catch_warnings():
            # zarr warns that consolidated metadata is no part of the v3 specification; readers ignore it or use it
            warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
            zarr.consolidate_metadata(self._memory, zarr_format=self.zarr_format)
        for key in sorted(self._waiting, key=_order):
            sync(self.store.set(key, self._waiting[key]))


def _order(key: str) -> tuple[int, bool, str]:
    """Inner documents first; within a node that which makes it one comes last."""
    return -key.count("/"), key.rpartition("/")[2] in ("zarr.json", ".zgroup", ".zarray"), key
