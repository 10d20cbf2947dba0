"""Values between voxels: nearest and linear interpolation of a block in memory, at lines of points or at any points.

The border rule is ITK's (``ImageFunction::IsInsideBuffer``): a point is inside up to half a voxel beyond the centres of
the outer voxels, that is, on the outer voxels themselves; there the outermost centre stands for it. A point on the very
edge, or `SLACK` beyond, is inside. A point halfway between two voxels is nearest to the one of the higher index, as is
one less than `SLACK` below halfway: which one that is does not hang on how the position was rounded.

Integers of at most 16 bits and float32 are computed in float32, all else in float64; integers are rounded to nearest,
ties to even. Voxels of weight zero do not count, whatever they hold (NaN). Where `interpolate_kernels` has machine code
for a job it does the same steps in the same order, so that values are the same bit for bit.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..lazy import Block
from .interpolate_kernels import kernel_of
from .lines import SLACK, Box, Lines

__all__ = ["interpolate_lines", "interpolate_points"]

#: points that NumPy computes at a time, so that its temporaries stay in the cache
_PIECE = 1 << 14

Floats = NDArray[np.float64]


def interpolate_lines(box: Box, lines: Lines, linear: bool, out: Block) -> None:
    """Values at the points of lines that lie in the volume; the others of `out` are left as they are.

    Parameters
    ----------
    box : Box
        With all voxels that these points need.
    lines : Lines
        The points.
    linear : bool
        Interpolate linearly, else take the nearest.
    out : ndarray, shape (lines of a plane..., points)
        Of the type of the box; the points of a line lie side by side.
    """
    kernel = kernel_of(box.block, linear, out)
    if kernel is not None:
        kernel.lines(box, lines, out)
        return
    rows = out.reshape(-1, out.shape[-1])
    assert np.shares_memory(rows, out)
    numbers = np.arange(rows.shape[1])
    along = lines.start + lines.stride * numbers.astype(np.float64)
    step = max(1, _PIECE // max(1, len(numbers)))
    for at in range(0, len(rows), step):
        here = slice(at, at + step)
        wanted = (numbers >= lines.first[here, None]) & (numbers < lines.last[here, None])
        if np.any(wanted):
            base = lines.base[here].T[:, :, None]
            points = lines.step[:, None, None] * along + base
            rows[here][wanted] = _values(box, points[:, wanted], linear)


def interpolate_points(box: Box, points: Floats, linear: bool) -> Block:
    """Values at points of shape (3, n), in voxels z, y, x, that lie in the volume, and for which the box has all."""
    out = np.empty(points.shape[1], box.block.dtype)
    kernel = kernel_of(box.block, linear, out)
    if kernel is not None:
        kernel.points(box, points, out)
        return out
    for at in range(0, len(out), _PIECE):
        out[at : at + _PIECE] = _values(box, points[:, at : at + _PIECE], linear)
    return out


def _values(box: Box, points: Floats, linear: bool) -> Block:
    limits = np.array(box.shape, np.float64)[:, None] - 1
    points = np.minimum(np.maximum(points, 0.0), limits)
    if not linear:
        index = (points + (0.5 + SLACK)).astype(np.int64)
        return np.asarray(box.block[tuple(i - o for i, o in zip(index, box.origin, strict=True))])
    wide = working_type(box.block.dtype)
    index = points.astype(np.int64)
    parts = (points - index).astype(np.empty(0, wide).real.dtype)
    index -= np.array(box.origin)[:, None]
    following = index + (parts > 0)
    pairs = list(zip(index, following, strict=True))
    values = [box.block[at].astype(wide) for at in itertools.product(*pairs)]
    # of eight corners pairs along x, then along y, then along z
    for part in parts[::-1]:
        values = [_between(a, b, part) for a, b in zip(values[::2], values[1::2], strict=True)]
    return rounded(values[0], box.block.dtype)


def _between(a: Block, b: Block, part: Block) -> Block:
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(part > 0, a + part * (b - a), a)


def working_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that values are interpolated in."""
    if dtype.kind in "biu":
        return np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)
    if dtype.kind == "f" and dtype.itemsize < 4:
        return np.dtype(np.float32)
    return dtype


def rounded(values: Block, dtype: np.dtype[Any]) -> Block:
    """Interpolated values in the type of the volume."""
    if dtype.kind not in "biu":
        return values.astype(dtype, copy=False)
    values = np.rint(values)
    if dtype.itemsize == 8:
        # the largest ones round to what the type does not hold
        info = np.iinfo(dtype)
        top = values >= float(info.max)
        out = np.where(top, 0, values).astype(dtype)
        out[top] = info.max
        return out
    return values.astype(dtype)
