"""Values between voxels: interpolation of a block in memory, at lines of points or at any points.

The border rule is ITK's (``ImageFunction::IsInsideBuffer``): a point is inside up to half a voxel beyond the centres of
the outer voxels, that is, on the outer voxels themselves; there the outermost centre stands for it. A point on the very
edge, or `SLACK` beyond, is inside. A point halfway between two voxels is nearest to the one of the higher index, as is
one less than `SLACK` below halfway: which one that is does not hang on how the position was rounded.

Integers of at most 16 bits and float32 are computed in float32, all else in float64; integers are rounded to nearest,
ties to even. Voxels of weight zero do not count, whatever they hold (NaN): none but one at a point within `ROUNDING` of
its centre. Where `interpolate_kernels` has machine code for a job it does the same steps in the same order, so that
values are the same bit for bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..lazy import Block
from .interpolate_kernels import kernel_of
from .lines import ROUNDING, SLACK, Box, Lines
from .splines import AFTER, BEFORE

__all__ = ["interpolate_lines", "interpolate_points", "rounded", "working_type"]

#: points that NumPy computes at a time, so that its temporaries stay in the cache
_PIECE = 1 << 14

Floats = NDArray[np.float64]


def interpolate_lines(box: Box, lines: Lines, method: str, out: Block) -> None:
    """Values at the points of lines that lie in the volume; the others of `out` are left as they are.

    Parameters
    ----------
    box : Box
        With all voxels that these points need.
    lines : Lines
        The points.
    method : str
        ``"nearest"``, ``"linear"``, or ``"cubic"``, for which the box has `splines.coefficients`.
    out : ndarray, shape (lines of a plane..., points)
        Of the type of the box; the points of a line lie side by side.
    """
    kernel = kernel_of(box.block, method, out)
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
            rows[here][wanted] = _values(box, points[:, wanted], method)


def interpolate_points(box: Box, points: Floats, method: str) -> Block:
    """Values at points of shape (3, n), in voxels z, y, x, that lie in the volume, and for which the box has all."""
    out = np.empty(points.shape[1], box.block.dtype)
    kernel = kernel_of(box.block, method, out)
    if kernel is not None:
        kernel.points(box, points, out)
        return out
    for at in range(0, len(out), _PIECE):
        out[at : at + _PIECE] = _values(box, points[:, at : at + _PIECE], method)
    return out


def _values(box: Box, points: Floats, method: str) -> Block:
    limits = np.array(box.shape, np.float64)[:, None] - 1
    if method == "cubic":
        return _cubic(box, points, limits)
    points = np.minimum(np.maximum(points, 0.0), limits)
    if method == "nearest":
        index = (points + (0.5 + SLACK)).astype(np.int64)
        return np.asarray(box.block[tuple(i - o for i, o in zip(index, box.origin, strict=True))])
    wide = working_type(box.block.dtype)
    # integers are not spoilt by others that hardly count
    least = ROUNDING if box.block.dtype.kind in "fc" else 0.0
    index = (points + least).astype(np.int64)
    parts = (points - index).astype(np.empty(0, wide).real.dtype)
    parts[parts <= parts.dtype.type(least)] = 0
    index -= np.array(box.origin)[:, None]
    following = index + (parts > 0)
    pairs = list(zip(index, following, strict=True))
    values = [box.block[at].astype(wide) for at in itertools.product(*pairs)]
    # of eight corners pairs along x, then along y, then along z
    for part in parts[::-1]:
        values = [_between(a, b, part) for a, b in zip(values[::2], values[1::2], strict=True)]
    return rounded(values[0], box.block.dtype)


def _cubic(box: Box, points: Floats, limits: Floats) -> Block:
    """Of coefficients; the volume is mirrored at the outermost centres."""
    points = np.abs(points)
    points = np.maximum(np.minimum(points, 2 * limits - points), 0.0)
    index = points.astype(np.int64)
    f = (points - index).astype(box.block.real.dtype)
    index -= np.array(box.origin)[:, None] + BEFORE
    weights = _spline(f)
    steps = range(BEFORE + 1 + AFTER)
    (z, y, x), (wz, wy, wx) = index, np.moveaxis(np.array(weights), 1, 0)

    def row(k: int, j: int) -> Block:
        return _sum([box.block[z + k, y + j, x + i] * wx[i] for i in steps])

    def plane(k: int) -> Block:
        return _sum([row(k, j) * wy[j] for j in steps])

    return _sum([plane(k) * wz[k] for k in steps])


def _sum(terms: Sequence[Block]) -> Block:
    a, b, c, d = terms
    return a + b + c + d


def _spline(f: Block) -> list[Block]:
    """Weights of the coefficients around points that lie a part `f` behind the second of them."""
    one = f.dtype.type(1)
    sixth, half, most = (f.dtype.type(v) for v in (1 / 6, 1 / 2, 2 / 3))
    g = one - f
    ff, gg = f * f, g * g
    return [sixth * (gg * g), most - ff * (one - half * f), most - gg * (one - half * g), sixth * (ff * f)]


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
    """Interpolated values in the type of the volume; what it does not hold becomes its lowest or highest one."""
    if dtype.kind not in "biu":
        with np.errstate(over="ignore"):
            return values.astype(dtype, copy=False)
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    values = np.rint(values)
    top = values >= float(high)
    out = np.where(top, 0, np.maximum(values, float(low))).astype(dtype)
    out[top] = high
    return out
