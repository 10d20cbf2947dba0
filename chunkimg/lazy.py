"""Lazy arrays: stateless, picklable, read by region.

A `LazyArray` names where voxels are stored and how they are laid out, and nothing else: no open file, no cache. Every
read opens, seeks, reads and closes. Dask blocks, the copying engine and interop all read through :meth:`_read`, whose
regions are ``range`` objects with positive steps, one per axis, so that formats never see NumPy's indexing rules.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import DTypeLike

import chunkimg.gather as gather

from .access import Access
from .indexing import (
    Block,
    Indices,
    Reader,
    Region,
    arranged,
    as_range,
    broadcast,
    full_region,
    independent,
    normalize_key,
    picked,
    varying,
)
from .scaling import Scaling

__all__ = [
    "Block",
    "Derived",
    "LazyArray",
    "Lender",
    "PassThrough",
    "Reader",
    "Region",
    "ScaledArray",
    "ViewArray",
    "as_range",
    "full_region",
]


#: what `LazyArray.borrowed` is
Lender = Callable[[Region], AbstractContextManager[Block]]

#: bytes of a sequential source that are decoded at once where they are shown backwards
_TURNED = 16 << 20


class LazyArray(ABC):
    """An n-dimensional array whose values are read on demand.

    Subclasses set `shape` and `dtype` (native byte order) and implement `_read`; they are immutable and picklable.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    #: whether one pass in file order is far cheaper than regions here and there: conversions then make one
    front_to_back: bool = False
    #: axes from slowest to fastest in the source; the order in which a front-to-back reader must ask
    file_order: tuple[int, ...] | None = None
    #: block shape that the source stores as one piece, if any
    chunks: tuple[int, ...] | None = None
    #: whether many threads may as well read small regions, of whole chunks if there are any
    piecewise: bool = False

    @property
    def held(self) -> int:
        """Bytes per element that are alive while a region is read."""
        return self.dtype.itemsize

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=object))

    @property
    def nbytes(self) -> int:
        """Uncompressed bytes."""
        return self.size * self.dtype.itemsize

    @property
    def access(self) -> Access:
        """What a region costs, now: it may become cheaper while the array exists."""
        what = "its own bytes" if self.chunks is None else "the stored chunks that it touches"
        return Access("random", f"a region costs {what}")

    @abstractmethod
    def _read(self, region: Region) -> Block:
        """Values of a region, in this array's dtype and axis order."""

    def prepare(self) -> None:
        """Do what is done once, before many threads read."""
        return

    @contextmanager
    def borrowed(self, region: Region) -> Iterator[Block]:
        """Values of a region that are to be looked at only within the context: a copy may be saved."""
        yield self._read(region)

    @property
    def lends(self) -> bool:
        """Whether many threads may ask a `lender` for small regions, of whole chunks if there are any."""
        return self.piecewise

    @contextmanager
    def lender(self) -> Iterator[Lender]:
        """`borrowed` for a pass over the whole array by many threads, where it `lends`."""
        self.prepare()
        yield self.borrowed

    def leaves(self) -> Iterator[LazyArray]:
        """The arrays that values finally come from."""
        yield self

    def task(self, region: Region) -> Any:
        """What Dask computes a region by on its workers, or None where they read it by this object itself."""
        return None

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """A function that reads regions, cheapest when they are asked for in file order, front to back.

        Leaving the context normally asserts that the source was sound as far as it was read.
        """
        yield self._read

    def __getitem__(self, key: Any) -> Block:
        picks, post = normalize_key(key, self.shape)
        block: Block = self._outer(picks)[post]
        return block

    def take_outer(self, key: Sequence[Any]) -> Block:
        """Values at the outer product of indices: one integer, slice, list or 1-D array per axis.

        Unlike in NumPy, several lists are independent of each other. Axes of integers are dropped.
        """
        picks = [picked(n, k) for n, k in zip(self.shape, key, strict=True)]
        block = self._outer([[p] if isinstance(p, int) else p for p in picks])
        found: Block = block[tuple(0 if isinstance(p, int) else slice(None) for p in picks)]
        return found

    def take_points(self, key: Sequence[Any]) -> Block:
        """Values at points: integers and integer arrays, one per axis, are broadcast against each other.

        Axes that are given as slices come last, as in xarray's ``vindex``. Points that lie in one chunk or near each
        other in one row are read together; nothing else is.
        """
        shape, indices = broadcast(self.shape, key)
        if 0 in shape:
            return np.empty(shape, self.dtype)
        alone = independent(indices)
        if all(alone):
            picks = [i.reshape(-1).tolist() for i in indices]
            return arranged(self._outer(picks), [varying(i) for i in indices], shape)
        # axes that are faster than all points and do not depend on them are read as ranges
        tails: dict[int, range] = {}
        for axis in reversed(self.file_order or range(self.ndim)):
            line = as_range(indices[axis].reshape(-1).tolist()) if alone[axis] else None
            if not isinstance(line, range) or line.step < 0:
                break
            tails[axis] = line
        heads = {a: i for a, i in enumerate(indices) if a not in tails}
        full = np.broadcast_shapes(*(i.shape for i in heads.values()))
        at = {a: np.broadcast_to(i, full).reshape(-1) for a, i in heads.items()}
        along = [tuple(d for d, n in enumerate(full) if n > 1), *(varying(indices[a]) for a in sorted(tails))]
        return arranged(self._points(at, tails), along, shape)

    def _outer(self, picks: Sequence[Sequence[int]]) -> Block:
        """Values at the outer product of indices that are not negative."""
        if any(len(p) == 0 for p in picks):
            return np.empty([len(p) for p in picks], self.dtype)
        picks = [as_range(p) for p in picks]
        ranges = all(isinstance(p, range) for p in picks)
        return gather.outer(self, picks, self._read if ranges else None)

    def _points(self, at: Mapping[int, Indices], rest: Mapping[int, range]) -> Block:
        """Values at points of some axes, with ranges of the others; see `gather.points`."""
        return gather.points(self, at, rest)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Block:
        if copy is False:
            raise ValueError("a lazy array is read from its source: a copy cannot be avoided")
        out = self._read(full_region(self.shape))
        return out if dtype is None else out.astype(dtype, copy=False)

    @abstractmethod
    def __dask_tokenize__(self) -> Any:
        """What identifies the content, equal in every process."""


class Derived(LazyArray):
    """A lazy array that is made of another one, its `source`."""

    source: LazyArray

    @property
    def access(self) -> Access:
        """That of the source."""
        return self.source.access

    def leaves(self) -> Iterator[LazyArray]:
        """Those of the source."""
        return self.source.leaves()

    def prepare(self) -> None:
        """That of the source."""
        self.source.prepare()


class PassThrough(Derived):
    """A lazy array each region of which is made of one region of another."""

    def __init__(self, source: LazyArray) -> None:
        self.source = source
        self.front_to_back = source.front_to_back
        self.piecewise = source.piecewise

    def _through(self, read: Reader, region: Region) -> Block:
        raise NotImplementedError

    def _read(self, region: Region) -> Block:
        return self._through(self.source._read, region)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Reads through the source's reader."""
        with self.source.reader() as read:
            yield lambda region: self._through(read, region)


class ScaledArray(PassThrough):
    """Image values of stored values."""

    def __init__(self, source: LazyArray, scaling: Scaling) -> None:
        super().__init__(source)
        self.scaling = scaling
        self.shape, self.dtype = source.shape, scaling.dtype(source.dtype)
        self.file_order, self.chunks = source.file_order, source.chunks

    def _through(self, read: Reader, region: Region) -> Block:
        return self.scaling.apply(read(region))

    @contextmanager
    def borrowed(self, region: Region) -> Iterator[Block]:
        """Scaled from what the source lends."""
        with self.source.borrowed(region) as stored:
            yield self.scaling.apply(stored)

    def _outer(self, picks: Sequence[Sequence[int]]) -> Block:
        return self.scaling.apply(self.source._outer(picks))

    def _points(self, at: Mapping[int, Indices], rest: Mapping[int, range]) -> Block:
        return self.scaling.apply(self.source._points(at, rest))

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-scaled", self.source.__dask_tokenize__(), self.scaling.slope, self.scaling.inter)


class ViewArray(PassThrough):
    """A crop, stride, flip, selection, transposition or expansion of another lazy array, without reading it.

    Parameters
    ----------
    source : LazyArray
        The array shown.
    picks : sequence of (range or sequence of int)
        Per source axis, the indices shown; ranges may run backwards.
    axes : sequence of (int or None), optional
        Per axis of the view, the source axis it shows, or None for a new axis of size 1. Source axes that are not
        shown must have one pick. By default every source axis, in order.
    """

    def __init__(
        self, source: LazyArray, picks: Sequence[Sequence[int]], axes: Sequence[int | None] | None = None
    ) -> None:
        super().__init__(source)
        self.picks = tuple(p if isinstance(p, range) else tuple(p) for p in picks)
        self.axes = tuple(range(source.ndim)) if axes is None else tuple(axes)
        self.shape = tuple(1 if a is None else len(self.picks[a]) for a in self.axes)
        self.dtype = source.dtype
        # what lies backwards along a part of an axis, or in a list, has no chunks at known places
        if source.chunks is not None and all(_is_whole(p, n) for p, n in zip(self.picks, source.shape, strict=True)):
            self.chunks = tuple(1 if a is None else source.chunks[a] for a in self.axes)
            aligned = all(_ahead(p) or len(p) % c == 0 for p, c in zip(self.picks, source.chunks, strict=True))
        else:
            aligned = source.chunks is None
        self.piecewise = source.piecewise and aligned
        self._set_order()

    def _set_order(self) -> None:
        """The order of the source, where regions that follow it are read front to back.

        Rows or planes that are read backwards are, if regions do not cut them.
        """
        order = self.source.file_order
        if order is None or not all(isinstance(p, range) for p in self.picks):
            return
        back = [k for k, a in enumerate(order) if not _ahead(self.picks[a]) and len(self.picks[a]) > 1]
        if back and self.front_to_back:
            whole = set(order[back[0] :])
            if math.prod(len(self.picks[a]) for a in whole) * self.dtype.itemsize > _TURNED:
                return
            least = self.chunks or (1,) * self.ndim
            self.chunks = tuple(n if a in whole else c for a, n, c in zip(self.axes, self.shape, least, strict=True))
        shown = [self.axes.index(a) for a in order if a in self.axes]
        self.file_order = (*(k for k, a in enumerate(self.axes) if a is None), *shown)

    def _through(self, read: Reader, region: Region) -> Block:
        return self._turned(gather.outer(self.source, self._source_picks(region), read))

    def _outer(self, picks: Sequence[Sequence[int]]) -> Block:
        if any(len(p) == 0 for p in picks):
            return super()._outer(picks)
        return self._turned(self.source._outer(self._source_picks(picks)))

    def _points(self, at: Mapping[int, Indices], rest: Mapping[int, range]) -> Block:
        every, shape = gather.fold(at, rest)
        size = len(next(iter(every.values())))
        hidden = {a: np.full(size, p[0]) for a, p in enumerate(self.picks) if a not in self.axes}
        shown = {a: np.asarray(self.picks[a])[every[k]] for k, a in enumerate(self.axes) if a is not None}
        return self.source._points({**hidden, **shown}, {}).reshape(shape)

    def _source_picks(self, picks: Sequence[Sequence[int]]) -> list[Sequence[int]]:
        """Indices of the source, per source axis, for indices of the view."""
        out: list[Sequence[int]] = list(self.picks)
        for axis, p in zip(self.axes, picks, strict=True):
            if axis is not None:
                mine = self.picks[axis]
                out[axis] = mine[p.start : p.stop : p.step] if _ahead(p) else [mine[i] for i in p]
        return out

    def _turned(self, block: Block) -> Block:
        """A block of the source with its axes in the order of the view."""
        order = [a for a in self.axes if a is not None]
        hidden = tuple(0 if a not in order else slice(None) for a in range(self.source.ndim))
        kept = sorted(order)
        block = block[hidden].transpose([kept.index(a) for a in order])
        return block[tuple(None if a is None else slice(None) for a in self.axes)]

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Reads through the source's reader, unless that could not go front to back."""
        if self.file_order is None and self.front_to_back:
            yield self._read
        else:
            with super().reader() as read:
                yield read

    def __dask_tokenize__(self) -> Any:
        picks = [(p.start, p.stop, p.step) if isinstance(p, range) else p for p in self.picks]
        return ("chunkimg-view", self.source.__dask_tokenize__(), picks, self.axes)


def _is_whole(picks: Sequence[int], n: int) -> bool:
    return picks in (range(n), range(n)[::-1])


def _ahead(picks: Sequence[int]) -> TypeGuard[range]:
    return isinstance(picks, range) and picks.step > 0
