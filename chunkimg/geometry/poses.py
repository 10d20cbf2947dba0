"""Geometry that changes with time: one affine per time step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

import chunkimg.geometry.affine as aff

from ..errors import GeometryError
from .grid import Grid

__all__ = ["Poses"]


@dataclass(frozen=True)
class Poses:
    """One index-to-world affine per time step of an image, e.g. after motion correction or for tracked frames.

    Parameters
    ----------
    reference : array_like, shape (4, 4)
        Affine of the grid that the table was made for; :meth:`at` follows crops and flips of it.
    times : sequence of float
        Values of ``t``, strictly increasing.
    affines : array_like, shape (len(times), 4, 4)
        Affine of that grid at each time, in the same space and unit.

    Raises
    ------
    GeometryError
        If the numbers of times and affines differ, times do not increase, or an affine is unusable.
    """

    reference: tuple[tuple[float, ...], ...]
    times: tuple[float, ...]
    affines: tuple[tuple[tuple[float, ...], ...], ...]

    def __post_init__(self) -> None:
        times = tuple(float(t) for t in self.times)
        matrices = [aff.as_affine(a) for a in self.affines]
        reference = aff.as_affine(self.reference)
        if len(times) != len(matrices):
            raise GeometryError(f"{len(times)} times but {len(matrices)} affines: one per time step is expected")
        if not np.all(np.isfinite(times)) or np.any(np.diff(times) <= 0):
            raise GeometryError(f"times of per-step geometry must be finite and increase, found {times}")
        for t, matrix in zip(times, matrices, strict=True):
            if not aff.is_usable(matrix):
                raise GeometryError(f"the affine at t = {t} is singular or not finite:\n{matrix}")
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "reference", tuple(map(tuple, reference.tolist())))
        object.__setattr__(self, "affines", tuple(tuple(map(tuple, m.tolist())) for m in matrices))

    def at(self, t: float, grid: Grid) -> NDArray[np.float64]:
        """Affine of `grid`, a crop, flip or coarsening of the reference grid, at time `t`.

        Raises
        ------
        GeometryError
            If the table has no entry for `t` (within 1e-9 of the table's span).
        """
        steps = snapped_steps(np.asarray(self.reference), grid.matrix)
        return np.asarray(np.asarray(self.affines[self._nearest(t)]) @ steps, dtype=np.float64)

    def _nearest(self, t: float) -> int:
        times = np.asarray(self.times)
        slack = 1e-9 * max(1.0, float(np.abs(times).max()))
        nearest = int(np.argmin(np.abs(times - t)))
        if not abs(self.times[nearest] - t) <= slack:
            raise GeometryError(
                f"no geometry is stored for t = {t}; the nearest is t = {self.times[nearest]}, the table runs from "
                f"{self.times[0]} to {self.times[-1]} in {len(self.times)} steps"
            )
        return nearest

    def fixed(self, grid: Grid) -> Grid | None:
        """`grid` at the position that all time steps share, its own if there are none; None where they differ."""
        if not self.is_constant():
            return None
        if not self.times:
            return grid
        rows = self.at(self.times[0], grid).tolist()
        return Grid(grid.shape, tuple(map(tuple, rows)), grid.space, grid.units)

    def subset(self, times: ArrayLike) -> Poses:
        """The entries for the given times.

        Raises
        ------
        GeometryError
            If one of them has no entry.
        """
        wanted = sorted({self._nearest(float(t)) for t in np.atleast_1d(np.asarray(times, dtype=np.float64))})
        return Poses(self.reference, tuple(self.times[k] for k in wanted), tuple(self.affines[k] for k in wanted))

    def is_constant(self) -> bool:
        """Whether all time steps have the same affine."""
        return all(matrix == self.affines[0] for matrix in self.affines)


def snapped_steps(reference: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """``inverse(reference) @ matrix``, entries within 1e-6 of a half-integer rounded to it.

    Crops, flips, strides and coarsening of a grid give such entries, so that affines computed through them are exact.
    """
    steps = aff.inverse(reference) @ matrix
    rounded = np.round(steps * 2) / 2
    return np.where(np.abs(steps - rounded) < 1e-6, rounded, steps)
