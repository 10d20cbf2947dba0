"""Images without Dask: lazy arrays inside xarray's own lazy indexing, and what of them an xarray wrapper shows."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from ..indexing import Block, broadcast, independent, picked, varying
from ..lazy import LazyArray, ScaledArray, ViewArray

__all__ = ["IndexedArray", "indexed_lazily", "unwrapped"]

#: what xarray puts around an array without changing what it shows
_WRAPPERS = (
    indexing.CopyOnWriteArray,
    indexing.MemoryCachedArray,
    indexing.ImplicitToExplicitIndexingAdapter,
)


class IndexedArray(BackendArray):
    """A lazy array as xarray's lazy indexing asks for it: basic, outer and pointwise."""

    __slots__ = ("array", "dtype", "shape")

    def __init__(self, array: LazyArray) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Block:
        if isinstance(key, indexing.VectorizedIndexer):
            return self.array.points(key.tuple)
        return self.array.outer(key.tuple)

    async def async_getitem(self, key: indexing.ExplicitIndexer) -> Block:
        """The same, without blocking (`load_async`)."""
        return await asyncio.to_thread(self.__getitem__, key)

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-indexed", self.array.__dask_tokenize__())


def indexed_lazily(array: LazyArray) -> Any:
    """Data of a variable that is read when its values are asked for, each time anew; assigning to it makes a copy."""
    lazy: Any = indexing.LazilyIndexedArray(IndexedArray(array))
    return indexing.CopyOnWriteArray(lazy)


def unwrapped(data: Any) -> LazyArray | None:
    """The lazy array that `data` shows, with what xarray's lazy indexing made of it; None if it shows anything else."""
    if isinstance(data, LazyArray):
        return data
    if isinstance(data, IndexedArray):
        return data.array
    if isinstance(data, _WRAPPERS):
        return unwrapped(data.array)
    if isinstance(data, (indexing.LazilyIndexedArray, indexing.LazilyVectorizedIndexedArray)):
        source = unwrapped(data.array)
        return None if source is None else _view(source, data.key)
    return None


def _view(array: LazyArray, key: indexing.ExplicitIndexer) -> LazyArray | None:
    """The view that a key makes of an array, below its scaling; None for points that are no grid."""
    if isinstance(array, ScaledArray):
        stored = _view(array.source, key)
        return None if stored is None else ScaledArray(stored, array.scaling)
    if isinstance(key, indexing.VectorizedIndexer):
        return _grid_of_points(array, key.tuple)
    picks = [picked(n, k) for n, k in zip(array.shape, key.tuple, strict=True)]
    axes = [a for a, p in enumerate(picks) if not isinstance(p, int)]
    if [range(n) for n in array.shape] == picks:
        return array
    return ViewArray(array, [[p] if isinstance(p, int) else p for p in picks], axes)


def _grid_of_points(array: LazyArray, key: tuple[Any, ...]) -> LazyArray | None:
    """What transposing makes of lazily indexed data: points, but each axis runs along one dimension."""
    shape, indices = broadcast(array.shape, key)
    along = [varying(i) for i in indices]
    if not all(independent(indices)) or any(len(a) > 1 for a in along):
        return None
    axes: list[int | None] = [None] * len(shape)
    for axis, dims in enumerate(along):
        for dim in dims:
            axes[dim] = axis
    return ViewArray(array, [np.atleast_1d(i.reshape(-1)).tolist() for i in indices], axes)
