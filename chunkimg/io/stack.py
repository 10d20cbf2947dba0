"""An array whose slowest axes run over files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from ..access import Access
from ..lazy import Block, LazyArray, Reader, Region

__all__ = ["StackArray"]

#: bytes of a piece above which blocks may cut it
_LARGE = 64 << 20

_ReadPiece = Callable[[int, Region], Block]


class StackArray(LazyArray):
    """Pieces of one shape, one after the other along the slowest axes.

    Parameters
    ----------
    pieces : sequence of LazyArray
        Each of shape ``(rows, *shape[outer:])``, where ``rows`` divides ``shape[outer - 1]``.
    shape : tuple of int
        Of the whole, slowest axis first.
    outer : int
        Number of leading axes that run over pieces; the last of them may run over `rows` of each piece, too.
    """

    def __init__(self, pieces: Sequence[LazyArray], shape: tuple[int, ...], outer: int) -> None:
        self.pieces, self.shape, self.outer = tuple(pieces), shape, outer
        self.dtype = pieces[0].dtype
        self.front_to_back = pieces[0].front_to_back
        self.file_order = tuple(range(len(shape)))
        self.rows = pieces[0].shape[0]
        if self.front_to_back and pieces[0].nbytes <= _LARGE:
            # read by blocks of whole pieces, each is decoded once
            self.chunks = (1,) * (outer - 1) + pieces[0].shape

    @property
    def access(self) -> Access:
        """That of the pieces."""
        return self.pieces[0].access

    def leaves(self) -> Iterator[LazyArray]:
        """Those of the pieces."""
        return itertools.chain.from_iterable(p.leaves() for p in self.pieces)

    def _read(self, region: Region) -> Block:
        return self._gather(region, lambda k, part: self.pieces[k]._read(part))

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Goes through the pieces one after the other, with the reader of one open at a time."""
        with ExitStack() as stack:
            current: int | None = None
            read: Reader | None = None

            def read_piece(k: int, part: Region) -> Block:
                nonlocal current, read
                if read is None or current != k:
                    stack.close()
                    current, read = k, stack.enter_context(self.pieces[k].reader())
                return read(part)

            yield lambda region: self._gather(region, read_piece)

    def _gather(self, region: Region, read: _ReadPiece) -> Block:
        out = np.empty([len(r) for r in region], self.dtype)
        last = self.outer - 1
        per_row = self.shape[last] // self.rows
        inner = region[self.outer :]
        for at in itertools.product(*(range(len(r)) for r in region[:last])):
            index = 0
            for k, i in enumerate(at):
                index = index * self.shape[k] + region[k][i]
            for place, piece, rows in self._rows(region[last]):
                where: tuple[int | slice, ...] = (*at, place)
                out[where] = read(index * per_row + piece, (rows, *inner))
        return out

    def _rows(self, wanted: range) -> Iterator[tuple[slice, int, range]]:
        """Rows of the last outer axis by piece: their place in the result, the piece, and the rows in it."""
        done = 0
        while done < len(wanted):
            piece = wanted[done] // self.rows
            first = wanted[done] - piece * self.rows
            rows = range(first, self.rows, wanted.step)[: len(wanted) - done]
            yield slice(done, done + len(rows)), piece, rows
            done += len(rows)

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-stack", [p.__dask_tokenize__() for p in self.pieces], self.shape, self.outer)
