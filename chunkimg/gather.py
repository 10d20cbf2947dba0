"""Reading scattered indices by region: what is wanted and little more, in the order in which it is stored.

Formats read regions: ranges with positive steps. A list of indices, or points, are cut here into regions that follow
how the source is stored: its chunks, its rows, or, where it can only be decoded front to back, one pass.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .indexing import Block, Indices, Reader, Region, as_range

__all__ = ["fold", "outer", "points"]

#: wanted voxels of one row that lie closer than this, in bytes, are read together: storage gives no less
_NEAR = 512
#: what is decoded at once of a source without random access where only parts of it are wanted
_WINDOW = 4 << 20


class Source(Protocol):
    """What is asked of a lazy array here."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    front_to_back: bool
    file_order: tuple[int, ...] | None
    chunks: tuple[int, ...] | None

    def reader(self) -> AbstractContextManager[Reader]:
        """A function that reads regions."""


@dataclass(frozen=True)
class _Piece:
    """Part of the wanted indices of one axis, read as one range.

    Attributes
    ----------
    at : slice
        Where they stand among all that are wanted, sorted.
    region : range
        What is read.
    wanted : slice or array
        What of that is wanted.
    """

    at: slice
    region: range
    wanted: slice | Indices


def outer(source: Source, picks: Sequence[Sequence[int]], read: Reader | None = None) -> Block:
    """The outer product of picks, one sequence of indices per axis, in any order and with repetitions.

    Parameters
    ----------
    source : LazyArray
        What is read.
    picks : sequence of (range or sequence of int)
        Indices per axis, not negative.
    read : callable, optional
        A reader of the source; by default a new one.
    """
    picks = [as_range(p) for p in picks]
    ranges = [p for p in picks if isinstance(p, range)]
    if read is None:
        with source.reader() as read:
            return outer(source, picks, read)
    if len(ranges) == len(picks):
        ahead = tuple(p[::-1] if p.step < 0 else p for p in ranges)
        return read(ahead)[tuple(slice(None, None, -1 if p.step < 0 else 1) for p in ranges)]
    wanted, back = zip(*(np.unique(np.asarray(p, np.int64), return_inverse=True) for p in picks), strict=True)
    out = np.empty([len(w) for w in wanted], source.dtype)
    order = _order(source)
    pieces = _pieces(source, list(wanted), order)
    for stored in itertools.product(*(pieces[a] for a in order)):
        part = [stored[order.index(a)] for a in range(len(picks))]
        block = read(tuple(p.region for p in part))
        for axis, p in enumerate(part):
            if not isinstance(p.wanted, slice):
                block = block.take(p.wanted, axis)
        out[tuple(p.at for p in part)] = block
    for axis, inverse in enumerate(back):
        if not np.array_equal(inverse, np.arange(len(wanted[axis]))):
            out = out.take(inverse, axis)
    return out


def _order(source: Source) -> list[int]:
    """Axes from slowest to fastest."""
    return list(source.file_order if source.file_order is not None else range(len(source.shape)))


def _pieces(source: Source, wanted: list[Indices], order: list[int]) -> list[list[_Piece]]:
    """How the sorted indices of each axis are cut."""
    out: list[list[_Piece]] = [[] for _ in wanted]
    if source.front_to_back:
        # regions must come front to back: below the window, everything is covered by one region; above it, axes are
        # stepped through one by one where faster ones are not exactly one range
        covered, exact = source.dtype.itemsize, True
        for axis in reversed(order):
            span = int(wanted[axis][-1] - wanted[axis][0]) + 1
            covered *= span
            each = np.ones(len(wanted[axis]) - 1, np.bool_)
            out[axis] = _cut(wanted[axis], span if covered <= _WINDOW else 1 if exact else each)
            exact = exact and len(out[axis]) == 1 and isinstance(out[axis][0].wanted, slice)
        return out
    for axis, indices in enumerate(wanted):
        if source.chunks is not None:
            # a chunk is decoded whole
            chunk = indices // source.chunks[axis]
            out[axis] = _cut(indices, (np.diff(chunk) > 0) & (np.diff(indices) > 1))
        else:
            out[axis] = _cut(indices, max(1, _NEAR // source.dtype.itemsize) if axis == order[-1] else 1)
    return out


def _cut(indices: Indices, gaps: int | NDArray[np.bool_]) -> list[_Piece]:
    """Cut sorted indices at `gaps`, or where they lie further apart than a number, and see what ranges they are."""
    whole = as_range(indices.tolist())
    if isinstance(gaps, int):
        if isinstance(whole, range):
            return [_Piece(slice(0, len(whole)), whole, slice(None))]
        gaps = np.diff(indices) > gaps
    stops = [*(np.flatnonzero(gaps) + 1).tolist(), len(indices)]
    out = []
    for start, stop in itertools.pairwise([0, *stops]):
        part = as_range(indices[start:stop].tolist())
        at = slice(start, stop)
        if isinstance(part, range):
            out.append(_Piece(at, part, slice(None)))
        else:
            out.append(_Piece(at, range(part[0], part[-1] + 1), indices[start:stop] - part[0]))
    return out


def points(source: Source, at: Mapping[int, Indices], rest: Mapping[int, range]) -> Block:
    """Values at points: one read for all that lie in one chunk, or near each other in one row.

    Parameters
    ----------
    source : LazyArray
        What is read.
    at : mapping of int to 1-D array
        For some axes, the index of each point.
    rest : mapping of int to range
        For all other axes, what is read at each point.

    Returns
    -------
    array
        First axis: the points; then the axes of `rest`, in order.
    """
    shape, order = source.shape, _order(source)
    count = len(next(iter(at.values())))
    out = np.empty((count, *(len(rest[a]) for a in sorted(rest))), source.dtype)
    near = max(1, _NEAR // source.dtype.itemsize)
    units = source.chunks or tuple(near if a == order[-1] else 1 for a in range(len(shape)))
    place = np.zeros(count, np.int64)
    for axis in order:
        if axis in at:
            place = place * -(-shape[axis] // units[axis]) + at[axis] // units[axis]
    sequence = np.argsort(place, kind="stable")
    stops = [*(np.flatnonzero(np.diff(place[sequence])) + 1).tolist(), count]
    heads, tails = sorted(at), sorted(rest)
    with source.reader() as read:
        for start, stop in itertools.pairwise([0, *stops]):
            here = sequence[start:stop]
            box = {a: range(int(at[a][here].min()), int(at[a][here].max()) + 1) for a in heads}
            region: Region = tuple(box[a] if a in box else rest[a] for a in range(len(shape)))
            block = read(region).transpose(*heads, *tails)
            out[here] = block[tuple(at[a][here] - box[a].start for a in heads)]
    return out


def fold(at: Mapping[int, Indices], rest: Mapping[int, range]) -> tuple[dict[int, Indices], tuple[int, ...]]:
    """Points along every axis in place of `rest`, and the shape that makes of their values what `points` returns."""
    axes = sorted(rest)
    shape = (len(next(iter(at.values()))), *(len(rest[a]) for a in axes))
    out = {a: np.broadcast_to(i.reshape(-1, *(1,) * len(axes)), shape).reshape(-1) for a, i in at.items()}
    for k, a in enumerate(axes):
        line = np.asarray(rest[a], np.int64).reshape([-1 if j == k + 1 else 1 for j in range(len(shape))])
        out[a] = np.broadcast_to(line, shape).reshape(math.prod(shape))
    return out, shape
