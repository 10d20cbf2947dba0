"""How often each value occurs: by tables of bit patterns of 16 bits, or by sorted arrays of values."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..lazy import Block
from .count_kernel import TABLES, count_kernel

__all__ = [
    "Counts",
    "count_digits",
    "count_values",
    "digit_order",
    "digits",
    "distinct_values",
    "flat",
    "merged",
    "pieces",
]

#: values that are worked on at once, so that temporaries stay in a core's cache
_PIECE = 1 << 17
#: labels that are counted at once before they are merged with others: what that takes is a few times as much
_GROUP = 1 << 20
_SIZE = 1 << 16
#: integers whose values lie within this are counted in a table
_SPAN = 1 << 20

#: values, ascending, and how often each occurs
Counts = tuple[Block, NDArray[np.int64]]


def flat(block: Block) -> Block:
    """All values of a block along one axis, in the order in which they lie in memory."""
    order = sorted(range(block.ndim), key=lambda k: -abs(block.strides[k]))
    return block.transpose(order).reshape(-1)


def pieces(values: Block) -> Iterator[Block]:
    """A flat block, cut."""
    for start in range(0, values.size, _PIECE):
        yield values[start : start + _PIECE]


# ---------------------------------------------------------------------------------------------- tables of digits


def digits(values: Block) -> list[NDArray[Any]]:
    """Bit patterns of flat values, cut into digits of 16 bits, the most significant first; one of 8 bits for bytes."""
    values = np.ascontiguousarray(values)
    if values.itemsize == 1:
        return [values.view(np.uint8)]
    each = values.view(np.uint16).reshape(-1, values.itemsize // 2)
    found = [each[:, k] for k in range(each.shape[1])]
    return found[::-1] if sys.byteorder == "little" else found


def digit_order(dtype: np.dtype[Any], first: int | None = None) -> NDArray[np.int64]:
    """Digits in ascending order of the values that have them: of the first digit, or of those that follow `first`."""
    size = 1 << min(16, 8 * dtype.itemsize)
    up = np.arange(size)
    if first is not None:
        return up[::-1] if dtype.kind == "f" and first >= size // 2 else up
    if dtype.kind == "i":
        return np.roll(up, size // 2)
    # among negative floats a larger pattern is a smaller value
    return np.concatenate([up[: size // 2 - 1 : -1], up[: size // 2]]) if dtype.kind == "f" else up


def distinct_values(dtype: np.dtype[Any], table: NDArray[np.int64]) -> Counts:
    """Values, ascending, and counts from a table of all patterns of a type of at most 16 bits."""
    order = digit_order(dtype)
    order = order[table[order] > 0]
    return order.astype(f"u{dtype.itemsize}").view(dtype), table[order]


def count_digits(digit: NDArray[Any], fast: bool) -> NDArray[np.int64]:
    """How often each digit occurs, by the kernel where `fast` and there is one."""
    kernel = count_kernel() if fast and digit.dtype.itemsize == 2 else None
    if kernel is not None:
        tables = np.zeros((TABLES, _SIZE), np.uint32)
        # no count may exceed 32 bits
        for start in range(0, digit.size, 1 << 31):
            kernel(digit[start : start + (1 << 31)], tables)
        total: NDArray[np.int64] = tables.sum(axis=0, dtype=np.int64)
        return total
    table = np.zeros(1 << 8 * digit.dtype.itemsize, np.int64)
    for piece in pieces(digit):
        ends = _ends_of_runs(piece, piece.size // 8)
        if ends is None:
            table += np.bincount(piece, minlength=table.size)
        else:
            # weights are summed in float64, which is exact here
            table += np.bincount(piece[ends], np.diff(ends, prepend=-1), minlength=table.size).astype(np.int64)
    return table


def _ends_of_runs(values: Block, most: int) -> NDArray[np.intp] | None:
    """Index of the last of each run of equal values; None where there are more runs than `most`."""
    changes = values[1:] != values[:-1]
    if np.count_nonzero(changes) >= most:
        return None
    return np.append(np.flatnonzero(changes), values.size - 1)


# ---------------------------------------------------------------------------------------------- sorted arrays


def count_values(values: Block) -> Counts:
    """How often each integer of 32 or 64 bits occurs in flat values that are not empty.

    Labels come in runs: what is sorted is one value per run.
    """
    total: Counts | None = None
    for start in range(0, values.size, _GROUP):
        found = _count_group(values[start : start + _GROUP])
        total = found if total is None else merged(total, found)
    assert total is not None
    return total


def _count_group(values: Block) -> Counts:
    runs, lengths = [], []
    for piece in pieces(values):
        ends = _ends_of_runs(piece, piece.size // 4 + 1)
        if ends is None:
            return _count_all(values, None)
        runs.append(piece[ends])
        lengths.append(np.diff(ends, prepend=-1))
    return _count_all(np.concatenate(runs), np.concatenate(lengths))


def _count_all(values: Block, weights: NDArray[np.int64] | None) -> Counts:
    low, high = int(values.min()), int(values.max())
    span = high - low + 1
    if span <= min(_SPAN, 8 * values.size):
        shifted = (values - values.dtype.type(low)).astype(np.intp)
        # weights are summed in float64, which is exact here
        table = np.bincount(shifted, weights, minlength=span).astype(np.int64)
        there = np.flatnonzero(table)
        return there.astype(values.dtype) + values.dtype.type(low), table[there]
    if weights is not None:
        order = np.argsort(values, kind="stable")
        return _gathered(values[order], weights[order])
    ordered = np.sort(values)
    return _gathered(ordered, None)


def _gathered(values: Block, counts: NDArray[np.int64] | None) -> Counts:
    """Counts of sorted values that may occur several times; each once, where there are no counts."""
    starts = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])
    if counts is None:
        return values[starts], np.diff(starts, append=values.size)
    return values[starts], np.add.reduceat(counts, starts)


def merged(a: Counts, b: Counts) -> Counts:
    """Counts of both."""
    at = np.searchsorted(a[0], b[0])
    known = at < a[0].size
    known[known] = a[0][at[known]] == b[0][known]
    if known.all():
        # most often nothing is new
        a[1][at] += b[1]
        return a
    values, counts = np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]])
    order = np.argsort(values, kind="stable")
    return _gathered(values[order], counts[order])
