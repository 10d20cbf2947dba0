"""Values at points between voxels: which voxels they are made of, and in which parts.

The border rule is that of ITK (``itkImageFunction.h``, ``IsInsideBuffer``): a point up to half a voxel outside the
outermost voxel centres is inside, and takes the values at the border; all others are outside. (Where exactly half a
voxel is on the upper side, ITK is of the other opinion; by rounding, either may happen to it.)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GeometryError
from ..indexing import Block, Indices
from ..lazy import Scaling

__all__ = ["METHODS", "Corners", "check_method", "corners_of", "value_type", "weighted"]

#: ``"label"`` is ``"nearest"``, for those who want to say what the voxels are
METHODS = ("linear", "nearest", "label")
#: indices this close to the middle or the edge of a voxel are taken to be there: what rounding of affines costs
_ROUNDING = 1e-9
#: voxels by which a point may lie beyond a border: rounding, again
_SLACK = 1e-6

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Corners:
    """The voxels that values at points are made of: along each axis one, or two in a row.

    Attributes
    ----------
    low, high : ndarray of int, shape (3, N)
        Index along z, y, x of the first and the last voxel.
    part : ndarray, shape (3, N)
        How much the last one counts, from 0 to below 1; 0 where it is the first one.
    """

    low: Indices
    high: Indices
    part: Array

    def __len__(self) -> int:
        return int(self.low.shape[1])


def check_method(method: str) -> str:
    """Return `method` if it is one of :data:`METHODS`, else raise ValueError."""
    if method not in METHODS:
        raise ValueError(f"method is one of {', '.join(METHODS)}; found {method!r}")
    return method


def corners_of(index: Array, shape: Sequence[int], method: str) -> tuple[Indices, Corners]:
    """Which points are inside a grid, and the voxels of each of them.

    Parameters
    ----------
    index : ndarray, shape (N, 3)
        Fractional indices in x, y, z order; points that are not finite are outside.
    shape : (int, int, int)
        Voxels along x, y, z.
    method : str
        One of :data:`METHODS`.

    Returns
    -------
    inside : ndarray of int
        Numbers of the points that are inside, ascending.
    corners : Corners
        Of those.
    """
    index = np.asarray(index, np.float64)
    if index.ndim != 2 or index.shape[1] != 3:
        raise GeometryError(f"points have shape (N, 3) in x, y, z order, found {index.shape}")
    with np.errstate(invalid="ignore"):
        halves = np.rint(2 * index) / 2
        index = np.where(np.abs(index - halves) < _ROUNDING, halves, index)
    sizes = np.asarray(shape)
    inside = np.flatnonzero(np.all((index >= -0.5 - _SLACK) & (index <= sizes - 0.5 + _SLACK), axis=1))
    at = np.clip(index[inside], 0, sizes - 1).T[::-1]
    if check_method(method) != "linear":
        # halfway is up, as of ITK's Math::RoundHalfIntegerUp
        nearest = np.floor(at + 0.5).astype(np.int64)
        return inside, Corners(nearest, nearest, np.zeros(nearest.shape))
    low = np.floor(at)
    part = at - low
    first = low.astype(np.int64)
    return inside, Corners(first, first + (part > 0), part)


def value_type(stored: np.dtype[Any], scaling: Scaling | None, method: str) -> np.dtype[Any]:
    """Type of values at points: that of the image, or float64 (complex128) where they are interpolated."""
    values = stored if scaling is None else scaling.dtype(stored)
    return values if method != "linear" else np.dtype("c16" if values.kind == "c" else "f8")


def weighted(
    block: Block,
    first: Sequence[Indices],
    last: Sequence[Indices],
    weights: Sequence[tuple[Array, Array]],
    scaling: Scaling | None,
) -> Block:
    """Sums over the voxels of points, weighted; voxels that do not count are not looked at: NaN beside is no NaN here.

    Parameters
    ----------
    block : ndarray, shape (..., z, y, x)
        Stored values.
    first, last : sequence of 3 arrays of int, shape (N,)
        Indices into the block along z, y, x.
    weights : sequence of 3 pairs of arrays, shape (N,)
        How much first and last count along z, y, x.
    scaling : Scaling or None
        Applied to the voxels.

    Returns
    -------
    ndarray, shape (..., N)
        float64 or complex128.
    """
    total: Block | None = None
    for ends in itertools.product((0, 1), repeat=3):
        weight = weights[0][ends[0]] * weights[1][ends[1]] * weights[2][ends[2]]
        used = np.flatnonzero(weight)
        if not used.size:
            continue
        values = picked(block, [(first, last)[e][k][used] for k, e in enumerate(ends)], scaling)
        if total is None:
            kind = np.dtype("c16" if values.dtype.kind == "c" else "f8")
            total = np.zeros((*block.shape[:-3], len(weight)), kind)
        if used.size == len(weight):
            total += weight * values
        else:
            total[..., used] += weight[used] * values
    return np.zeros((*block.shape[:-3], len(first[0]))) if total is None else total


def picked(block: Block, at: Sequence[Indices], scaling: Scaling | None) -> Block:
    """Voxels of a block at indices along z, y, x, scaled; shape (..., N)."""
    values: Block = block[..., at[0], at[1], at[2]]
    return values if scaling is None else scaling.apply(values)
