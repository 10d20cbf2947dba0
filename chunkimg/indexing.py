"""Indices as NumPy understands them, brought to one form: what is picked along each axis."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Block",
    "Indices",
    "Reader",
    "Region",
    "arranged",
    "as_range",
    "broadcast",
    "full_region",
    "independent",
    "normalize_key",
    "picked",
    "varying",
]

Block = NDArray[Any]
Indices = NDArray[np.int64]
#: one range with a positive step per axis
Region = tuple[range, ...]
Reader = Callable[[Region], Block]


def full_region(shape: Sequence[int]) -> Region:
    """The region that is everything."""
    return tuple(range(n) for n in shape)


def normalize_key(key: Any, shape: tuple[int, ...]) -> tuple[list[Sequence[int]], tuple[Any, ...]]:
    """An index as the indices picked along each axis, and the index that then drops axes and inserts new ones.

    Integers, slices, an ellipsis, None, and one list or 1-D array (which Dask hands down) are understood.

    Raises
    ------
    IndexError
        For an index out of range, too many indices, or anything else.
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    dots = [n for n, k in enumerate(parts) if k is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    given = sum(k is not None and k is not Ellipsis for k in parts)
    if given > len(shape):
        raise IndexError(f"too many indices: the array has {len(shape)} axes, {given} were indexed")
    at = dots[0] if dots else len(parts)
    parts[at : at + len(dots)] = [slice(None)] * (len(shape) - given)
    if sum(isinstance(k, (list, np.ndarray)) and np.ndim(k) > 0 for k in parts) > 1:
        raise IndexError("lazy arrays take one list of indices at a time; take_outer() and take_points() take several")
    sizes = iter(shape)
    found = [None if k is None else picked(next(sizes), k) for k in parts]
    post = tuple(None if p is None else 0 if isinstance(p, int) else slice(None) for p in found)
    return [[p] if isinstance(p, int) else p for p in found if p is not None], post


def picked(n: int, key: Any) -> int | Sequence[int]:
    """Indices that one part of a key picks of n, or the one index of an integer."""
    if isinstance(key, slice):
        return range(n)[key]
    if isinstance(key, (list, np.ndarray)) and np.ndim(key) == 1:
        indices = np.asarray(key)
        if indices.dtype == np.bool_ and len(indices) == n:
            indices = np.flatnonzero(indices)
        return as_range(_inside(n, indices).tolist())
    try:
        return int(_inside(n, np.asarray(operator.index(key))))
    except TypeError:
        raise IndexError(f"lazy arrays take integers, slices, lists, None and an ellipsis, found {key!r}") from None


def _inside(n: int, indices: NDArray[Any]) -> Indices:
    """Indices counted from the start of an axis of size n; those out of bounds raise IndexError."""
    if indices.size and indices.dtype.kind not in "iu":
        raise IndexError(f"indices are integers, found {indices.dtype}")
    wrong = (indices < -n) | (indices >= n)
    if np.any(wrong):
        raise IndexError(f"index {indices[wrong].flat[0]} is out of bounds for an axis of size {n}")
    out = indices.astype(np.int64)
    return np.where(out < 0, out + n, out)


def as_range(indices: Sequence[int]) -> Sequence[int]:
    """The same indices as a range where they are one."""
    if isinstance(indices, range):
        return indices
    if len(indices) == 0:
        return range(0)
    if len(indices) == 1:
        return range(indices[0], indices[0] + 1)
    step = indices[1] - indices[0]
    if step == 0 or np.any(np.diff(indices) != step):
        return tuple(indices)
    return range(indices[0], indices[-1] + (1 if step > 0 else -1), step)


def broadcast(sizes: Sequence[int], key: Sequence[Any]) -> tuple[tuple[int, ...], list[Indices]]:
    """Shape of values at points, and the indices of each axis, broadcastable to it; slices are its last axes."""
    slices = sum(isinstance(k, slice) for k in key)
    arrays = {a: _inside(sizes[a], np.asarray(k)) for a, k in enumerate(key) if not isinstance(k, slice)}
    shape = np.broadcast_shapes(*(i.shape for i in arrays.values()))
    depth, out = len(shape) + slices, []
    for axis, (n, k) in enumerate(zip(sizes, key, strict=True)):
        if isinstance(k, slice):
            line = np.arange(n)[k]
            out.append(line.reshape([-1 if d == len(shape) else 1 for d in range(depth)]))
            shape = (*shape, len(line))
        else:
            lead = (1,) * (depth - slices - arrays[axis].ndim)
            out.append(arrays[axis].reshape(lead + arrays[axis].shape + (1,) * slices))
    return shape, out


def varying(indices: Indices) -> tuple[int, ...]:
    """Dimensions along which an array of indices varies."""
    return tuple(d for d, n in enumerate(indices.shape) if n > 1)


def independent(indices: list[Indices]) -> list[bool]:
    """For each axis whether its indices vary along dimensions along which those of no other axis vary."""
    along = [set(varying(i)) for i in indices]
    return [all(a.isdisjoint(b) for j, b in enumerate(along) if j != k) for k, a in enumerate(along)]


def arranged(block: Block, along: Sequence[tuple[int, ...]], shape: tuple[int, ...]) -> Block:
    """A block whose axes stand each for some dimensions of a result, as that result."""
    dims = [d for group in along for d in group]
    apart = block.reshape([shape[d] for d in dims])
    turned = apart.transpose(sorted(range(len(dims)), key=dims.__getitem__))
    # dimensions of size 1, and those along which no index varies
    return turned.reshape([n if d in dims else 1 for d, n in enumerate(shape)])
