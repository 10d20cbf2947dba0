"""Boxes of an array that overlap each other, as neighbourhoods do: read with little, or nothing, twice."""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from ..chunks import BUDGET
from ..lazy import Block, LazyArray, Reader, Region, ScaledArray, ViewArray
from ..workers import each
from .pad import PaddedArray

__all__ = ["Lattice", "lattice", "overlapping"]

#: bytes of chunks that are kept for the boxes to come
_KEPT = BUDGET // 2
#: a chunk of which no more than this part of its planes is wanted is not read whole, if not all that is near is kept
_THIN = 0.25

#: where an array is cut into stored chunks: per axis the first cut, and the distance between cuts
Lattice = tuple[tuple[int, int], ...]


@contextmanager
def overlapping(source: LazyArray) -> Iterator[Reader]:
    """A function that reads boxes (ranges of step 1), cheapest where they follow each other in file order.

    A source that goes front to back is read once: planes stay as long as boxes need them. Of one in chunks, those read
    last are kept, within a fixed number of bytes. The function is for one thread.
    """
    with source.reader() as read:
        found = lattice(source)
        if source.front_to_back and source.file_order is not None:
            yield _Planes(source, read).read
        elif found is not None:
            yield _Chunks(source, read, found).read
        else:
            yield read


def lattice(source: LazyArray) -> Lattice | None:
    """Where an array, or the one that it shows a part of, is cut into chunks; None if it is not, or by a stride."""
    if isinstance(source, PaddedArray):
        inside = lattice(source.source)
        return inside and tuple(((first + b) % n, n) for (first, n), b in zip(inside, source.before, strict=True))
    if source.chunks is not None:
        return tuple((0, max(1, c)) for c in source.chunks)
    if isinstance(source, ScaledArray):
        return lattice(source.source)
    if not isinstance(source, ViewArray):
        return None
    below = lattice(source.source)
    picks = [source.picks[a] for a in source.axes if a is not None]
    if below is None or not all(isinstance(p, range) and abs(p.step) == 1 for p in picks):
        return None
    return tuple((0, 1) if a is None else _seen(below[a], source.picks[a]) for a in source.axes)


def _seen(cuts: tuple[int, int], pick: Sequence[int]) -> tuple[int, int]:
    """The cuts of an axis through a range of step 1 or -1."""
    first, size = cuts
    start = pick[0]
    ahead = len(pick) < 2 or pick[1] > start
    return ((first - start) if ahead else (start - first + 1)) % size, size


class _Planes:
    """A window that goes along the slowest axis of space: whatever is faster in the file is in it, whole."""

    def __init__(self, source: LazyArray, read: Reader) -> None:
        order = source.file_order
        assert order is not None
        place = next(k for k, a in enumerate(order) if a >= source.ndim - 3)
        self.shape, self.read_source = source.shape, read
        self.along, self.slower, self.faster = order[place], order[:place], order[place + 1 :]
        self.frames: tuple[range, ...] = ()
        self.first = self.stop = 0
        self.window: Block | None = None

    def read(self, box: Region) -> Block:
        """Values of a box."""
        wanted, frames = box[self.along], tuple(box[a] for a in self.slower)
        if self.window is None or frames != self.frames or not self.first <= wanted.start <= self.stop:
            self.window, self.frames, self.first, self.stop = None, frames, wanted.start, wanted.start
        at = (slice(None),) * self.along
        kept = None if self.window is None else self.window[(*at, slice(wanted.start - self.first, None))]
        if wanted.stop > self.stop:
            missing = self.read_source(self._whole(box, range(self.stop, wanted.stop)))
            kept = (
                missing if kept is None or not kept.shape[self.along] else np.concatenate([kept, missing], self.along)
            )
            self.stop = wanted.stop
        assert kept is not None
        self.window, self.first = kept, wanted.start
        inside = [slice(r.start, r.stop) for r in box]
        inside[self.along] = slice(0, len(wanted))
        for a in self.slower:
            inside[a] = slice(None)
        return kept[tuple(inside)]

    def _whole(self, box: Region, along: range) -> Region:
        out = list(box)
        out[self.along] = along
        for a in self.faster:
            out[a] = range(self.shape[a])
        return tuple(out)


class _Chunks:
    """Chunks, those used last; of a source that many threads may read, they are read in the workers."""

    def __init__(self, source: LazyArray, read: Reader, cuts: Lattice) -> None:
        self.source, self.cuts, self.read_source = source, cuts, read
        self.kept: OrderedDict[Region, Block] = OrderedDict()
        self.size = 0
        self._lock = threading.Lock()
        z = source.ndim - 3
        layer = min(cuts[z][1], source.shape[z]) * math.prod(source.shape[z + 1 :]) * source.dtype.itemsize
        # with all of three layers at hand, nothing is ever read again
        self.whole = (
            3 * layer * math.prod(min(n, s) for (_, n), s in zip(cuts[:z], source.shape, strict=False)) <= _KEPT
        )

    def read(self, box: Region) -> Block:
        """Values of a box."""
        out = np.empty([len(r) for r in box], self.source.dtype)
        pieces = list(itertools.product(*(self._pieces(a, r) for a, r in enumerate(box))))

        def place(piece: Region) -> None:
            block = self._block(piece)
            parts = [range(max(p.start, r.start), min(p.stop, r.stop)) for p, r in zip(piece, box, strict=True)]
            out[_inside(parts, box)] = block[_inside(parts, piece)]

        if self.source.piecewise:
            each(place, pieces)
        else:
            self._read_together([p for p in pieces if p not in self.kept])
            for piece in pieces:
                place(piece)
        return out

    def _pieces(self, axis: int, wanted: range) -> Iterator[range]:
        """The chunks along an axis that a range touches; a thin part instead of one of which no more is wanted."""
        (first, size), n = self.cuts[axis], self.source.shape[axis]
        for k in range((wanted.start - first) // size, -(-(wanted.stop - first) // size)):
            piece = range(max(0, first + k * size), min(n, first + (k + 1) * size))
            part = range(max(piece.start, wanted.start), min(piece.stop, wanted.stop))
            thin = axis == self.source.ndim - 3 and not self.whole and len(part) <= _THIN * len(piece)
            yield part if thin else piece

    def _block(self, piece: Region) -> Block:
        with self._lock:
            block = self.kept.get(piece)
            if block is not None:
                self.kept.move_to_end(piece)
                return block
        return self._keep(piece, (self.source._read if self.source.piecewise else self.read_source)(piece))

    def _keep(self, piece: Region, block: Block) -> Block:
        with self._lock:
            self.kept[piece] = block
            self.size += block.nbytes
            while self.size > _KEPT and len(self.kept) > 1:
                self.size -= self.kept.popitem(last=False)[1].nbytes
        return block

    def _read_together(self, missing: list[Region]) -> None:
        """Read pieces that fill a box in one go: a store that answers late wants to be asked for much at once."""
        if len(missing) < 2:
            return
        ranges = list(zip(*missing, strict=True))
        around = tuple(range(min(r.start for r in along), max(r.stop for r in along)) for along in ranges)
        size = math.prod(map(len, around))
        if size != sum(math.prod(map(len, p)) for p in missing) or size * self.source.dtype.itemsize > _KEPT:
            return
        block = self.read_source(around)
        for piece in missing:
            self._keep(piece, block[_inside(piece, around)].copy())


def _inside(parts: Sequence[range], of: Region) -> tuple[slice, ...]:
    """Where ranges lie in a block of a region that holds them."""
    return tuple(slice(p.start - r.start, p.stop - r.start) for p, r in zip(parts, of, strict=True))
