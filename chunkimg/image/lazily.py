"""Images without Dask: lazy arrays inside xarray's own lazy indexing, and what of them an xarray wrapper shows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from xarray.backends import BackendArray
from xarray.core import indexing

from ..indexing import Block, picked
from ..lazy import LazyArray, ScaledArray, ViewArray

__all__ = ["IndexedArray", "below_scaling", "indexed_lazily", "unwrapped"]

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
            return self.array.take_points(key.tuple)
        return self.array.take_outer(key.tuple)

    async def async_getitem(self, key: indexing.ExplicitIndexer) -> Block:
        """The same, without blocking (`load_async`)."""
        return await asyncio.to_thread(self.__getitem__, key)

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-indexed", self.array.__dask_tokenize__())


class _Indexed(indexing.LazilyIndexedArray):
    """xarray's lazy indexing, that stays a grid when it is transposed (xarray makes points of it, one per voxel)."""

    __slots__ = ()

    def transpose(self, order: Sequence[int]) -> Any:
        """A view with its axes in another order."""
        shown = unwrapped(self)
        assert shown is not None
        everything = [range(n) for n in shown.shape]
        return type(self)(IndexedArray(below_scaling(shown, lambda array: ViewArray(array, everything, order))))


def indexed_lazily(array: LazyArray) -> Any:
    """Data of a variable that is read when its values are asked for, each time anew; assigning to it makes a copy."""
    lazy: Any = _Indexed(IndexedArray(array))
    return indexing.CopyOnWriteArray(lazy)


def unwrapped(data: Any) -> LazyArray | None:
    """The lazy array that `data` shows, with what xarray's lazy indexing made of it; None if it is anything else."""
    if isinstance(data, LazyArray):
        return data
    if isinstance(data, IndexedArray):
        return data.array
    if isinstance(data, _WRAPPERS):
        return unwrapped(data.array)
    if isinstance(data, indexing.LazilyIndexedArray):
        source = unwrapped(data.array)
        return None if source is None else _view(source, data.key)
    return None


def _view(array: LazyArray, key: indexing.ExplicitIndexer) -> LazyArray:
    """The view that a key of independent indices makes of an array."""
    picks = [picked(n, k) for n, k in zip(array.shape, key.tuple, strict=True)]
    if picks == [range(n) for n in array.shape]:
        return array
    lists = [[p] if isinstance(p, int) else p for p in picks]
    axes = [a for a, p in enumerate(picks) if not isinstance(p, int)]
    return below_scaling(array, lambda source: ViewArray(source, lists, axes))


def below_scaling(array: LazyArray, view: Callable[[LazyArray], LazyArray]) -> LazyArray:
    """A view whose scaling is still its outermost part, so that its stored values can be told from it."""
    return ScaledArray(view(array.source), array.scaling) if isinstance(array, ScaledArray) else view(array)
