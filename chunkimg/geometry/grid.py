"""`Grid`: the voxel grid of an image as an immutable value."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

import chunkimg.geometry.affine as aff
import chunkimg.geometry.frames as frames

from ..errors import GeometryError
from .compare import GridDifference

__all__ = ["AXES", "Grid"]

#: image axes in the order of every tuple of a `Grid`
AXES = ("x", "y", "z")

Array = NDArray[np.float64]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a 3-D image lie: shape, index-to-world affine, space and unit.

    Immutable and hashable. ``==`` is exact; :meth:`difference` compares with itemised tolerance.

    Parameters
    ----------
    shape : (int, int, int)
        Number of voxels along x, y, z.
    affine : array_like, shape (4, 4)
        Maps the index (i, j, k) of a voxel centre along (x, y, z) to world coordinates.
    space : str
        What the world axes are: ``"RAS"``, ``"LPS"``, … or ``"unknown"`` (see `chunkimg.geometry.frames`).
    units : str
        Unit of length of affine and world: ``"mm"``, ``"um"``, ``"m"``, … or ``"unknown"``.

    Raises
    ------
    GeometryError
        If sizes are not positive, or the affine is not finite, or singular (condition of the direction > 1e6).

    Examples
    --------
    >>> from chunkimg import Grid
    >>> g = Grid((4, 5, 6), [[2, 0, 0, -3], [0, 2, 0, 7], [0, 0, 3, 0], [0, 0, 0, 1]])
    >>> g.spacing
    (2.0, 2.0, 3.0)
    >>> g.crop(x=slice(None, None, -1)).origin
    (3.0, 7.0, 0.0)
    """

    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]
    space: str = "RAS"
    units: str = "mm"

    def __post_init__(self) -> None:
        shape = tuple(operator.index(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise GeometryError(f"a grid has three sizes (x, y, z) of at least 1, found {tuple(self.shape)}")
        matrix = aff.as_affine(self.affine)
        if not aff.is_usable(matrix):
            raise GeometryError(f"the affine is singular or not finite:\n{matrix}")
        frames.check_space(self.space)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", tuple(map(tuple, matrix.tolist())))
        object.__setattr__(self, "units", frames.canonical_unit(self.units))

    # ------------------------------------------------------------------ derived facts

    @cached_property
    def matrix(self) -> Array:
        """The affine as a read-only array, shape (4, 4)."""
        out = np.array(self.affine, dtype=np.float64)
        out.setflags(write=False)
        return out

    @cached_property
    def _parts(self) -> tuple[Array, Array]:
        return aff.decompose(self.matrix)

    @property
    def spacing(self) -> Triple:
        """Distance between voxel centres along x, y, z, in `units`."""
        return _triple(self._parts[0])

    @property
    def direction(self) -> Array:
        """Direction matrix, shape (3, 3): column k is the unit world vector along image axis k."""
        return self._parts[1].copy()

    @property
    def origin(self) -> Triple:
        """World position of the centre of voxel (0, 0, 0)."""
        return _triple(self.matrix[:3, 3])

    @property
    def orientation(self) -> str | None:
        """Body direction in which x, y, z increase, e.g. ``"LPS"``; None in an unknown space."""
        return frames.axis_letters(self._parts[1], self.space)

    @property
    def extent(self) -> Triple:
        """Physical size along x, y, z: voxels times spacing."""
        return _triple(np.multiply(self.shape, self._parts[0]))

    @property
    def center(self) -> Triple:
        """World position of the middle of the image."""
        return _triple(self.to_world([(n - 1) / 2 for n in self.shape]))

    @property
    def bounds(self) -> tuple[Triple, Triple]:
        """World-axis box around the image's outer voxel edges: ``(lo, hi)``."""
        corners = self.corners()
        return _triple(corners.min(axis=0)), _triple(corners.max(axis=0))

    def corners(self, *, centers: bool = False) -> Array:
        """World positions of the 8 corners, shape (8, 3): outer edges, or centres of the corner voxels."""
        return self.to_world(aff.corner_indices(self.shape, 0.0 if centers else 0.5))

    # ------------------------------------------------------------------ index <-> world

    def to_world(self, index: ArrayLike) -> Array:
        """World coordinates of (fractional) indices in x, y, z order, shape (..., 3)."""
        return aff.apply(self.matrix, index)

    def to_index(self, world: ArrayLike) -> Array:
        """Fractional indices in x, y, z order of world coordinates, shape (..., 3)."""
        return aff.apply(aff.inverse(self.matrix), world)

    def box(self, lo: Sequence[float], hi: Sequence[float]) -> tuple[slice, slice, slice]:
        """Slices along x, y, z of the smallest index box whose voxels cover a world box, clipped to the image.

        All eight corners of the world box are used, so that nothing of it is lost where the grid is oblique.

        Raises
        ------
        GeometryError
            If the box is empty or lies outside the image.
        """
        low, high = np.asarray(lo, dtype=np.float64), np.asarray(hi, dtype=np.float64)
        if low.shape != (3,) or high.shape != (3,) or not np.all(low <= high):
            raise GeometryError(
                f"a world box has three lower bounds (x, y, z) and three upper ones not below them, found {lo} to {hi}"
            )
        box = self.box_of(aff.corner_indices((2, 2, 2)) * (high - low) + low)
        return self.clip(box, f"world box {_show(lo)} to {_show(hi)}")

    def box_of(self, points: ArrayLike, slack: float = 1e-6) -> tuple[slice, slice, slice]:
        """Slices along x, y, z of the smallest index box whose voxels cover world points, shape (n, 3); not clipped.

        A box that ends on a voxel's edge, to `slack` voxel, does not take the next voxel in.
        """
        index = self.to_index(points)
        # voxel i covers i ± 1/2
        first = np.floor(index.min(axis=0) + 0.5 + slack)
        last = np.maximum(first, np.ceil(index.max(axis=0) - 0.5 - slack))
        x, y, z = (slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))
        return x, y, z

    def clip(self, box: Sequence[slice], what: str) -> tuple[slice, slice, slice]:
        """The part of an index box that lies in the image, or `GeometryError` about `what` where there is none."""
        for axis, s, n in zip(AXES, box, self.shape, strict=True):
            if s.stop <= 0 or s.start >= n:
                raise GeometryError(
                    f"the {what} lies outside the image along {axis}: it covers voxels {s.start} to {s.stop - 1} of "
                    f"0 to {n - 1}; the image's bounds are {_show(self.bounds[0])} to {_show(self.bounds[1])} "
                    f"({self.space}, {self.units})"
                )
        x, y, z = (slice(max(s.start, 0), min(s.stop, n)) for s, n in zip(box, self.shape, strict=True))
        return x, y, z

    # ------------------------------------------------------------------ derived grids

    def _at(self, starts: Sequence[float], steps: Sequence[float], shape: Sequence[int]) -> Grid:
        """The one primitive: index i of the new grid is ``starts + steps * i`` of this one."""
        matrix = np.array(self.matrix)
        matrix[:3, 3] = matrix[:3, :3] @ np.asarray(starts, dtype=np.float64) + matrix[:3, 3]
        matrix[:3, :3] = matrix[:3, :3] * np.asarray(steps, dtype=np.float64)
        # + 0.0 turns -0.0 into 0.0: a flip there and back is the identity, sign of zero included
        return Grid(_sizes(shape), _rows(matrix + 0.0), self.space, self.units)

    def crop(self, x: slice = slice(None), y: slice = slice(None), z: slice = slice(None)) -> Grid:
        """The grid of ``array[z, y, x]`` for any slices, negative and reversed ones included.

        Raises
        ------
        GeometryError
            If no voxel is left.
        """
        ranges = [range(n)[s] for n, s in zip(self.shape, (x, y, z), strict=True)]
        for axis, n, s, r in zip(AXES, self.shape, (x, y, z), ranges, strict=True):
            if len(r) == 0:
                raise GeometryError(f"{s} leaves no voxel of the {n} along {axis}")
        return self._at([r.start for r in ranges], [r.step for r in ranges], [len(r) for r in ranges])

    def flip(self, axis: str) -> Grid:
        """The grid of the image reversed along one of its axes; every voxel keeps its world position."""
        return self.crop(**{_axis(axis): slice(None, None, -1)})

    def permute(self, order: str | Sequence[str]) -> Grid:
        """The grid with its axes renamed: ``permute("zxy")`` makes the present z axis the new x axis, and so on."""
        take = [AXES.index(_axis(a)) for a in order]
        if sorted(take) != [0, 1, 2]:
            raise GeometryError(f"order names each of x, y, z once, found {order!r}")
        matrix = np.array(self.matrix)
        matrix[:3, :3] = matrix[:3, take]
        return Grid(_sizes([self.shape[k] for k in take]), _rows(matrix), self.space, self.units)

    def turn(self, backwards: Iterable[str], order: str | Sequence[str]) -> Grid:
        """The grid with some axes running the other way, *from the same first voxel*, and then renamed as by `permute`.

        All numbers stay but for their signs, so that turning back gives the same grid bit for bit. Voxels lie
        elsewhere: a crop by whole steps of it has them where they were.
        """
        reverse = {_axis(a) for a in backwards}
        return self._at([0, 0, 0], [-1 if a in reverse else 1 for a in AXES], self.shape).permute(order)

    def coarsen(self, x: int = 1, y: int = 1, z: int = 1) -> Grid:
        """The grid of means over blocks of voxels: larger voxels, half-voxel shift included; a remainder is cut off."""
        factors = [operator.index(f) for f in (x, y, z)]
        shape = [n // f if f > 0 else 0 for n, f in zip(self.shape, factors, strict=True)]
        if min(shape) < 1:
            raise GeometryError(f"cannot coarsen {self.shape} by {tuple(factors)}: no whole block is left")
        return self._at([(f - 1) / 2 for f in factors], factors, shape)

    def pad(self, before: Sequence[int], after: Sequence[int]) -> Grid:
        """The grid with voxels added (or, if negative, removed) before and after along x, y, z."""
        shape = [n + a + b for n, a, b in zip(self.shape, before, after, strict=True)]
        return self._at([0.0 - b for b in before], [1, 1, 1], shape)

    def to_space(self, space: str) -> Grid:
        """The same grid with its world axes named in another space, e.g. ``"LPS"`` for ITK; exact."""
        return Grid(self.shape, _rows(frames.rows_to_space(self.matrix, self.space, space)), space, self.units)

    # ------------------------------------------------------------------ comparison

    def difference(self, other: Grid) -> GridDifference:
        """How `other` differs, itemised; see `GridDifference`.

        Both are compared in this grid's space; where one space is unknown, numbers are compared as they are.
        """
        if "unknown" not in (self.space, other.space):
            other = other.to_space(self.space)
        return GridDifference.between(self, other)

    def same_as(self, other: Grid, tol: float = 1e-3) -> bool:
        """Whether no corner of the grid is displaced by more than `tol` voxel (and sizes, space and unit agree)."""
        return not self.difference(other).reasons(tol)

    def require_same_as(self, other: Grid, tol: float = 1e-3) -> None:
        """Raise `GeometryError` listing every difference beyond `tol` voxel."""
        reasons = self.difference(other).reasons(tol)
        if reasons:
            raise GeometryError(f"the images do not occupy the same space: {'; '.join(reasons)}")


def _axis(name: str) -> str:
    if name not in AXES:
        raise GeometryError(f"an image axis is x, y or z, found {name!r}")
    return name


def _sizes(shape: Sequence[int]) -> tuple[int, int, int]:
    nx, ny, nz = shape
    return nx, ny, nz


def _rows(matrix: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, matrix.tolist()))


def _triple(values: ArrayLike) -> Triple:
    a, b, c = np.asarray(values, dtype=np.float64).tolist()
    return a, b, c


def _show(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{math.floor(v * 1e3 + 0.5) / 1e3:g}" for v in values) + ")"
