"""Arrays put together along an axis, lazily."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from ..access import Access
from ..lazy import Block, LazyArray, Reader, Region

__all__ = ["JoinedArray"]

#: bytes of a piece that is decoded front to back, up to which it is read as a whole
_LARGE = 64 << 20
#: pieces whose readers are open at once, where they are asked for in turn
_OPEN = 8


class JoinedArray(LazyArray):
    """Arrays one after the other along an axis.

    Parameters
    ----------
    pieces : sequence of LazyArray
        Of one shape but for that axis.
    axis : int
        Which.
    dtype : numpy dtype
        Of the result; it holds the values of all.
    """

    def __init__(self, pieces: Sequence[LazyArray], axis: int, dtype: np.dtype[Any]) -> None:
        first = pieces[0]
        self.pieces, self.axis, self.dtype = tuple(pieces), axis, dtype
        self.ends = tuple(itertools.accumulate(p.shape[axis] for p in pieces))
        self.shape = (*first.shape[:axis], self.ends[-1], *first.shape[axis + 1 :])
        self.front_to_back = any(p.front_to_back for p in pieces)
        self.file_order = self._order()
        units = {p.chunks for p in pieces}
        self.piecewise = all(p.piecewise for p in pieces) and len(units) == 1
        if len(units) == 1 and first.chunks is not None:
            # pieces follow each other at any index
            along = 1 if len(pieces) > 1 else first.chunks[axis]
            self.chunks = (*first.chunks[:axis], along, *first.chunks[axis + 1 :])
        elif len({p.shape for p in pieces}) == 1 and self.front_to_back and first.nbytes <= _LARGE:
            self.chunks = first.shape

    def _order(self) -> tuple[int, ...] | None:
        """Piece after piece, where the axis is the slowest in each; else that of all, which are read in step."""
        orders = {p.file_order for p in self.pieces}
        slowest = [p.file_order and (p.file_order[0] == self.axis or p.shape[self.axis] == 1) for p in self.pieces]
        others = {tuple(a for a in o if a != self.axis) for o in orders if o is not None}
        if all(slowest) and len(others) == 1:
            return (self.axis, *others.pop())
        return orders.pop() if len(orders) == 1 and len(self.pieces) <= _OPEN else None

    @property
    def held(self) -> int:
        """Bytes per element: of the result, and of what is read of a piece."""
        return self.dtype.itemsize + max(p.held for p in self.pieces)

    @property
    def access(self) -> Access:
        """That of the dearest piece."""
        return Access.worst(p.access for p in self.pieces)

    def leaves(self) -> Iterator[LazyArray]:
        """Those of the pieces."""
        return itertools.chain.from_iterable(p.leaves() for p in self.pieces)

    def prepare(self) -> None:
        """That of all pieces."""
        for piece in self.pieces:
            piece.prepare()

    def _read(self, region: Region) -> Block:
        return self._gathered(region, lambda k, part: self.pieces[k]._read(part))

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Reads each piece through its own reader; few are open at a time, one where they follow each other."""
        most = 1 if self.front_to_back and self.file_order and self.file_order[0] == self.axis else _OPEN
        opened: OrderedDict[int, tuple[ExitStack, Reader]] = OrderedDict()
        with ExitStack() as every:

            def read(k: int, part: Region) -> Block:
                if k not in opened:
                    while len(opened) >= most:
                        opened.popitem(last=False)[1][0].close()
                    stack = every.enter_context(ExitStack())
                    opened[k] = stack, stack.enter_context(self.pieces[k].reader())
                opened.move_to_end(k)
                return opened[k][1](part)

            yield lambda region: self._gathered(region, read)

    def _gathered(self, region: Region, read: Callable[[int, Region], Block]) -> Block:
        before, after = region[: self.axis], region[self.axis + 1 :]
        parts = list(self._parts(region[self.axis]))
        if len(parts) == 1:
            return read(parts[0][1], (*before, parts[0][2], *after)).astype(self.dtype, copy=False)
        out = np.empty([len(r) for r in region], self.dtype)
        for at, piece, part in parts:
            place = (slice(None),) * self.axis + (slice(at, at + len(part)),)
            out[place] = read(piece, (*before, part, *after))
        return out

    def _parts(self, wanted: range) -> Iterator[tuple[int, int, range]]:
        """Place of each part of a range, the piece that has it, and where it is there."""
        done = 0
        while done < len(wanted):
            piece = int(np.searchsorted(self.ends, wanted[done], "right"))
            start = self.ends[piece] - self.pieces[piece].shape[self.axis]
            part = range(wanted[done] - start, self.ends[piece] - start, wanted.step)[: len(wanted) - done]
            yield done, piece, part
            done += len(part)

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-joined", [p.__dask_tokenize__() for p in self.pieces], self.axis, self.dtype.str)
