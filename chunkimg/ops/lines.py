"""Points on lines through a volume, and parts of a volume in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..lazy import Block

__all__ = ["ROUNDING", "SLACK", "Box", "Lines"]

#: voxels by which rounding may move a point without changing on which side of a border it lies
SLACK = 1e-6
#: voxels by which rounding may move a point from a voxel's centre, where others have no weight
ROUNDING = 1e-9

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Box:
    """A part of a volume in memory.

    Attributes
    ----------
    block : ndarray, shape (z, y, x)
        Its values, in any memory order.
    origin : (int, int, int)
        Index of its first voxel in the volume, z, y, x.
    shape : (int, int, int)
        Of the whole volume.
    """

    block: Block
    origin: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Lines:
    """Points on parallel lines: point k of a line is at ``base + step * (start + stride * k)``, in voxels z, y, x.

    Attributes
    ----------
    base : ndarray of float64, shape (lines, 3)
        Where each line would be at 0.
    step : ndarray of float64, shape (3,)
        From one to the next.
    start, stride : int
        Of the numbers along a line.
    first, last : ndarray of int64, shape (lines,)
        The points of each line that lie in the volume, ``first <= k < last``.
    """

    base: Floats
    step: Floats
    start: int
    stride: int
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    @classmethod
    def inside(cls, base: Floats, step: Floats, along: range, shape: Sequence[int]) -> Lines:
        """Lines of points numbered by a range, and which of them lie in a volume."""
        low = np.full(len(base), -np.inf)
        high = np.full(len(base), np.inf)
        for axis, n in enumerate(shape):
            near, far = -0.5 - SLACK - base[:, axis], n - 0.5 + SLACK - base[:, axis]
            if step[axis] == 0:
                np.copyto(high, -np.inf, where=(near > 0) | (far < 0))
                continue
            near, far = (near, far) if step[axis] > 0 else (far, near)
            with np.errstate(over="ignore"):
                np.maximum(low, near / step[axis], out=low)
                np.minimum(high, far / step[axis], out=high)
        first = np.clip(np.ceil((low - along.start) / along.step), 0, len(along)).astype(np.int64)
        last = np.clip(np.floor((high - along.start) / along.step) + 1, 0, len(along)).astype(np.int64)
        return cls(base, step, along.start, along.step, first, np.maximum(first, last))

    @classmethod
    def whole(cls, base: Floats, step: Floats, along: range) -> Lines:
        """Lines of points numbered by a range, all in the volume."""
        first = np.zeros(len(base), np.int64)
        return cls(base, step, along.start, along.step, first, first + len(along))

    def extent(self) -> tuple[Floats, Floats] | None:
        """Lowest and highest position of the points in the volume, z, y, x; None if there is none."""
        used = self.last > self.first
        if not np.any(used):
            return None
        base = self.base[used]
        ends = [base + self.step * (self.start + self.stride * k[used, None]) for k in (self.first, self.last - 1)]
        return np.minimum(*ends).min(axis=0), np.maximum(*ends).max(axis=0)
