"""Points scattered over an array: which of its blocks they need, each block once, in the order of the source.

Values at points are sums over voxels. A point between two blocks is not given a wider block but a part from each, so
that nothing is read twice whatever the size of blocks and the method.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..chunks import BUDGET, block_shape
from ..indexing import Block, Indices, Reader, Region, as_range
from ..lazy import LazyArray, ViewArray
from ..scaling import Scaling
from .points import Corners, Voxels, blended, value_type, weighted

__all__ = ["Part", "Scatter"]

#: blocks of sources where any region is as good as any other
_BLOCK = 2 << 20
#: blocks alive at once of a source that is read front to back
_ALIVE = 8
#: points whose blocks are found at a time: what is computed of them stays in the cache
_PIECE = 1 << 13
#: values that are worked on at once: some arrays of this many elements are held
_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Part:
    """What one block gives to some points.

    Attributes
    ----------
    region : Region
        What is read of the source.
    points : ndarray of int
        Numbers of the points.
    first, last, weights
        Their voxels in the region, as for `points.weighted`.
    whole : ndarray of bool
        Which points have all their voxels in the region.
    rest : tuple of (array of int or slice, slice)
        For each axis of the image but z, y, x: what is wanted of the region, and where it belongs in the result.
    """

    region: Region
    points: Indices
    first: list[Indices]
    last: list[Indices]
    weights: list[tuple[Any, Any]]
    whole: Any
    rest: tuple[tuple[Any, slice], ...]


class Scatter:
    """Values of an array at points.

    Parameters
    ----------
    array : LazyArray
        Stored values; its last three axes are z, y, x.
    corners : Corners
        The voxels of the points.
    method : str
        One of `points.METHODS`.
    scaling : Scaling, optional
        Applied to the voxels.
    budget : int
        Memory in bytes for blocks of a source that is read front to back.
    """

    def __init__(
        self,
        array: LazyArray,
        corners: Corners,
        method: str,
        scaling: Scaling | None = None,
        budget: int = BUDGET,
    ) -> None:
        self.corners, self.scaling, self.linear = corners, scaling, method == "linear"
        shown = _Shown.of(array)
        self.source, self.axes, self.fixed = shown.source, shown.axes, shown.fixed
        self.picks = [np.asarray(p, np.int64) for p in shown.picks]
        self.shape = (*array.shape[:-3], len(corners))
        self.dtype = value_type(array.dtype, scaling, method)
        source = self.source
        self.order = list(source.file_order or range(source.ndim))
        self.block = block_shape(
            source.shape,
            source.dtype.itemsize,
            unit=source.chunks,
            order=self.order,
            front_to_back=source.front_to_back and source.file_order is not None,
            target=max(1 << 20, budget // _ALIVE) if source.front_to_back else _BLOCK,
        )
        #: what is stored as a whole is asked for as a whole where parts of it are not cheaper
        self._whole = source.chunks is not None and not source.piecewise and not source.front_to_back

    @property
    def _space(self) -> list[tuple[int, int]]:
        """z, y, x by number, and the source's axis of each that has one."""
        return [(k, a) for k, a in enumerate(self.axes[-3:]) if a is not None]

    def empty(self) -> Block:
        """An array for the values."""
        return np.zeros(self.shape, self.dtype)

    # ------------------------------------------------------------------ which blocks

    @cached_property
    def _groups(self) -> _Groups:
        """The points in the order of the blocks; those that need several blocks stand there several times."""
        counts = {a: -(-self.source.shape[a] // self.block[a]) for a in self.order if a in self._axes}
        key, apart = np.empty(len(self.corners), np.int64), [np.empty(0, np.int64)]
        for start in range(0, len(key), _PIECE):
            s = slice(start, start + _PIECE)
            first, last = self._places(s)
            key[s] = _number(first, counts)
            apart.append(start + np.flatnonzero(np.any([last[a] != first[a] for a in counts], axis=0)))
        # one after the other, axes double the points that lie across a border
        across = points = np.concatenate(apart)
        place, last = self._places(points)
        for a in counts:
            both = np.flatnonzero(last[a] != place[a])
            points = np.concatenate([points, points[both]])
            place = {b: np.concatenate([p, last[a][both] if b == a else p[both]]) for b, p in place.items()}
            last = {b: np.concatenate([p, p[both]]) for b, p in last.items()}
        new = slice(len(across), None)
        key = np.concatenate([key, _number({a: p[new] for a, p in place.items()}, counts)])
        points = np.concatenate([np.arange(len(self.corners)), points[new]])
        sequence = _sorted(key, math.prod(counts.values()))
        key = key[sequence]
        starts = np.flatnonzero(np.diff(key, prepend=-1))
        places = np.unravel_index(key[starts], list(counts.values())) if counts else ()
        return _Groups(
            points[sequence],
            [*starts.tolist(), len(points)],
            {a: p.tolist() for a, p in zip(counts, places, strict=True)},
        )

    @cached_property
    def _axes(self) -> set[int]:
        return {a for _, a in self._space}

    def _places(self, some: slice | Indices) -> tuple[dict[int, Indices], dict[int, Indices]]:
        """In which block, by axis of the source, the first voxel of some points lies, and the last one."""
        first, last, _ = self.corners.of(some)
        low, high = ({a: self._blocks[a].take(index[k]) for k, a in self._space} for index in (first, last))
        return low, high

    @cached_property
    def _blocks(self) -> dict[int, Indices]:
        """The block of each index along z, y, x, by axis of the source."""
        return {a: self.picks[k - 3] // self.block[a] for k, a in self._space}

    def _voxels(self, index: Indices) -> dict[int, Indices]:
        """Indices along z, y, x as indices of the source."""
        return {a: self.picks[k - 3].take(index[k]) for k, a in self._space}

    @cached_property
    def _rest(self) -> list[list[tuple[range, Any, slice]]]:
        """For each axis but z, y, x the pieces in which it is read: range, what is wanted, and where it belongs."""
        out: list[list[tuple[range, Any, slice]]] = []
        pieces: list[tuple[range, Any, slice]]
        for axis, picks in zip(self.axes[:-3], self.picks[:-3], strict=True):
            if axis is None:
                out.append([(range(0), slice(None), slice(0, 1))])
                continue
            picks = np.sort(picks)
            cuts = np.flatnonzero(np.diff(picks // self.block[axis])) + 1
            pieces = []
            for start, stop in itertools.pairwise([0, *cuts.tolist(), len(picks)]):
                line = as_range(picks[start:stop].tolist())
                if isinstance(line, range):
                    pieces.append((line, slice(None), slice(start, stop)))
                else:
                    whole = range(line[0], line[-1] + 1)
                    pieces.append((whole, picks[start:stop] - whole.start, slice(start, stop)))
            out.append(pieces)
        return out

    def parts(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Keys of all parts, in the order of the source: number of a block in space, pieces of the other axes."""
        place, count = self._groups.place, len(self._groups.bounds) - 1
        where = {a: self.order.index(a) for a in place}
        first = min(where.values(), default=0)
        #: axes that are slower than space, and the others
        slow = [k for k, a in enumerate(self.axes[:-3]) if a is not None and self.order.index(a) < first]
        fast = [k for k in range(len(self.axes) - 3) if k not in slow]
        inner = list(itertools.product(range(count), *(range(len(self._rest[k])) for k in fast)))
        if len(inner) > count:

            def along(key: tuple[int, ...]) -> list[int]:
                steps = {self.axes[k]: j for k, j in zip(fast, key[1:], strict=True)}
                return [steps[a] if a in steps else place[a][key[0]] for a in self.order if a in {*steps, *place}]

            inner.sort(key=along)
        slow.sort(key=lambda k: self.order.index(self.axes[k] or 0))
        for outer in itertools.product(*(range(len(self._rest[k])) for k in slow)):
            for group, *rest in inner:
                steps = dict(zip([*slow, *fast], [*outer, *rest], strict=True))
                yield group, tuple(steps[k] for k in range(len(steps)))

    def part(self, key: tuple[int, tuple[int, ...]]) -> Part:
        """What is read for a key of :meth:`parts`, and for whom."""
        group, steps = key
        groups = self._groups
        s = slice(groups.bounds[group], groups.bounds[group + 1])
        points = groups.points[s]
        before, behind, parts = self.corners.of(points)
        lows, highs = self._voxels(before), self._voxels(behind)
        region = [range(self.fixed.get(a, 0), self.fixed.get(a, 0) + 1) for a in range(self.source.ndim)]
        zeros = np.zeros(len(points), np.int64)
        first, last = [zeros] * 3, [zeros] * 3
        whole = np.ones(len(points), np.bool_)
        weights: list[tuple[Any, Any]] = [(np.ones(len(points)), np.zeros(len(points)))] * 3
        for k, a in self._space:
            low, high, size = lows[a], highs[a], self.block[a]
            begin = groups.place[a][group] * size
            low -= begin
            if self.linear:
                high -= begin
                weights[k] = 1 - parts[k], parts[k]
                # one of the two is here
                for index, other, weight in zip((low, high), (high, low), weights[k], strict=True):
                    out = np.flatnonzero((index < 0) | (index >= size))
                    index[out], weight[out], whole[out] = other[out], 0.0, False
            region[a] = range(begin, min(begin + size, self.source.shape[a]))
            if not self._whole:
                ends = (low, high) if self.linear else (low,)
                region[a] = region[a][min(int(i.min()) for i in ends) : max(int(i.max()) for i in ends) + 1]
                for index in ends:
                    index -= region[a].start - begin
            first[k], last[k] = low, high if self.linear else zeros
        rest = []
        for k, (axis, step) in enumerate(zip(self.axes[:-3], steps, strict=True)):
            line, wanted, at = self._rest[k][step]
            if axis is not None:
                region[axis] = line
            rest.append((wanted, at))
        return Part(tuple(region), points, first, last, weights, whole, tuple(rest))

    # ------------------------------------------------------------------ values

    def values(self, part: Part, block: Block) -> Block:
        """What a block of the source gives to the points of a part; shape (..., points)."""
        kept = [a for a in self.axes if a is not None]
        block = block[tuple(slice(None) if a in kept else 0 for a in range(block.ndim))]
        block = block.transpose([sorted(kept).index(a) for a in kept])
        block = block[tuple(None if a is None else slice(None) for a in self.axes)]
        for k, (wanted, _) in enumerate(part.rest):
            if not isinstance(wanted, slice):
                block = block.take(wanted, k)
        voxels = Voxels(block, self.scaling, len(part.points))
        if not self.linear:
            return voxels.at(*part.first)
        out = blended(voxels, part.first, part.last, [b for _, b in part.weights])
        apart = ~part.whole
        if not voxels.finite:
            apart |= ~np.isfinite(out).all(axis=tuple(range(out.ndim - 1)))
        apart = np.flatnonzero(apart)
        step = max(1, _AT_ONCE // max(1, math.prod(voxels.lead)))
        for start in range(0, len(apart), step):
            some = apart[start : start + step]
            first, last = ([i[some] for i in ends] for ends in (part.first, part.last))
            out[..., some] = weighted(voxels, first, last, [(a[some], b[some]) for a, b in part.weights])
        return out

    def add(self, out: Block, part: Part, values: Block) -> None:
        """Put what :meth:`values` gave to the rest of `out`."""
        here = out[tuple(at for _, at in part.rest)]
        if self.linear:
            here[..., part.points] += values
        else:
            here[..., part.points] = values

    def finished(self, out: Block) -> Block:
        """The values, when all parts have been added."""
        for k, picks in enumerate(self.picks[:-3]):
            if np.any(np.diff(picks) < 0):
                out = out.take(np.argsort(np.argsort(picks, kind="stable")), k)
        return out

    def gathered(self, read: Reader) -> Block:
        """All values, read one block after the other."""
        out = self.empty()
        for key in self.parts():
            part = self.part(key)
            self.add(out, part, self.values(part, read(part.region)))
        return self.finished(out)


@dataclass(frozen=True)
class _Groups:
    """Points in the order of the blocks of the source.

    Attributes
    ----------
    points : ndarray of int
        Their numbers.
    bounds : list of int
        Where those of each block begin, and the last ones end.
    place : dict
        By axis of the source, the place of each block among blocks.
    """

    points: Indices
    bounds: list[int]
    place: dict[int, list[int]]


def _number(place: Mapping[int, Indices], counts: Mapping[int, int]) -> Indices:
    """Numbers of blocks, of which there are so many along each axis, the last one fastest."""
    out = np.zeros(len(next(iter(place.values()), ())), np.int64)
    for a, n in counts.items():
        out = out * n + place[a]
    return out


def _sorted(key: Indices, count: int) -> Indices:
    """What sorts numbers below a count, equal ones left in order."""
    # NumPy sorts two bytes by their digits, ten times as fast as more
    out = np.argsort((key & 0xFFFF).astype(np.uint16), kind="stable")
    while (count := -(-count >> 16)) > 1:
        key = key >> 16
        out = out[np.argsort((key & 0xFFFF).astype(np.uint16)[out], kind="stable")]
    return out


@dataclass(frozen=True)
class _Shown:
    """What an array shows of the array below all its views.

    Attributes
    ----------
    source : LazyArray
        No view.
    axes : tuple of (int or None)
        For each axis of the array the axis of the source, None for one of size 1 that is new.
    picks : tuple of sequence of int
        For each axis of the array its indices in the source.
    fixed : dict of int to int
        The index of each axis of the source that is not shown.
    """

    source: LazyArray
    axes: tuple[int | None, ...]
    picks: tuple[Sequence[int], ...]
    fixed: dict[int, int]

    @classmethod
    def of(cls, array: LazyArray) -> _Shown:
        """That of any array."""
        shown = cls(array, tuple(range(array.ndim)), tuple(range(n) for n in array.shape), {})
        while isinstance(shown.source, ViewArray):
            shown = shown._below(shown.source)
        return shown

    def _below(self, view: ViewArray) -> _Shown:
        axes = tuple(None if a is None else view.axes[a] for a in self.axes)
        picks = tuple(
            p if below is None else _composed(view.picks[below], p) for below, p in zip(axes, self.picks, strict=True)
        )
        fixed = {below: view.picks[below][i] for a, i in self.fixed.items() if (below := view.axes[a]) is not None}
        seen = {*axes, *fixed}
        fixed |= {a: view.picks[a][0] for a in range(view.source.ndim) if a not in seen}
        return _Shown(view.source, axes, picks, fixed)


def _composed(outer: Sequence[int], inner: Sequence[int]) -> Sequence[int]:
    if isinstance(outer, range) and isinstance(inner, range) and inner.step > 0 and inner.start >= 0:
        return outer[inner.start : inner.stop : inner.step]
    return [outer[i] for i in inner]
