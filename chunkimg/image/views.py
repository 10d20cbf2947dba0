"""Which opened file a Dask array shows, if all it does is move voxels.

An image that was opened and then cropped, flipped, strided, transposed or re-chunked still holds the voxels of its
source. Such a view is written from the source itself: stored integers stay as they are, byte for byte, and no Dask
scheduler stands between the files.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from ..lazy import Block, LazyArray, Region, ViewArray, as_range
from .lazily import unwrapped

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["MOVES", "OPENED", "is_dask", "viewed"]

#: prefix of the name of every Dask array that chunkimg makes of a lazy array
OPENED = "open-image"
#: what Dask puts before the name of an array for the layer that holds its source
_ORIGINAL = "original-"
#: Dask layers that move voxels and never change them
MOVES = frozenset({"getitem", "transpose", "rechunk-split", "rechunk-merge", "rechunk"})


def is_dask(data: Any) -> TypeGuard[da.Array]:
    """Whether data is a Dask array; Dask is not imported to tell."""
    module = sys.modules.get("dask.array")
    return module is not None and isinstance(data, getattr(module, "Array", ()))


class _Index(LazyArray):
    """Reads as the index along one axis: what a graph does to it tells where its voxels come from."""

    def __init__(self, shape: tuple[int, ...], axis: int) -> None:
        self.shape, self.dtype, self.axis = shape, np.dtype(np.int64), axis

    def _read(self, region: Region) -> Block:
        line = np.asarray(region[self.axis], dtype=np.int64)
        line = line.reshape([-1 if k == self.axis else 1 for k in range(self.ndim)])
        return np.broadcast_to(line, [len(r) for r in region])

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-index", self.shape, self.axis)


class _Noise(LazyArray):
    """Reads as noise, the same for every reader: what is more than a move of voxels shows on it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.dtype = shape, np.dtype(np.int16)

    def _read(self, region: Region) -> Block:
        out = np.zeros([len(r) for r in region], np.int16)
        for axis, r in enumerate(region):
            # Knuth's multiplicative hash of the index, another one for each axis
            line = (np.asarray(r, dtype=np.uint64) + np.uint64(977 * axis + 1)) * np.uint64(2654435761 + 2 * axis)
            line = ((line >> np.uint64(13)) & np.uint64(0xFFFF)).astype(np.uint16).view(np.int16)
            out ^= line.reshape([-1 if k == axis else 1 for k in range(self.ndim)])
        return out

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-noise", self.shape)


def viewed(data: Any) -> tuple[LazyArray, Callable[[LazyArray], LazyArray]] | None:
    """The lazy array that `data` shows, and a function that makes the same view of another of that shape.

    None if `data` is not a Dask array, has other sources, or computes anything.
    """
    if not is_dask(data):
        return None
    from dask.utils import key_split

    originals = [layer for layer in data.dask.layers if str(layer).startswith(_ORIGINAL)]
    if len(originals) != 1:
        return None
    opened = originals[0].removeprefix(_ORIGINAL)
    if not all(layer in (originals[0], opened) or key_split(layer) in MOVES for layer in data.dask.layers):
        return None
    graph = dict(data.dask)
    leaf = unwrapped(getattr(graph.get(originals[0]), "value", graph.get(originals[0])))
    if leaf is None:
        return None
    if data.name == opened:
        return leaf, lambda array: array
    if 0 in data.shape:
        return None
    traced = _trace(data, graph, originals[0], leaf)
    if traced is None:
        return None
    picks, axes = traced
    return leaf, lambda array: ViewArray(array, picks, axes)


def _trace(
    data: da.Array, graph: dict[Any, Any], original: str, leaf: LazyArray
) -> tuple[list[Any], list[int | None]] | None:
    """Follow each axis of the leaf through the graph: which axis of `data` shows it, and which of its indices.

    Moves act on each axis by itself, so lines along the axes tell all. That nothing but moves is at work is verified
    on noise, at both ends: the names of Dask's layers, which users can give to layers of their own, prove nothing.
    """
    lines = [_line(data.ndim, j, at) for j in range(data.ndim) for at in (0, -1)]
    try:
        followed = [_moved(data, graph, original, _Index(leaf.shape, axis), lines) for axis in range(leaf.ndim)]
        noise = _Noise(leaf.shape)
        noisy = _moved(data, graph, original, noise, lines)
    except Exception:
        # whatever this graph is, it is more than moves: then it is computed, with its own errors where it has any
        return None
    picks: list[Any] = []
    axes: list[int | None] = [None] * data.ndim
    for axis, traced in enumerate(followed):
        varying = [j for j in range(data.ndim) if np.any(traced[2 * j] != traced[2 * j][:1])]
        indices = traced[2 * varying[0]] if varying else _fixed(data, graph, original, leaf, axis)
        if len(varying) > 1 or np.any(indices < 0) or np.any(indices >= leaf.shape[axis]):
            return None
        if varying:
            axes[varying[0]] = axis
        picks.append(as_range(indices.tolist()))
    _assign_singletons(data.shape, leaf.ndim, axes)
    if any(axis is None and n > 1 for axis, n in zip(axes, data.shape, strict=True)):
        # one index repeated: which axis it is of cannot be told
        return None
    view = ViewArray(noise, picks, axes)
    same = all(np.array_equal(view[line], found) for line, found in zip(lines, noisy, strict=True))
    return (picks, axes) if same else None


def _line(ndim: int, along: int, at: int) -> tuple[Any, ...]:
    return tuple(slice(None) if k == along else at for k in range(ndim))


def _moved(
    data: da.Array, graph: dict[Any, Any], original: str, probe: LazyArray, lines: list[tuple[Any, ...]]
) -> list[Block]:
    """What the graph makes of another array in the place of its leaf, on some lines."""
    import dask.array as da
    from dask.base import compute

    moved = da.Array({**graph, original: probe}, data.name, data.chunks, dtype=probe.dtype)
    # the keys are those of the real image: never let a shared scheduler see them
    return list(compute(*(moved[line] for line in lines), scheduler="synchronous"))


def _fixed(data: da.Array, graph: dict[Any, Any], original: str, leaf: LazyArray, axis: int) -> Block:
    """The one index of an axis that is shown everywhere."""
    return np.atleast_1d(_moved(data, graph, original, _Index(leaf.shape, axis), [(0,) * data.ndim])[0])


def _assign_singletons(shape: tuple[int, ...], ndim: int, axes: list[int | None]) -> None:
    """Axes of size 1 show the source axes that are left, in order, where their numbers agree."""
    free = [a for a in range(ndim) if a not in axes]
    open_ = [j for j, a in enumerate(axes) if a is None]
    if len(free) == len(open_) and all(shape[j] == 1 for j in open_):
        for j, a in zip(open_, free, strict=True):
            axes[j] = a
