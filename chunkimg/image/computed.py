"""Dask arrays that only Dask can compute, as lazy arrays."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..access import Access
from ..chunks import BUDGET
from ..lazy import Block, LazyArray, Reader, Region
from .lazily import unwrapped
from .views import is_dask

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["ComputedArray", "HeldArray", "InlineArray"]

#: regions of more blocks than this are left to Dask as a whole
_MANY = 64
#: bytes of blocks that are kept for the next region
_KEPT = BUDGET // 2


class ComputedArray(LazyArray):
    """A Dask or NumPy array as a `LazyArray`: each region is computed when it is asked for."""

    def __init__(self, data: Any) -> None:
        self.data = data
        self.shape, self.dtype = tuple(data.shape), np.dtype(data.dtype).newbyteorder("=")
        if is_dask(data):
            self.chunks = tuple(max(c) for c in data.chunks)

    @property
    def access(self) -> Access:
        """That of the dearest of the arrays that it is computed from."""
        if not is_dask(self.data):
            return Access("random", "the voxels are in memory")
        return Access.worst(leaf.access for leaf in self.leaves())

    def leaves(self) -> Iterator[LazyArray]:
        """The lazy arrays in the graph."""
        if is_dask(self.data):
            for value in dict(self.data.dask).values():
                found = unwrapped(getattr(value, "value", value))
                if found is not None:
                    yield from found.leaves()

    def task(self, region: Region) -> Any:
        """The part of the Dask array."""
        return self.data[tuple(slice(r.start, r.stop, r.step) for r in region)] if is_dask(self.data) else None

    def _read(self, region: Region) -> Block:
        part = self.data[tuple(slice(r.start, r.stop, r.step) for r in region)]
        block = part.compute() if is_dask(part) else part
        return np.asarray(block, dtype=self.dtype)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Computes each Dask block once where regions follow each other, keeping what juts out of a region."""
        yield _Blocks(self).read if is_dask(self.data) else self._read

    def __dask_tokenize__(self) -> Any:
        from dask.base import tokenize

        return ("chunkimg-computed", tokenize(self.data))


class InlineArray(ComputedArray):
    """As `ComputedArray`, computed in the thread that asks: for what the workers read, who must not wait for others."""

    def _read(self, region: Region) -> Block:
        part = self.data[tuple(slice(r.start, r.stop, r.step) for r in region)]
        block = part.compute(scheduler="synchronous") if is_dask(part) else part
        return np.asarray(block, dtype=self.dtype)


class _Blocks:
    """The Dask blocks of an array, computed as regions need them; those that are not used up yet are kept."""

    def __init__(self, array: ComputedArray) -> None:
        self.array, self.data = array, array.data
        self.bounds = [[0, *itertools.accumulate(c)] for c in self.data.chunks]
        self.kept: dict[tuple[int, ...], Block] = {}
        #: voxels of kept blocks that no region has taken
        self.left: dict[tuple[int, ...], int] = {}

    def read(self, region: Region) -> Block:
        """Values of a region."""
        spans = [_touched(bounds, r) for bounds, r in zip(self.bounds, region, strict=True)]
        if any(r.step != 1 for r in region) or not 0 < math.prod(map(len, spans)) <= _MANY:
            return self.array._read(region)
        blocks = self._compute(list(itertools.product(*spans)))
        if len(blocks) == 1 and next(iter(blocks.values())).shape == tuple(map(len, region)):
            return next(iter(blocks.values()))
        out = np.empty([len(r) for r in region], self.array.dtype)
        for at, block in blocks.items():
            first = [bounds[k] for bounds, k in zip(self.bounds, at, strict=True)]
            parts = [
                range(max(r.start, f), min(r.stop, f + n)) for r, f, n in zip(region, first, block.shape, strict=True)
            ]
            here = tuple(slice(p.start - r.start, p.stop - r.start) for p, r in zip(parts, region, strict=True))
            out[here] = block[tuple(slice(p.start - f, p.stop - f) for p, f in zip(parts, first, strict=True))]
            self._keep(at, block, out[here].size)
        return out

    def _compute(self, wanted: list[tuple[int, ...]]) -> dict[tuple[int, ...], Block]:
        from dask.base import compute

        found = {at: self.kept.pop(at) for at in wanted if at in self.kept}
        missing = [at for at in wanted if at not in found]
        computed = compute(*(self.data.blocks[at] for at in missing))
        found.update((at, np.asarray(b, self.array.dtype)) for at, b in zip(missing, computed, strict=True))
        return found

    def _keep(self, at: tuple[int, ...], block: Block, taken: int) -> None:
        left = self.left.pop(at, block.size) - taken
        if left > 0 and block.nbytes + sum(b.nbytes for b in self.kept.values()) <= _KEPT:
            self.kept[at], self.left[at] = block, left


def _touched(bounds: list[int], r: range) -> range:
    """Numbers of the blocks that a range takes from."""
    if not len(r):
        return range(0)
    return range(int(np.searchsorted(bounds, r[0], "right")) - 1, int(np.searchsorted(bounds, r[-1], "right")))


class HeldArray(LazyArray):
    """Something small that Dask computes, once, before anything of it is read; then it is in memory.

    Parameters
    ----------
    data : dask array
        What is computed.
    together : list of HeldArray
        What is computed in the same pass; this array joins them.
    """

    piecewise = True

    def __init__(self, data: da.Array, together: list[HeldArray]) -> None:
        self.data, self._together = data, together
        self.shape, self.dtype = tuple(data.shape), np.dtype(data.dtype)
        self._lock: Any = together[0]._lock if together else threading.Lock()
        self._value: Block | None = None
        together.append(self)

    def leaves(self) -> Iterator[LazyArray]:
        """The lazy arrays in the graph."""
        return ComputedArray(self.data).leaves()

    @property
    def access(self) -> Access:
        """That of what it is computed from."""
        return ComputedArray(self.data).access

    def prepare(self) -> None:
        """Compute it."""
        from dask.base import compute

        with self._lock:
            if self._value is None:
                for held, value in zip(self._together, compute(*(h.data for h in self._together)), strict=True):
                    held._value = np.asarray(value)

    def _read(self, region: Region) -> Block:
        self.prepare()
        assert self._value is not None
        # its own shape tells where one voxel stands for all
        part = tuple(
            slice(None) if n == 1 else slice(r.start, r.stop, r.step)
            for r, n in zip(region, self._value.shape, strict=True)
        )
        found: Block = self._value[part]
        return found

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-held", self.data.name)
