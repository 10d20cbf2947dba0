"""Cubic B-splines through the voxels of a block.

The value between voxels is a weighted sum of coefficients, which follow from the voxels along each axis by a recursion
there and back; the volume is mirrored at its outermost centres. What a coefficient owes to a voxel falls by 0.268 per
voxel of distance: a block with `MARGIN` voxels around it gives those inside to about 1e-7.

References
----------
M. Unser, A. Aldroubi, M. Eden: B-spline signal processing, part II. IEEE Trans. Signal Processing 41 (1993) 834-848.
P. Thévenaz, T. Blu, M. Unser: Interpolation revisited. IEEE Trans. Medical Imaging 19 (2000) 739-758.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..lazy import Block
from .lines import Box

__all__ = ["AFTER", "BEFORE", "MARGIN", "coefficients"]

#: voxels around a block that coefficients inside it are made from
MARGIN = 12
#: coefficients that a point needs before the voxel at or below it, and behind that
BEFORE, AFTER = 1, 2

_POLE = math.sqrt(3) - 2


def coefficients(box: Box, dtype: np.dtype[Any]) -> Box:
    """Coefficients of a box of a volume, and of the mirrored voxels around it that points inside need.

    Parameters
    ----------
    box : Box
        Values.
    dtype : numpy dtype
        Of the coefficients, floating point or complex.
    """
    out = box.block.astype(dtype)
    for axis in range(3):
        if out.shape[axis] > 1:
            turned = np.ascontiguousarray(np.moveaxis(out, axis, 0))
            _filter(turned)
            out = np.moveaxis(turned, 0, axis)
    padded = np.pad(out, [(BEFORE, AFTER)] * 3, mode="reflect")
    return Box(np.ascontiguousarray(padded), tuple(o - BEFORE for o in box.origin), box.shape)


def _filter(values: Block) -> None:
    """Make coefficients of values along the first axis, which is mirrored at its ends."""
    n = len(values)
    values *= 6
    powers = _POLE ** np.arange(n)
    # what lies mirrored before the first: further than this it does not count
    reach = min(n, 4 * MARGIN)
    if reach < n:
        weights = powers[:reach]
    else:
        # both ends stand once in a period, all others twice
        weights = powers + np.where(np.arange(n) % (n - 1) == 0, 0, _POLE ** (2 * n - 2 - np.arange(n)))
        weights /= 1 - _POLE ** (2 * n - 2)
    values[0] = np.tensordot(weights.astype(values.real.dtype), values[:reach], 1)
    for k in range(1, n):
        values[k] += values.dtype.type(_POLE) * values[k - 1]
    last = values[-1] + values.dtype.type(_POLE) * values[-2]
    values[-1] = values.dtype.type(_POLE / (_POLE**2 - 1)) * last
    for k in range(n - 2, -1, -1):
        values[k] = values.dtype.type(_POLE) * (values[k + 1] - values[k])
