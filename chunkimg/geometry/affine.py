"""Affine algebra of voxel grids: a handful of pure functions on 4×4 arrays.

Affines map voxel indices (i, j, k) along (x, y, z) to world coordinates; index 0 is the *centre* of the first voxel.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import GeometryError

__all__ = [
    "MAX_CONDITION",
    "apply",
    "as_affine",
    "compose",
    "corner_indices",
    "decompose",
    "fill_singleton_axes",
    "inverse",
    "is_usable",
    "step_matrix",
]

#: a direction matrix worse than this is singular for the purposes of placing voxels
MAX_CONDITION = 1e6

Array = NDArray[np.float64]


def as_affine(affine: ArrayLike) -> Array:
    """A float64 copy of a 4×4 (or 3×4) affine, or `GeometryError` naming what is wrong with its form."""
    out = np.array(affine, dtype=np.float64)
    if out.shape == (3, 4):
        out = np.vstack([out, [0.0, 0.0, 0.0, 1.0]])
    if out.shape != (4, 4):
        raise GeometryError(f"an affine has shape (4, 4), found {out.shape}")
    if not np.array_equal(out[3], [0.0, 0.0, 0.0, 1.0]):
        raise GeometryError(f"the last row of an affine is (0, 0, 0, 1), found {tuple(out[3].tolist())}")
    return out


def decompose(affine: Array) -> tuple[Array, Array]:
    """Spacing and direction of an affine ``[M | t]``: column norms ``s`` of M, and ``D = M / s``."""
    # hypot scales by itself: neither 1e-200 nor 1e200 under- or overflows
    spacing = np.hypot(np.hypot(affine[0, :3], affine[1, :3]), affine[2, :3])
    with np.errstate(divide="ignore", invalid="ignore"):
        return spacing, affine[:3, :3] / spacing


def compose(spacing: ArrayLike, direction: ArrayLike, origin: ArrayLike) -> Array:
    """Affine from spacing (3,), direction (3, 3) and the world position (3,) of voxel (0, 0, 0)."""
    out = np.eye(4)
    out[:3, :3] = np.asarray(direction, dtype=np.float64) * np.asarray(spacing, dtype=np.float64)
    out[:3, 3] = origin
    return out


def is_usable(affine: Array) -> bool:
    """Whether an affine is finite and places voxels at distinct positions (cond(D) <= 1e6)."""
    if not np.all(np.isfinite(affine)):
        return False
    spacing, direction = decompose(affine)
    if not (np.all(np.isfinite(spacing)) and np.all(spacing > 0)):
        return False
    return bool(np.linalg.cond(direction) <= MAX_CONDITION)


def fill_singleton_axes(affine: Array, shape: Sequence[int]) -> Array:
    """Give zero columns of one-voxel axes the unit normal of the others, with spacing 1.

    2-D files come with such columns (nibabel reads them so). Columns of longer axes are left alone: an affine that is
    singular there stays singular.
    """
    out = affine.copy()
    empty = [k for k in range(3) if shape[k] == 1 and not np.any(out[:3, k])]
    if not empty or not np.all(np.isfinite(out)):
        return out
    full = [k for k in range(3) if k not in empty]
    if len(full) == 2:
        normal = np.cross(out[:3, (empty[0] + 1) % 3], out[:3, (empty[0] + 2) % 3])
        length = np.linalg.norm(normal)
        if length > 0:
            out[:3, empty[0]] = normal / length
        return out
    # one axis or none is given: complete it to an orthonormal, right-handed frame
    basis = np.eye(3)
    if full:
        first = out[:3, full[0]] / np.linalg.norm(out[:3, full[0]])
        world = int(np.argmax(np.abs(first)))
        others = [basis[:, (world + 1) % 3], basis[:, (world + 2) % 3]]
        second = others[0] - first * (first @ others[0])
        second /= np.linalg.norm(second)
        third = np.cross(first, second)
        out[:3, (full[0] + 1) % 3] = second
        out[:3, (full[0] + 2) % 3] = third
    else:
        out[:3, :3] = basis
    return out


def inverse(affine: Array) -> Array:
    """World-to-index affine, computed on unit columns so that tiny or huge spacings cost no accuracy."""
    spacing, direction = decompose(affine)
    out = np.eye(4)
    out[:3, :3] = np.linalg.inv(direction) / spacing[:, None]
    out[:3, 3] = -(np.linalg.solve(direction, affine[:3, 3]) / spacing)
    return out


def apply(affine: Array, points: ArrayLike) -> Array:
    """Map points of shape (..., 3) by an affine."""
    pts = np.asarray(points, dtype=np.float64)
    if pts.shape[-1:] != (3,):
        raise GeometryError(f"points have shape (..., 3) in x, y, z order, found {pts.shape}")
    return np.asarray(pts @ affine[:3, :3].T + affine[:3, 3], dtype=np.float64)


def step_matrix(starts: Sequence[float], steps: Sequence[float]) -> Array:
    """Index-to-index affine of a crop: new index i is old index ``start + step * i`` along each axis."""
    out = np.diag([*(float(s) for s in steps), 1.0])
    out[:3, 3] = starts
    return out


def corner_indices(shape: Sequence[int], half: float = 0.0) -> Array:
    """The 8 corners of an index box, shape (8, 3): centres of corner voxels, or their outer edges with ``half=0.5``."""
    ranges = [(-half, n - 1 + half) for n in shape]
    return np.array(list(itertools.product(*ranges)), dtype=np.float64)
