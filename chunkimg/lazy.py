"""Lazy arrays: stateless, picklable, read by region.

A `LazyArray` names where voxels are stored and how they are laid out, and nothing else: no open file, no cache. Every
read opens, seeks, reads and closes. Dask blocks, the copying engine and interop all read through :meth:`_read`, whose
regions are ``range`` objects with positive steps, one per axis, so that formats never see NumPy's indexing rules.
"""

from __future__ import annotations

import itertools
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .access import Access

__all__ = ["Block", "LazyArray", "Reader", "Region", "ScaledArray", "Scaling", "ViewArray", "as_range", "full_region"]

Block = NDArray[Any]
#: one range with a positive step per axis
Region = tuple[range, ...]
Reader = Callable[[Region], Block]


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

    def leaves(self) -> Iterator[LazyArray]:
        """The arrays that values finally come from."""
        yield self

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """A function that reads regions, cheapest when they are asked for in file order, front to back.

        Leaving the context normally asserts that the source was sound as far as it was read.
        """
        yield self._read

    def __getitem__(self, key: Any) -> Block:
        picks, post = normalize_key(key, self.shape)
        if any(len(p) == 0 for p in picks):
            empty: Block = np.empty([len(p) for p in picks], self.dtype)[post]
            return empty
        block: Block = _gather(self._read, picks)[post]
        return block

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Block:
        if copy is False:
            raise ValueError("a lazy array is read from its source: a copy cannot be avoided")
        out = self._read(full_region(self.shape))
        return out if dtype is None else out.astype(dtype, copy=False)

    @abstractmethod
    def __dask_tokenize__(self) -> Any:
        """What identifies the content, equal in every process."""


def full_region(shape: Sequence[int]) -> Region:
    """The region that is everything."""
    return tuple(range(n) for n in shape)


def normalize_key(key: Any, shape: tuple[int, ...]) -> tuple[list[Sequence[int]], tuple[Any, ...]]:
    """An index as the indices picked along each axis, and the index that then drops axes.

    Integers, slices, an ellipsis, and one list or 1-D array (which Dask hands down) are understood.

    Raises
    ------
    IndexError
        For an index out of range, too many indices, or anything else.
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    dots = [n for n, k in enumerate(parts) if k is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    missing = len(shape) - (len(parts) - len(dots))
    if missing < 0:
        raise IndexError(f"too many indices: the array has {len(shape)} axes, {len(parts) - len(dots)} were indexed")
    at = dots[0] if dots else len(parts)
    parts[at : at + len(dots)] = [slice(None)] * missing
    if sum(isinstance(k, (list, np.ndarray)) and np.ndim(k) > 0 for k in parts) > 1:
        raise IndexError("lazy arrays take one list of indices at a time")
    picks = [_picked(n, k) for n, k in zip(shape, parts, strict=True)]
    return [[p] if isinstance(p, int) else p for p in picks], tuple(
        0 if isinstance(p, int) else slice(None) for p in picks
    )


def _picked(n: int, key: Any) -> int | Sequence[int]:
    """Indices that one part of a key picks of n, or the one index of an integer."""
    if isinstance(key, slice):
        return range(n)[key]
    if isinstance(key, (list, np.ndarray)) and np.ndim(key) == 1:
        indices = np.asarray(key)
        if indices.dtype == np.bool_ and len(indices) == n:
            indices = np.flatnonzero(indices)
        if indices.size and indices.dtype.kind not in "iu":
            raise IndexError(f"indices are integers, found {indices.dtype}")
        return as_range([_inside(n, int(i)) for i in indices])
    try:
        return _inside(n, operator.index(key))
    except TypeError:
        raise IndexError(f"lazy arrays take integers, slices, a list and an ellipsis, found {key!r}") from None


def _inside(n: int, index: int) -> int:
    if not -n <= index < n:
        raise IndexError(f"index {index} is out of bounds for an axis of size {n}")
    return index % n


@dataclass(frozen=True)
class Scaling:
    """Stored values to image values: ``value = slope * stored + inter``.

    Values are computed in float64 and rounded once: to float32 for integers of at most 16 bits and float32, else
    float64. For complex numbers real and imaginary parts are scaled alike (``nifti1.h``, "DATA SCALING").
    """

    slope: float
    inter: float

    def dtype(self, stored: np.dtype[Any]) -> np.dtype[Any]:
        """Type of image values for a stored type."""
        if stored.kind == "c":
            return stored
        if stored.kind == "f":
            return np.dtype("f8") if stored.itemsize > 4 else np.dtype("f4")
        return np.dtype("f4") if stored.itemsize <= 2 else np.dtype("f8")

    def apply(self, stored: Block) -> Block:
        """Image values of a block of stored values."""
        out = np.empty(stored.shape, self.dtype(stored.dtype))
        inter = self.inter * (1 + 1j) if stored.dtype.kind == "c" else self.inter
        wide = np.dtype("c16") if stored.dtype.kind == "c" else np.dtype("f8")
        # plane by plane, so that the float64 intermediate stays in the cache
        flat_in = stored.reshape(-1) if stored.flags.c_contiguous else np.ascontiguousarray(stored).reshape(-1)
        flat_out = out.reshape(-1)
        step = 1 << 16
        for at in range(0, flat_in.size, step):
            part = np.multiply(flat_in[at : at + step], self.slope, dtype=wide)
            part += inter
            flat_out[at : at + step] = part
        return out


class _View(LazyArray):
    """A lazy array that shows another one."""

    def __init__(self, source: LazyArray) -> None:
        self.source = source
        self.front_to_back = source.front_to_back

    @property
    def access(self) -> Access:
        """That of the source."""
        return self.source.access

    def leaves(self) -> Iterator[LazyArray]:
        """Those of the source."""
        return self.source.leaves()

    def _through(self, read: Reader, region: Region) -> Block:
        raise NotImplementedError

    def _read(self, region: Region) -> Block:
        return self._through(self.source._read, region)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Reads through the source's reader."""
        with self.source.reader() as read:
            yield lambda region: self._through(read, region)


class ScaledArray(_View):
    """Image values of stored values."""

    def __init__(self, source: LazyArray, scaling: Scaling) -> None:
        super().__init__(source)
        self.scaling = scaling
        self.shape, self.dtype = source.shape, scaling.dtype(source.dtype)
        self.file_order, self.chunks = source.file_order, source.chunks

    def _through(self, read: Reader, region: Region) -> Block:
        return self.scaling.apply(read(region))

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-scaled", self.source.__dask_tokenize__(), self.scaling.slope, self.scaling.inter)


class ViewArray(_View):
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
        forwards = all(isinstance(p, range) and p.step > 0 for p in self.picks)
        # read against the grain, a sequential source has no front-to-back order
        if source.file_order is not None and forwards:
            shown = [self.axes.index(a) for a in source.file_order if a in self.axes]
            self.file_order = (*(k for k, a in enumerate(self.axes) if a is None), *shown)

    def _through(self, read: Reader, region: Region) -> Block:
        picks: list[Sequence[int]] = list(self.picks)
        for axis, part in zip(self.axes, region, strict=True):
            if axis is not None:
                picks[axis] = picks[axis][part.start : part.stop : part.step]
        block = _gather(read, picks)
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


def _gather(read: Reader, picks: list[Sequence[int]]) -> Block:
    """Read the outer product of picks; what is no range is read index by index."""
    picks = [p if isinstance(p, range) else as_range(p) for p in picks]
    for axis, p in enumerate(picks):
        if not isinstance(p, range):
            parts = [_gather(read, [*picks[:axis], range(i, i + 1), *picks[axis + 1 :]]) for i in p]
            return np.concatenate(parts, axis=axis)
    ranges = [p for p in picks if isinstance(p, range)]
    ahead = tuple(p[::-1] if p.step < 0 else p for p in ranges)
    return read(ahead)[tuple(slice(None, None, -1) if p.step < 0 else slice(None) for p in ranges)]


def as_range(indices: Sequence[int]) -> Sequence[int]:
    """The same indices as a range where they are one."""
    if len(indices) == 0:
        return range(0)
    if len(indices) == 1:
        return range(indices[0], indices[0] + 1)
    step = indices[1] - indices[0]
    if step == 0 or any(b - a != step for a, b in itertools.pairwise(indices)):
        return tuple(indices)
    return range(indices[0], indices[-1] + (1 if step > 0 else -1), step)
