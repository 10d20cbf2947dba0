"""Labels of blocks: number, place and values of the voxels of each, and how they are put together.

Labels come in runs along the fastest axis, and what is counted is runs: their sums are exact, and a run costs a few
tens of nanoseconds however long it is. Only intensities are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..lazy import Block, Derived, LazyArray, Reader, Region

__all__ = ["LabelSums", "Repeated", "ValueSums", "added", "label_sums", "merged"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: voxels that are worked on at once
_GROUP = 1 << 18
#: labels whose values lie within this, and a few times as many as there are runs, are looked up in a table
_SPAN = 1 << 16


@dataclass(frozen=True)
class ValueSums:
    """Values in the voxels of labels: number, sum, squared deviations from their mean, range; each of shape (n,).

    NaN is left out. `sum` is of int64 where that is exact.
    """

    count: Ints
    sum: NDArray[Any]
    squares: Floats
    low: Block
    high: Block


@dataclass(frozen=True)
class LabelSums:
    """Labels that occur, ascending, and of each the number of its voxels, and sum and range of their indices.

    Attributes
    ----------
    labels : ndarray, shape (n,)
    voxels : ndarray of int64, shape (n,)
    sums, low, high : ndarray of int64, shape (3, n)
        Along the axes of the array.
    values : ValueSums or None
        Of intensities, where there are any.
    """

    labels: Block
    voxels: Ints
    sums: Ints
    low: Ints
    high: Ints
    values: ValueSums | None = None


def label_sums(
    block: Block, start: Sequence[int], background: int | None, values: Block | None = None, exact: bool = True
) -> LabelSums:
    """Those of a block.

    Parameters
    ----------
    block : ndarray, shape (n0, n1, n2)
        Labels, in any memory order.
    start : sequence of int
        Index of its first voxel in the array.
    background : int or None
        A label that is left out.
    values : ndarray of the same shape, optional
        Intensities.
    exact : bool
        Whether sums of intensities, integers, fit int64.
    """
    # from the slowest in memory to the fastest, along which labels come in runs
    order = sorted(range(3), key=lambda k: -abs(block.strides[k]))
    turned = np.ascontiguousarray(block.transpose(order))
    beside = None if values is None else np.ascontiguousarray(values.transpose(order))
    parts: list[LabelSums] = []
    for part in _groups(turned, beside, background, exact):
        parts = added(parts, [part])
    found = merged(parts)
    back = np.argsort(order)
    first = np.asarray(start, np.int64)[:, None]
    return LabelSums(
        found.labels,
        found.voxels,
        found.sums[back] + first * found.voxels,
        found.low[back] + first,
        found.high[back] + first,
        found.values,
    )


def _groups(block: Block, values: Block | None, background: int | None, exact: bool) -> Iterator[LabelSums]:
    _, middle, length = block.shape
    rows = block.reshape(-1, length)
    beside = None if values is None else values.reshape(-1, length)
    step = max(1, _GROUP // length)
    for at in range(0, len(rows), step):
        runs = _Runs.of(rows[at : at + step], at, middle, background)
        part = None
        if beside is not None:
            part = _values_of(beside[at : at + step].reshape(-1), runs, exact)
        yield runs.sums(part)


@dataclass(frozen=True)
class _Runs:
    """Runs of equal labels in some rows of a block."""

    #: of each run
    length: Ints
    place: tuple[Ints, Ints, Ints]
    #: position of its label in `labels`
    which: NDArray[np.intp]
    #: labels that occur, ascending
    labels: Block
    #: voxels that are not background; None for all
    kept: NDArray[np.bool_] | None

    @classmethod
    def of(cls, rows: Block, first: int, middle: int, background: int | None) -> _Runs:
        """Those of `rows`, of which `middle` make a plane; `first` is the number of the first in the block."""
        flat = rows.reshape(-1)
        ends = np.empty(flat.size, np.bool_)
        np.not_equal(flat[1:], flat[:-1], out=ends[:-1])
        ends[rows.shape[1] - 1 :: rows.shape[1]] = True
        last = np.flatnonzero(ends)
        length = np.diff(last, prepend=-1)
        labels, kept = flat[last], None
        if background is not None and _holds(flat.dtype, background):
            there = labels != flat.dtype.type(background)
            if not there.all():
                last, length, labels = last[there], length[there], labels[there]
                kept = flat != flat.dtype.type(background)
        row = last // rows.shape[1]
        along = last - row * rows.shape[1] - (length - 1)
        row += first
        plane = row // middle
        which, distinct = _numbered(labels)
        return cls(length, (plane, row - plane * middle, along), which, distinct, kept)

    def sums(self, values: ValueSums | None) -> LabelSums:
        """What is kept of them."""
        n = self.labels.size
        low, high = np.full((3, n), np.iinfo(np.int64).max), np.full((3, n), -1)
        sums = np.empty((3, n), np.int64)
        plane, row, first = self.place
        for k, (at, end) in enumerate(((plane, plane), (row, row), (first, first + self.length - 1))):
            np.minimum.at(low[k], self.which, at)
            np.maximum.at(high[k], self.which, end)
            # twice the sum of a run is its length times the sum of its ends
            sums[k] = self.total(self.length * (at + end)) // 2
        return LabelSums(self.labels, self.total(self.length), sums, low, high, values)

    def total(self, of_runs: Ints) -> Ints:
        """Sums by label of integers, which are exact in float64: a group is small."""
        return np.bincount(self.which, of_runs, self.labels.size).astype(np.int64)


def _holds(dtype: np.dtype[Any], value: int) -> bool:
    if dtype.kind == "b":
        return value in (0, 1)
    return int(np.iinfo(dtype).min) <= value <= int(np.iinfo(dtype).max)


def _numbered(labels: Block) -> tuple[NDArray[np.intp], Block]:
    """For each label its position among the distinct ones, and these, ascending."""
    if not labels.size:
        return np.empty(0, np.intp), labels
    if labels.dtype.kind == "b":
        labels = labels.view(np.uint8)
    low, high = int(labels.min()), int(labels.max())
    span = high - low + 1
    if span > _SPAN + 4 * labels.size:
        every, which = np.unique(labels, return_inverse=True)
        return which.reshape(-1), every
    # differences may exceed a signed type of their own width, not one of 64 bits
    unsigned = np.dtype(f"u{labels.dtype.itemsize}")
    first = labels.min().view(unsigned)
    shifted = (labels.view(unsigned) - first).astype(np.intp)
    there = np.zeros(span, np.bool_)
    there[shifted] = True
    distinct: Block = np.flatnonzero(there).astype(unsigned) + first
    return (np.cumsum(there) - 1)[shifted], distinct.view(labels.dtype)


def _values_of(values: Block, runs: _Runs, exact: bool) -> ValueSums:
    if values.dtype.kind == "b":
        values = values.view(np.uint8)
    n, kind = runs.labels.size, np.dtype(np.int64 if exact else np.float64)
    if not n:
        nothing = np.empty(0, values.dtype)
        return ValueSums(runs.length, np.empty(0, kind), np.empty(0), nothing, nothing)
    if runs.kept is not None:
        values = values[runs.kept]
    starts = np.cumsum(runs.length) - runs.length
    lowest, highest, count = values, values, runs.total(runs.length)
    wide = values.astype(np.float64)
    missing = np.isnan(values) if values.dtype.kind == "f" and np.isnan(values.min()) else None
    if missing is not None:
        lowest, highest = (np.where(missing, values.dtype.type(v), values) for v in (np.inf, -np.inf))
        wide[missing] = 0
        count = count - runs.total(np.add.reduceat(missing, starts, dtype=np.int64))
    low, high = _extremes(lowest, highest, runs, starts)
    # squares of very large values are infinite, deviations from infinity are not a number
    with np.errstate(invalid="ignore", over="ignore"):
        total = np.bincount(runs.which, np.add.reduceat(wide, starts), n)
        mean = total / np.maximum(count, 1)
        wide -= np.repeat(mean[runs.which], runs.length)
        if missing is not None:
            wide[missing] = 0
        np.square(wide, out=wide)
        squares: Any = np.bincount(runs.which, np.add.reduceat(wide, starts), n)
    return ValueSums(count, total.astype(kind), squares, low, high)


def _extremes(lowest: Block, highest: Block, runs: _Runs, starts: Ints) -> tuple[Block, Block]:
    n, dtype = runs.labels.size, lowest.dtype
    ends: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    least, most = (-np.inf, np.inf) if dtype.kind == "f" else (ends.min, ends.max)
    low, high = np.full(n, most, dtype), np.full(n, least, dtype)
    np.minimum.at(low, runs.which, np.minimum.reduceat(lowest, starts))
    np.maximum.at(high, runs.which, np.maximum.reduceat(highest, starts))
    return low, high


# ---------------------------------------------------------------------------------------------- together


def added(parts: list[LabelSums], more: list[LabelSums]) -> list[LabelSums]:
    """Both lists, whose later entries are merged where they are not much smaller than the one before.

    So a label is moved a few times (logarithmically often), however many blocks there are and whatever each adds.
    """
    for part in more:
        parts.append(part)
        while len(parts) > 1 and 2 * parts[-1].labels.size >= parts[-2].labels.size:
            parts[-2:] = [merged(parts[-2:])]
    return parts


def merged(parts: Sequence[LabelSums]) -> LabelSums:
    """What is known of all of some parts of an array."""
    if len(parts) == 1:
        return parts[0]
    labels = np.concatenate([p.labels for p in parts])
    order = np.argsort(labels, kind="stable")
    labels = labels[order]
    starts = np.flatnonzero(np.concatenate([[True], labels[1:] != labels[:-1]])) if labels.size else np.empty(0, int)

    def joined(name: str) -> Any:
        return np.concatenate([getattr(p, name) for p in parts], axis=-1)[..., order]

    return LabelSums(
        labels[starts],
        _reduced(np.add, joined("voxels"), starts),
        _reduced(np.add, joined("sums"), starts),
        _reduced(np.minimum, joined("low"), starts),
        _reduced(np.maximum, joined("high"), starts),
        _merged_values([p.values for p in parts if p.values is not None], order, starts),
    )


def _reduced(ufunc: np.ufunc, values: Any, starts: NDArray[np.intp]) -> Any:
    return ufunc.reduceat(values, starts, axis=-1) if starts.size else values


def _merged_values(parts: list[ValueSums], order: NDArray[np.intp], starts: NDArray[np.intp]) -> ValueSums | None:
    """Moments of several at once, as of two (Chan, Golub and LeVeque 1979)."""
    if not parts:
        return None

    def joined(name: str) -> Any:
        return np.concatenate([getattr(p, name) for p in parts])[order]

    count, total, squares = joined("count"), joined("sum"), joined("squares")
    counts, totals = _reduced(np.add, count, starts), _reduced(np.add, total, starts)
    many = np.diff(starts, append=order.size)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = total / np.maximum(count, 1) - np.repeat(totals / np.maximum(counts, 1), many)
        # parts without a number have no mean
        between = np.where(count > 0, count * np.square(apart), 0.0)
        within = _reduced(np.add, squares + between, starts)
    return ValueSums(
        counts,
        totals,
        within,
        _reduced(np.minimum, joined("low"), starts),
        _reduced(np.maximum, joined("high"), starts),
    )


class Repeated(Derived):
    """An array shown so many times along a new axis; one pass over it goes as often over the source."""

    def __init__(self, source: LazyArray, axis: int, count: int) -> None:
        self.source, self.axis, self.count = source, axis, count
        self.shape = (*source.shape[:axis], count, *source.shape[axis:])
        self.dtype, self.piecewise = source.dtype, source.piecewise
        if source.chunks is not None:
            self.chunks = (*source.chunks[:axis], 1, *source.chunks[axis:])

    def _read(self, region: Region) -> Block:
        return self._shown(self.source._read, region)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Reads through the source's reader."""
        with self.source.reader() as read:
            yield lambda region: self._shown(read, region)

    def _shown(self, read: Reader, region: Region) -> Block:
        block = read((*region[: self.axis], *region[self.axis + 1 :]))
        shape = [len(r) for r in region]
        return np.broadcast_to(np.expand_dims(block, self.axis), shape)

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-repeated", self.source.__dask_tokenize__(), self.axis, self.count)
