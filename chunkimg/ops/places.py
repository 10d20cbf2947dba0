"""Where the voxels of one grid lie in another image, in voxels of that: by an affine, or by any map of the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..lazy import Region
from .lines import SLACK, Lines

__all__ = [
    "ALIGNED",
    "AffinePlace",
    "Located",
    "MappedPlace",
    "Place",
    "Points",
    "Transform",
    "place_between",
    "token_of",
]

#: positions that all lie so near to whole voxels, in voxels, are taken to be there: the same grid, for chunkimg
ALIGNED = 1e-3

Floats = NDArray[np.float64]


class Transform(Protocol):
    """A map of world points of the reference into the world of the image that is resampled (as in ITK)."""

    @property
    def matrix(self) -> ArrayLike | None:
        """World to world, shape (4, 4); None if the map is not affine."""

    def map(self, points: Floats) -> Floats:
        """World points, shape (..., 3)."""


@dataclass(frozen=True)
class Points:
    """Points that lie in a volume.

    Attributes
    ----------
    positions : ndarray of float64, shape (3, n)
        In voxels z, y, x.
    inside : ndarray of bool
        Which voxels of the part they belong to.
    """

    positions: Floats
    inside: NDArray[np.bool_]


@dataclass(frozen=True)
class Located:
    """A part of the grid: its points in the image, and the lowest and highest position (z, y, x) of those inside."""

    points: Lines | Points
    low: Floats
    high: Floats


class Place(Protocol):
    """Where voxels lie."""

    def locate(self, part: Region, shape: Sequence[int]) -> Located | None:
        """Points of a part of the grid (z, y, x) in a volume of a shape (z, y, x); None if none is inside."""

    def steps(self) -> Floats:
        """About how many voxels of the image (z, y, x; rows) one step along z, y, x (columns) makes; not negative."""

    def token(self) -> Any:
        """What identifies it."""


@dataclass(frozen=True)
class AffinePlace:
    """``matrix @ (i, j, k, 1)``, both in x, y, z order, is the position of voxel (i, j, k).

    Attributes
    ----------
    matrix : tuple
        Three rows of four.
    """

    matrix: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, matrix: Floats, shape: Sequence[int]) -> AffinePlace:
        """Of a 4×4 matrix and the grid's sizes (x, y, z); an axis with whole positions (`ALIGNED`) has just these."""
        rows = np.array(matrix[:3], np.float64)
        last = np.array([*(n - 1 for n in shape), 1.0])
        for row in rows:
            whole = np.rint(row)
            rest = row - whole
            if abs(rest[3]) + np.abs(rest[:3]) @ last[:3] <= ALIGNED:
                row[:] = whole
        return cls(tuple(map(tuple, rows.tolist())))

    def _turned(self) -> Floats:
        """Rows and columns in the order of arrays."""
        return np.array(self.matrix)[::-1, [2, 1, 0, 3]]

    def locate(self, part: Region, shape: Sequence[int]) -> Located | None:
        """Lines along x."""
        z, y, x = part
        turned = self._turned()
        # every step is monotonic, rounding included: the corners are the extremes
        corners = self._base(turned, z[:: max(1, len(z) - 1)], y[:: max(1, len(y) - 1)])
        ends = [corners + turned[:, 2] * k for k in (x[0], x[-1])]
        low, high = np.minimum(*ends).min(axis=0), np.maximum(*ends).max(axis=0)
        edge = np.asarray(shape) - 0.5 + SLACK
        if np.any(high < -0.5 - SLACK) or np.any(low > edge):
            return None
        base, step = self._base(turned, z, y), np.ascontiguousarray(turned[:, 2])
        if np.all(low >= -0.5 - SLACK) and np.all(high <= edge):
            return Located(Lines.whole(base, step, x), low, high)
        lines = Lines.inside(base, step, x, shape)
        extent = lines.extent()
        return None if extent is None else Located(lines, *extent)

    @staticmethod
    def _base(turned: Floats, z: range, y: range) -> Floats:
        """Where lines along x would be at 0, shape (z times y, 3)."""
        planes = turned[:, 0] * np.asarray(z, np.float64)[:, None] + turned[:, 3]
        return np.asarray((planes[:, None] + turned[:, 1] * np.asarray(y, np.float64)[:, None]).reshape(-1, 3))

    def steps(self) -> Floats:
        """The matrix."""
        return np.abs(self._turned()[:, :3])

    def token(self) -> Any:
        """The matrix."""
        return self.matrix

    def moves(self) -> tuple[list[int], list[int], list[int]] | None:
        """How voxels move, if they move whole ones and nothing else.

        Per axis of the image (x, y, z): the axis of the grid that runs along it, its step, and its first voxel.
        """
        rows = np.array(self.matrix)
        if np.any(rows != np.rint(rows)):
            return None
        along = [np.flatnonzero(row[:3]).tolist() for row in rows]
        if any(len(k) != 1 for k in along) or len({k[0] for k in along}) != 3:
            return None
        axes = [k[0] for k in along]
        return axes, [int(row[a]) for row, a in zip(rows, axes, strict=True)], [int(row[3]) for row in rows]


@dataclass(frozen=True)
class MappedPlace:
    """By a map of the world.

    Attributes
    ----------
    to_world : tuple
        Affine of the grid, x, y, z, 4×4.
    transform : Transform
        World of the grid to that of the image.
    to_index : tuple
        World of the image to its voxels, 4×4.
    """

    to_world: tuple[tuple[float, ...], ...]
    transform: Transform
    to_index: tuple[tuple[float, ...], ...]

    def _positions(self, part: Sequence[Sequence[int]]) -> Floats:
        """Positions z, y, x of the voxels of a part, shape (3, z, y, x)."""
        z, y, x = (np.asarray(r, np.float64) for r in part)
        forth, back = np.array(self.to_world), np.array(self.to_index)
        world = np.empty((len(z), len(y), len(x), 3))
        for axis, (i, j, k, offset) in enumerate(forth[:3]):
            world[..., axis] = i * x + (j * y[:, None] + (k * z[:, None, None] + offset))
        mapped = np.asarray(self.transform.map(world), np.float64)
        if mapped.shape != world.shape:
            raise ValueError(f"a transform maps points of shape {world.shape} to as many, found {mapped.shape}")
        found = mapped @ back[:3, :3].T + back[:3, 3]
        return np.asarray(np.moveaxis(found, -1, 0)[::-1])

    def locate(self, part: Region, shape: Sequence[int]) -> Located | None:
        """Points one by one."""
        positions = self._positions(part)
        inside = np.ones(positions.shape[1:], np.bool_)
        for at, n in zip(positions, shape, strict=True):
            # points that the map has no place for are NaN, and not inside
            inside &= (at >= -0.5 - SLACK) & (at <= n - 0.5 + SLACK)
        if not inside.any():
            return None
        found = np.ascontiguousarray(positions[:, inside])
        return Located(Points(found, inside), found.min(axis=1), found.max(axis=1))

    def steps(self) -> Floats:
        """As if the map left lengths as they are."""
        forth, back = np.array(self.to_world)[:3, :3], np.array(self.to_index)[:3, :3]
        return np.asarray(np.abs(back @ forth)[::-1, ::-1])

    def token(self) -> Any:
        """The matrices, and what identifies the transform."""
        return self.to_world, token_of(self.transform), self.to_index


def token_of(transform: Transform) -> Any:
    """What identifies a transform: what it says itself, or what Dask makes of it."""
    told = getattr(transform, "__dask_tokenize__", None)
    if told is not None:
        return told()
    # whoever asks for tokens has Dask
    from dask.base import tokenize

    return tokenize(transform)


def place_between(
    grid: Floats, shape: Sequence[int], image: Floats, to_index: Floats, transform: Transform | None
) -> Place:
    """Where voxels of a grid lie in an image.

    Parameters
    ----------
    grid : ndarray, shape (4, 4)
        Affine of the grid, x, y, z to world.
    shape : (int, int, int)
        Its sizes, x, y, z.
    image : ndarray, shape (4, 4)
        Affine of the image.
    to_index : ndarray, shape (4, 4)
        Its inverse.
    transform : Transform or None
        World of the grid to that of the image; None if they are the same.
    """
    if transform is None:
        # differences first: origins far away would cost digits
        matrix = to_index[:3, :3] @ grid[:3, :3]
        start = to_index[:3, :3] @ (grid[:3, 3] - image[:3, 3])
        return AffinePlace.of(np.column_stack([matrix, start]), shape)
    if transform.matrix is not None:
        return AffinePlace.of(to_index @ (np.asarray(transform.matrix, np.float64) @ grid), shape)
    return MappedPlace(_rows(grid), transform, _rows(to_index))


def _rows(matrix: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, matrix.tolist()))
