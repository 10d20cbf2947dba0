"""Downsampling by blocks: means of intensities, modes of labels.

Both work on windows that stay in a core's cache, in whole-array steps that NumPy runs outside the GIL, so that threads
scale; modes in machine code where there is some. For means, kernels compiled by numba gained less on a gigabyte than
importing numba costs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..chunks import block_shape, regions
from ..lazy import Block, Derived, LazyArray, Region
from .mode_kernel import mode_kernel

__all__ = ["METHODS", "CoarsenedArray", "mean_blocks", "mode_blocks", "reducer"]

#: source bytes that are reduced at once
_WINDOW = 16 << 20
#: source bytes that a kernel works on at once, with temporaries well inside a core's cache
_CACHED = 512 << 10
#: bytes of a job from which making machine code for modes costs less than it saves (measured)
_WORTH = 256 << 20
#: where more of the blocks of a window than this hold several values, all are sorted, not only those
_MANY_MIXED = 0.15

_Kernel = Callable[[Block, Sequence[int], Block], None]


def mean_blocks(block: Block, factors: Sequence[int], out: Block | None = None) -> Block:
    """Means over blocks, in the type of the input; nothing wraps or overflows.

    Integers are rounded to nearest, ties to even (64-bit ones: up).

    Parameters
    ----------
    block : ndarray
        Values, in any memory order.
    factors : sequence of int
        Block size per axis; a remainder at the end of an axis is cut off.
    out : ndarray, optional
        Where the means are put, of the shape ``n // factor`` per axis and the type of `block`.

    Returns
    -------
    ndarray
        `out`, or a new array.

    Examples
    --------
    >>> import numpy as np
    >>> mean_blocks(np.array([[1, 2, 9], [4, 5, 9]], "i2"), (2, 2))
    array([[3]], dtype=int16)
    """
    if block.dtype.kind in "fc":
        return _by_windows(_float_means, block, factors, out)
    if block.dtype.itemsize == 8:
        return _by_windows(_long_means, block, factors, out)
    if block.dtype.kind == "b":
        made = _by_windows(_integer_means, block.view("u1"), factors, None if out is None else out.view("u1"))
        return made.view(bool) if out is None else out
    return _by_windows(_integer_means, block, factors, out)


def mode_blocks(block: Block, factors: Sequence[int], out: Block | None = None, fast: bool = False) -> Block:
    """Most frequent value of each block; among equals the background (0) loses, then the smaller value wins.

    No value is invented, so it is right for labels.

    Parameters
    ----------
    block, factors, out
        As for `mean_blocks`.
    fast : bool
        Whether machine code for it may be made, which takes a tenth of a second.

    Examples
    --------
    >>> import numpy as np
    >>> mode_blocks(np.array([[0, 0, 3, 3], [7, 7, 3, 1]], "u1"), (2, 2))
    array([[7, 3]], dtype=uint8)
    """
    if block.dtype.kind in "fc":
        return _by_windows(_modes_by_pairs, block, factors, out)
    if block.dtype.kind == "b":
        made = mode_blocks(block.view("u1"), factors, None if out is None else out.view("u1"), fast)
        return made.view(bool) if out is None else out
    kernel = mode_kernel(block, factors, out) if fast else None
    return _by_windows(kernel or _integer_modes, block, factors, out)


METHODS = {"mean": mean_blocks, "mode": mode_blocks}


def reducer(method: str, nbytes: int) -> Callable[[Block, Sequence[int], Block], Block]:
    """One of `METHODS`, for a job of so many bytes."""
    return partial(mode_blocks, fast=True) if method == "mode" and nbytes >= _WORTH else METHODS[method]


def _by_windows(kernel: _Kernel, block: Block, factors: Sequence[int], out: Block | None) -> Block:
    """Run a kernel over a block, window by window."""
    shape = tuple(n // f for n, f in zip(block.shape, factors, strict=True))
    if out is None:
        out = np.empty(shape, block.dtype)
    elif out.shape != shape or out.dtype != block.dtype:
        raise ValueError(
            f"out is {out.dtype} of shape {out.shape}; blocks {tuple(factors)} of {block.dtype} of shape "
            f"{block.shape} make {block.dtype} of shape {shape}"
        )
    if 0 in shape:
        return out
    order = sorted(range(block.ndim), key=lambda k: -abs(block.strides[k]))
    window = block_shape(shape, block.dtype.itemsize * math.prod(factors), order=order, target=_CACHED)
    for region in regions(shape, window, order):
        coarse = tuple(slice(r.start, r.stop) for r in region)
        fine = tuple(slice(r.start * f, r.stop * f) for r, f in zip(region, factors, strict=True))
        kernel(block[fine], factors, out[coarse])
    return out


def _parts(block: Block, factors: Sequence[int]) -> Iterator[Block]:
    """One strided view per position inside the blocks."""
    for at in itertools.product(*(range(f) for f in factors)):
        yield block[tuple(slice(o, None, f) for o, f in zip(at, factors, strict=True))]


def _along(block: Block, axis: int, factor: int) -> list[Block]:
    """One strided view per position inside the blocks, along one axis."""
    before = (slice(None),) * axis
    return [block[(*before, slice(k, None, factor))] for k in range(factor)]


def _reduced(block: Block, factors: Sequence[int]) -> list[int]:
    """Axes that shrink, slowest in memory first: what is added first are whole rows, and half of it is left."""
    return sorted((k for k, f in enumerate(factors) if f > 1), key=lambda k: -abs(block.strides[k]))


# ---------------------------------------------------------------------------------------------- means


def _integer_means(block: Block, factors: Sequence[int], out: Block) -> None:
    count = math.prod(factors)
    wide = _type_of_sums(block.dtype, count)
    total = block
    for axis in _reduced(block, factors):
        first, *rest = _along(total, axis, factors[axis])
        total = np.add(first, rest[0], dtype=wide)
        for part in rest[1:]:
            np.add(total, part, out=total)
    if count & (count - 1):
        out[...] = np.rint(np.divide(total, count))
    elif count == 1:
        out[...] = total
    else:
        # the last bit that stays tells to which side a tie goes
        shift = count.bit_length() - 1
        odd = total >> shift
        odd &= 1
        odd += count // 2 - 1
        odd += total
        odd >>= shift
        out[...] = odd


def _type_of_sums(dtype: np.dtype[Any], count: int) -> np.dtype[Any]:
    """The narrowest type for sums of so many values, with room for rounding."""
    bits = 8 * dtype.itemsize + count.bit_length() + 1
    return np.dtype(f"{'u' if dtype.kind == 'u' else 'i'}{next(n for n in (2, 4, 8) if bits <= 8 * n or n == 8)}")


def _float_means(block: Block, factors: Sequence[int], out: Block) -> None:
    # each part is divided first: the sum of large values would overflow; half precision would lose half its digits
    wide = np.result_type(block.dtype, np.float32)
    share = np.array(1 / math.prod(factors), dtype=wide)
    first, *rest = _parts(block, factors)
    mean = first * share
    scaled = np.empty_like(mean)
    for part in rest:
        np.multiply(part, share, out=scaled)
        np.add(mean, scaled, out=mean)
    out[...] = mean


def _long_means(block: Block, factors: Sequence[int], out: Block) -> None:
    # no wider type holds the sum: add quotients, and round what the remainders make
    count = math.prod(factors)
    whole, rest = np.zeros(out.shape, block.dtype), np.zeros(out.shape, np.int64)
    for part in _parts(block, factors):
        quotient, remainder = np.divmod(part, count)
        whole += quotient
        rest += remainder.astype(np.int64)
    np.add(whole, ((2 * rest + count) // (2 * count)).astype(block.dtype), out=out)


# ---------------------------------------------------------------------------------------------- modes


def _integer_modes(block: Block, factors: Sequence[int], out: Block) -> None:
    """Most blocks of a label map hold one label: those that hold several are found first."""
    first, differing = block, np.zeros((), block.dtype)
    for axis in _reduced(block, factors):
        values = _along(first, axis, factors[axis])
        if axis == block.ndim - 1 and factors[axis] == 2 and _pairs(first) is not None:
            differing = _differing_pairs(first, differing)
        else:
            found = [np.bitwise_xor(v, values[0]) for v in values[1:]]
            found += _along(differing, axis, factors[axis]) if differing.ndim else []
            differing = found[0]
            for more in found[1:]:
                np.bitwise_or(differing, more, out=differing)
        first = values[0]
    differing = differing != 0
    mixed = np.count_nonzero(differing)
    if mixed > _MANY_MIXED * out.size:
        # copies, also of what is contiguous: they are overwritten
        out[...] = _longest_run([np.array(p, order="C") for p in _parts(block, factors)])
        return
    out[...] = first
    if mixed:
        at = np.unravel_index(np.flatnonzero(differing), differing.shape)
        out[at] = _longest_run(_gathered(block, factors, at))


def _pairs(block: Block) -> Block | None:
    """Neighbours along the last axis as one number each, or None where they are none in memory."""
    if block.itemsize > 4 or block.strides[-1] != block.itemsize or block.shape[-1] % 2:
        return None
    return block.view(f"u{2 * block.itemsize}")


def _differing_pairs(block: Block, differing: Block) -> Block:
    """Not zero where two neighbours along the last axis differ, or anything else did in one of them."""
    pairs = _pairs(block)
    assert pairs is not None
    half = np.array(8 * block.itemsize, pairs.dtype)
    found: Block = pairs >> half
    found ^= pairs
    # the upper half holds one of the two
    found &= np.array((1 << int(half)) - 1, pairs.dtype)
    if differing.ndim:
        before = _pairs(differing)
        assert before is not None
        found |= before
    return found


def _gathered(block: Block, factors: Sequence[int], at: tuple[NDArray[np.intp], ...]) -> list[Block]:
    """The values of some blocks, one array per position inside a block."""
    block = np.ascontiguousarray(block)
    steps = [s // block.itemsize for s in block.strides]
    corner = np.zeros(at[0].shape, np.intp)
    for k, f, step in zip(at, factors, steps, strict=True):
        corner += k * (f * step)
    flat = block.reshape(-1)
    inner = itertools.product(*(range(f) for f in factors))
    return [flat.take(corner + sum(o * s for o, s in zip(offset, steps, strict=True))) for offset in inner]


def _longest_run(parts: list[Block]) -> Block:
    """The mode of integers across arrays, which are overwritten: sorted, equal ones are neighbours."""
    spare = np.empty_like(parts[0])
    for a, b in _sorting_network(len(parts)):
        np.minimum(parts[a], parts[b], out=spare)
        np.maximum(parts[a], parts[b], out=parts[b])
        parts[a], spare = spare, parts[a]
    best = parts[0].copy()
    spare = np.empty_like(best)
    count: NDArray[Any] = np.ones(best.shape, np.uint8 if len(parts) < 256 else np.uint32)
    run = count.copy()
    for before, part in itertools.pairwise(parts):
        run *= (part == before).view(np.uint8)
        run += 1
        better = (run == count) & (best == 0)
        better |= run > count
        # best = part where better: without branches, which are taken at random here
        np.bitwise_xor(best, part, out=spare)
        spare *= better.view(np.uint8).astype(best.dtype)
        best ^= spare
        np.maximum(count, run, out=count)
    return best


def _sorting_network(n: int) -> list[tuple[int, int]]:
    """Pairs to be put in order, one after the other, to sort n values (Knuth 5.2.2, Batcher's merge exchange)."""
    pairs = []
    p = top = 1 << max(0, (n - 1).bit_length() - 1)
    while p > 0:
        q, r, distance = top, 0, p
        while True:
            pairs += [(i, i + distance) for i in range(n - distance) if i & p == r]
            if q == p:
                break
            distance, q, r = q - p, q >> 1, p
        p >>= 1
    return pairs


def _modes_by_pairs(block: Block, factors: Sequence[int], out: Block) -> None:
    """For values that may be NaN, which equals nothing."""
    parts = [np.ascontiguousarray(p) for p in _parts(block, factors)]
    best = parts[0].copy()
    best_count: NDArray[Any] = np.zeros(best.shape, np.uint8 if len(parts) < 256 else np.uint32)
    for part in parts:
        count = np.zeros_like(best_count)
        for other in parts:
            count += part == other
        with np.errstate(invalid="ignore"):
            smaller = part < best
        better = (count > best_count) | ((count == best_count) & (part != 0) & ((best == 0) | smaller))
        np.copyto(best, part, where=better)
        np.copyto(best_count, count, where=better)
    out[...] = best


class CoarsenedArray(Derived):
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
        if any(r.step != 1 for r in region):
            whole = self._read(tuple(range(r.start, r[-1] + 1) for r in region))
            return whole[tuple(slice(None, None, r.step) for r in region)]
        out = np.empty([len(r) for r in region], self.dtype)
        reduce = reducer(self.method, self.source.nbytes)
        for at in self._windows(out.shape):
            fine = tuple(
                range((r.start + a.start) * f, (r.start + a.stop) * f)
                for r, a, f in zip(region, at, self.factors, strict=True)
            )
            reduce(self.source._read(fine), self.factors, out[at])
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
