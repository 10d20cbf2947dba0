"""Downsampling by blocks: means of intensities, modes of labels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..lazy import Block, LazyArray, Region

__all__ = ["METHODS", "CoarsenedArray", "mean_blocks", "mode_blocks"]

#: source bytes that are reduced at once
_WINDOW = 16 << 20


def _offsets(block: Block, factors: Sequence[int]) -> list[Block]:
    """One strided view per position inside the blocks; a remainder is cut off."""
    ends = [n // f * f for n, f in zip(block.shape, factors, strict=True)]
    return [
        block[tuple(slice(o, e, f) for o, e, f in zip(at, ends, factors, strict=True))]
        for at in itertools.product(*(range(f) for f in factors))
    ]


def mean_blocks(block: Block, factors: Sequence[int]) -> Block:
    """Means over blocks, in the type of the input; nothing wraps or overflows.

    Integers are rounded to nearest, ties to even (64-bit ones: up).

    Parameters
    ----------
    block : ndarray
        Values.
    factors : sequence of int
        Block size per axis.
    """
    parts = _offsets(block, factors)
    count = len(parts)
    if block.dtype.kind in "fc":
        # each part is divided first: the sum of large values would overflow
        share = np.array(1 / count, dtype=block.dtype)
        mean: Block = parts[0] * share
        for part in parts[1:]:
            np.add(mean, part * share, out=mean)
        return mean
    if block.dtype.itemsize == 8:
        # no wider type holds the sum: add quotients, and round what the remainders make
        whole, rest = np.zeros(parts[0].shape, block.dtype), np.zeros(parts[0].shape, np.int64)
        for part in parts:
            whole += part // count
            rest += (part % count).astype(np.int64)
        rounded: Block = whole + ((2 * rest + count) // (2 * count)).astype(block.dtype)
        return rounded
    total = parts[0].astype(np.int32 if block.dtype.itemsize <= 2 else np.int64)
    for part in parts[1:]:
        np.add(total, part, out=total)
    nearest: Block = np.rint(np.divide(total, count)).astype(block.dtype)
    return nearest


def mode_blocks(block: Block, factors: Sequence[int]) -> Block:
    """Most frequent value of each block; among equals the background (0) loses, then the smaller value wins.

    No value is invented, so it is right for labels.
    """
    parts = [np.ascontiguousarray(p) for p in _offsets(block, factors)]
    best = parts[0].copy()
    best_count = np.zeros(best.shape, np.uint8 if len(parts) < 256 else np.uint32)
    for part in parts:
        count = np.zeros_like(best_count)
        for other in parts:
            count += part == other
        better = (count > best_count) | ((count == best_count) & (part != 0) & ((best == 0) | (part < best)))
        np.copyto(best, part, where=better)
        np.copyto(best_count, count, where=better)
    return best


METHODS = {"mean": mean_blocks, "mode": mode_blocks}


class CoarsenedArray(LazyArray):
    """An array downsampled by whole blocks, lazily.

    Parameters
    ----------
    source : LazyArray
        The finer array.
    factors : sequence of int
        Block size per axis; a remainder at the end is cut off.
    method : str
        One of `METHODS`.
    """

    def __init__(self, source: LazyArray, factors: Sequence[int], method: str) -> None:
        self.source, self.factors, self.method = source, tuple(factors), method
        self.shape = tuple(n // f for n, f in zip(source.shape, factors, strict=True))
        self.dtype = source.dtype
        if source.chunks is not None:
            self.chunks = tuple(max(1, c // f) for c, f in zip(source.chunks, factors, strict=True))

    def _read(self, region: Region) -> Block:
        out = np.empty([len(r) for r in region], self.dtype)
        reduce = METHODS[self.method]
        for at in self._windows(out.shape):
            fine = tuple(
                range((r.start + a.start) * f, (r.start + a.stop) * f)
                for r, a, f in zip(region, at, self.factors, strict=True)
            )
            out[at] = reduce(self.source._read(fine), self.factors)
        return out

    def _windows(self, shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
        step = [min(n, c) for n, c in zip(shape, self.chunks or shape, strict=True)]
        for k in reversed(range(len(step))):
            size = math.prod(s * f for s, f in zip(step, self.factors, strict=True)) * self.dtype.itemsize
            step[k] = min(shape[k], step[k] * max(1, _WINDOW // size))
        starts = [range(0, n, s) for n, s in zip(shape, step, strict=True)]
        return [
            tuple(slice(a, min(a + s, n)) for a, s, n in zip(at, step, shape, strict=True))
            for at in itertools.product(*starts)
        ]

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-coarsened", self.source.__dask_tokenize__(), self.factors, self.method)
