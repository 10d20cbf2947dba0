"""Values at points between voxels: which voxels they are made of, and in which parts.

The border rule is that of ITK (``itkImageFunction.h``, ``IsInsideBuffer``): a point up to half a voxel outside the
outermost voxel centres is inside, and takes the values at the border; all others are outside. (Where exactly half a
voxel is on the upper side, ITK is of the other opinion; by rounding, either may happen to it.)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..indexing import Block, Indices
from ..scaling import Scaling
from .lines import ROUNDING

__all__ = [
    "METHODS",
    "Corners",
    "Voxels",
    "blended",
    "check_method",
    "corners_of",
    "positions_in",
    "value_type",
    "weighted",
]

#: ``"label"`` is ``"nearest"``, for those who want to say what the voxels are
METHODS = ("linear", "nearest", "label")
#: indices this close to the middle or the edge of a voxel are taken to be there: what rounding of affines costs
_ROUNDING = 1e-9
#: voxels of a block, for each that is picked of it, up to which the block may be copied
_WORTH = 16
#: values that are worked on at a time: what is computed of them stays in the cache
_PIECE = 1 << 13
#: voxels by which a point may lie beyond a border: rounding, again
_SLACK = 1e-6

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Corners:
    """The voxels that values at points are made of: along each axis one, or two in a row.

    Attributes
    ----------
    at : ndarray, shape (N, 3)
        Fractional indices along z, y, x of each point; `corners_of` makes them.
    linear : bool
        Whether there are two: else it is the nearest one.
    """

    at: Array
    linear: bool

    def __len__(self) -> int:
        return len(self.at)

    def of(self, some: slice | Indices) -> tuple[Indices, Indices, Array]:
        """Voxels of some points, shape (3, n) each: the first, the last, and how much the last one counts.

        That is from 0 to below 1; 0 where it is the first one.
        """
        at = np.ascontiguousarray((self.at[some] if isinstance(some, slice) else self.at.take(some, 0)).T)
        if not self.linear:
            # halfway is up, as of ITK's Math::RoundHalfIntegerUp
            nearest = np.floor(at + 0.5).astype(np.int64)
            return nearest, nearest, np.zeros(nearest.shape)
        first = at.astype(np.int64)
        part = at - first
        return first, first + (part > 0), part


def check_method(method: str) -> str:
    """Return `method` if it is one of :data:`METHODS`, else raise ValueError."""
    if method not in METHODS:
        raise ValueError(f"method is one of {', '.join(METHODS)}; found {method!r}")
    return method


def corners_of(at: Array, method: str) -> Corners:
    """The voxels of points.

    Parameters
    ----------
    at : ndarray, shape (3, N)
        Fractional indices along z, y, x, at or between voxel centres, as of `positions_in`.
    method : str
        One of :data:`METHODS`.
    """
    linear = check_method(method) == "linear"
    out = np.empty((at.shape[1], 3))
    for start in range(0, len(out), _PIECE):
        here = at[:, start : start + _PIECE]
        halves = np.rint(2 * here) / 2
        out[start : start + _PIECE] = np.where(np.abs(here - halves) < _ROUNDING, halves, here).T
    return Corners(out, linear)


def value_type(stored: np.dtype[Any], scaling: Scaling | None, method: str) -> np.dtype[Any]:
    """Type of values at points: that of the image, or float64 (complex128) where they are interpolated."""
    values = stored if scaling is None else scaling.dtype(stored)
    return values if method != "linear" else np.dtype("c16" if values.kind == "c" else "f8")


class Voxels:
    """Voxels of a block, picked one by one.

    Parameters
    ----------
    block : ndarray, shape (..., z, y, x)
        Stored values.
    scaling : Scaling or None
        Applied to what is picked.
    count : int
        About how many are going to be picked.
    """

    def __init__(self, block: Block, scaling: Scaling | None, count: int) -> None:
        self.block, self.scaling = block, scaling
        self.lead, (_, ny, nx) = block.shape[:-3], block.shape[-3:]
        self._steps = ny * nx, nx
        # picking out of a line is six times faster; few voxels of a large file are not worth a copy of all
        line = block.flags.c_contiguous or block.size <= _WORTH * count * math.prod(self.lead)
        self._line = block.reshape((*self.lead, -1)) if line else None

    @property
    def finite(self) -> bool:
        """Whether no value can be NaN or infinite, and so nothing comes of one times zero."""
        return self.block.dtype.kind not in "fc"

    def at(self, z: Indices, y: Indices, x: Indices) -> Block:
        """Values at indices, shape (..., N)."""
        if self._line is None:
            values: Block = self.block[..., z, y, x]
        else:
            values = self._line.take(z * self._steps[0] + y * self._steps[1] + x, -1)
        return values if self.scaling is None else self.scaling.apply(values)

    def around(self, ends: Sequence[tuple[Indices, Indices]]) -> list[Block]:
        """Values at the eight voxels of which two indices along z, y, x are given each, x fastest."""
        if self._line is None:
            return [self.at(z, y, x) for z, y, x in itertools.product(*ends)]
        planes, rows = ([i * n for i in pair] for pair, n in zip(ends, self._steps, strict=False))
        values = [self._line.take(at + x, -1) for at in (p + r for p in planes for r in rows) for x in ends[2]]
        return values if self.scaling is None else [self.scaling.apply(v) for v in values]


def weighted(
    voxels: Voxels,
    first: Sequence[Indices],
    last: Sequence[Indices],
    weights: Sequence[tuple[Array, Array]],
) -> Block:
    """Sums over the voxels of points, weighted; voxels that do not count are not looked at: NaN beside is no NaN here.

    Parameters
    ----------
    voxels : Voxels
        Where they are picked from.
    first, last : sequence of 3 arrays of int, shape (N,)
        Indices along z, y, x.
    weights : sequence of 3 pairs of arrays, shape (N,)
        How much first and last count along z, y, x.

    Returns
    -------
    ndarray, shape (..., N)
        float64 or complex128.
    """
    total: Block | None = None
    for ends in itertools.product((0, 1), repeat=3):
        weight = weights[0][ends[0]] * weights[1][ends[1]] * weights[2][ends[2]]
        used = np.count_nonzero(weight)
        if not used:
            continue
        at = [(first, last)[e][k] for k, e in enumerate(ends)]
        some: Any = slice(None)
        if used < len(weight) and not voxels.finite:
            some = np.flatnonzero(weight)
        values = weight[some] * voxels.at(*(i[some] for i in at))
        if total is None:
            total = np.zeros((*voxels.lead, len(weight)), values.dtype)
        total[..., some] += values
    return np.zeros((*voxels.lead, len(first[0]))) if total is None else total


def positions_in(points: Array, to_index: Array, shape: Sequence[int]) -> tuple[Indices, Array]:
    """Which points are inside a grid, and where, at or between its voxel centres.

    Parameters
    ----------
    points : ndarray, shape (N, 3)
        World coordinates in x, y, z order; what is not finite is outside.
    to_index : ndarray, shape (4, 4)
        World to index, x, y, z.
    shape : (int, int, int)
        Voxels along x, y, z.

    Returns
    -------
    inside : ndarray of int
        Numbers of the points that are inside, ascending.
    at : ndarray, shape (3, n)
        Fractional indices of those along z, y, x.
    """
    at, inside = np.empty((3, len(points))), np.ones(len(points), np.bool_)
    with np.errstate(invalid="ignore"):
        for start in range(0, len(points), _PIECE):
            s = slice(start, start + _PIECE)
            x, y, z = points[s].T
            for line, (a, b, c, offset), n in zip(at[::-1, s], to_index[:3], shape, strict=True):
                line[:] = a * x + b * y + c * z + offset
                inside[s] &= (line >= -0.5 - _SLACK) & (line <= n - 0.5 + _SLACK)
                np.clip(line, 0, n - 1, out=line)
                # at the centre of a voxel others have no weight
                near = np.rint(line)
                np.copyto(line, near, where=np.abs(line - near) <= ROUNDING)
    found = np.flatnonzero(inside)
    return found, at if len(found) == len(points) else at[:, found]


def blended(voxels: Voxels, first: Sequence[Indices], last: Sequence[Indices], parts: Sequence[Array]) -> Block:
    """Values between voxels, linearly; like `weighted`, in a third of the time, where all voxels are there.

    Where a voxel is not finite values may be NaN although it does not count.

    Parameters
    ----------
    voxels : Voxels
        Where they are picked from.
    first, last : sequence of 3 arrays of int, shape (N,)
        Indices along z, y, x.
    parts : sequence of 3 arrays, shape (N,)
        How much last counts, 0 to 1, along z, y, x.

    Returns
    -------
    ndarray, shape (..., N)
        float64 or complex128.
    """
    kind = np.dtype("c16" if voxels.block.dtype.kind == "c" else "f8")
    out = np.empty((*voxels.lead, len(first[0])), kind)
    step = max(1, _PIECE // max(1, math.prod(voxels.lead)))
    for start in range(0, len(first[0]), step):
        s = slice(start, start + step)
        ends = [(a[s], b[s]) for a, b in zip(first, last, strict=True)]
        values = voxels.around(ends)
        # of eight corners pairs along x, then along y, then along z
        for part in parts[::-1]:
            values = [_between(a, b, part[s], kind) for a, b in zip(values[::2], values[1::2], strict=True)]
        out[..., s] = values[0]
    return out


def _between(a: Block, b: Block, part: Array, kind: np.dtype[Any]) -> Block:
    with np.errstate(invalid="ignore"):
        out: Block = np.subtract(b, a, dtype=kind)
        out *= part
        out += a
    return out
