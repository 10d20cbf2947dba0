"""Gaussian smoothing, separable, in floating point."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..lazy import Block, LazyArray
from .gaussian_kernel import correlate_kernel
from .overlap import Halo, OverlapArray

__all__ = ["Gaussian", "correlate", "sigma_of_fwhm", "smoothed_array"]

#: values of a piece that is worked on at a time: it, its sum and what is added stay in the cache
_PIECE = 1 << 16
#: values of a block from which machine code is made for it
_WORTH = 1 << 17

Values = NDArray[np.floating[Any]]


def sigma_of_fwhm(fwhm: float) -> float:
    """Standard deviation of a Gaussian from its full width at half maximum: ``fwhm / (2 √(2 ln 2))``."""
    return fwhm / math.sqrt(8 * math.log(2))


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian of the values around each voxel, as of `scipy.ndimage.gaussian_filter`: sampled, cut off, normalised.

    Attributes
    ----------
    sigma : (float, float, float)
        Standard deviation along z, y, x in voxels; 0 leaves an axis as it is.
    truncate : float
        Where it is cut off: at ``int(truncate * sigma + 0.5)`` voxels.
    dtype : numpy type
        What it is computed in, and what it gives: float32 or float64.
    """

    sigma: tuple[float, float, float]
    truncate: float = 4.0
    dtype: type[np.floating[Any]] = np.float32

    @property
    def depth(self) -> tuple[int, int, int]:
        """Voxels that it takes from each side, along z, y, x."""
        z, y, x = (int(self.truncate * s + 0.5) for s in self.sigma)
        return z, y, x

    def weights(self, axis: int) -> Values:
        """From the centre outwards."""
        steps = np.arange(self.depth[axis] + 1)
        values = np.exp(-0.5 * np.square(steps / self.sigma[axis])) if self.depth[axis] else np.ones(1)
        return np.asarray(values / (2 * values.sum() - values[0]), self.dtype)

    def __call__(self, block: Block) -> Block:
        """The smoothed values of a block with a halo of `depth`, without it."""
        out = block.astype(self.dtype, copy=False)
        for axis in range(3):
            if self.depth[axis]:
                out = correlate(out, self.weights(axis), axis)
        return out


def smoothed_array(source: LazyArray, gaussian: Gaussian, boundary: str = "reflect") -> LazyArray:
    """An array, last axes z, y, x, smoothed by a Gaussian, in the type that this is computed in."""
    return OverlapArray(source, gaussian, Halo(gaussian.depth, boundary), gaussian.dtype, repr(gaussian))


def correlate(block: Values, weights: Values, axis: int) -> Values:
    """Sums of values weighted by their distance along an axis, where the block holds all of them.

    Each is the value in the middle, and then the pairs at growing distance, whatever computes it.
    """
    reach = len(weights) - 1
    out = np.empty([n - 2 * reach if k == axis else n for k, n in enumerate(block.shape)], block.dtype)
    fits = block.dtype == np.float32 and block.flags.c_contiguous
    kernel = correlate_kernel() if fits and block.size >= _WORTH else None
    if kernel is not None:
        kernel(block, weights, axis, out)
        return out
    # pieces are cut along another axis
    other = 1 if axis == 0 else 0
    step = max(1, _PIECE * block.shape[other] // max(1, block.size))
    for start in range(0, out.shape[other], step):
        cut = (slice(None),) * other + (slice(start, start + step),)
        _accumulate(block[cut], weights, axis, out[cut])
    return out


def _accumulate(block: Values, weights: Values, axis: int, out: Values) -> None:
    reach, n = len(weights) - 1, out.shape[axis]

    def shifted(by: int) -> Values:
        return block[(slice(None),) * axis + (slice(reach + by, reach + by + n),)]

    np.multiply(shifted(0), weights[0], out=out)
    both = np.empty_like(out)
    for k, weight in enumerate(weights[1:], 1):
        np.add(shifted(-k), shifted(k), out=both)
        both *= weight
        out += both
