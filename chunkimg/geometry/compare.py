"""Itemised comparison of two grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import chunkimg.geometry.affine as aff

__all__ = ["GridDifference"]

Triple = tuple[float, float, float]


class _Grid(Protocol):
    """The facts of a `Grid` that are compared."""

    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def matrix(self) -> NDArray[np.float64]: ...
    @property
    def spacing(self) -> Triple: ...
    @property
    def origin(self) -> Triple: ...
    @property
    def direction(self) -> NDArray[np.float64]: ...
    @property
    def space(self) -> str: ...
    @property
    def units(self) -> str: ...


@dataclass(frozen=True)
class GridDifference:
    """What differs between two grids, for people to read.

    Attributes
    ----------
    voxels, length : float
        The largest displacement of any outer corner of the (common) index box: in voxels of the first grid, and in
        its unit of length.
    shape, spacing, origin : pair of tuples
        Values of the first and second grid.
    direction : float
        Largest angle between corresponding image axes, in degrees.
    units : pair of str
        Values of the first and second grid. An unknown one is compatible with any.
    """

    voxels: float
    length: float
    shape: tuple[tuple[int, int, int], tuple[int, int, int]]
    spacing: tuple[Triple, Triple]
    origin: tuple[Triple, Triple]
    direction: float
    units: tuple[str, str]

    @classmethod
    def between(cls, first: _Grid, second: _Grid) -> GridDifference:
        """Compare two grids whose affines are numbers of the same world."""
        common = [min(a, b) for a, b in zip(first.shape, second.shape, strict=True)]
        corners = aff.corner_indices(common, 0.5)
        a, b = first.matrix, second.matrix
        apart = aff.apply(b, corners) - aff.apply(a, corners)
        index_apart = apart @ aff.inverse(a)[:3, :3].T
        cosines = np.clip(np.sum(first.direction * second.direction, axis=0), -1.0, 1.0)
        # arccos loses half the digits near 1; the chord does not
        chords = np.linalg.norm(first.direction - second.direction, axis=0)
        angles = np.where(cosines > 0.5, 2 * np.arcsin(np.clip(chords / 2, 0, 1)), np.arccos(cosines))
        return cls(
            voxels=float(np.linalg.norm(index_apart, axis=1).max()),
            length=float(np.linalg.norm(apart, axis=1).max()),
            shape=(first.shape, second.shape),
            spacing=(first.spacing, second.spacing),
            origin=(first.origin, second.origin),
            direction=float(np.degrees(angles.max())),
            units=(first.units, second.units),
        )

    def reasons(self, tol: float = 1e-3) -> list[str]:
        """The differences that matter at a tolerance of `tol` voxel, as phrases; empty if there is none."""
        out = []
        if self.shape[0] != self.shape[1]:
            out.append(f"size (x, y, z) {self.shape[0]} against {self.shape[1]} voxels")
        if self.units[0] != self.units[1] and "unknown" not in self.units:
            out.append(f"units {self.units[0]} against {self.units[1]}")
        if not self.voxels <= tol:
            unit = "" if self.units[0] == "unknown" else f" {self.units[0]}"
            out.append(f"a corner is displaced by {self.voxels:.4g} voxels ({self.length:.4g}{unit})")
            spacing = np.asarray(self.spacing)
            if np.any(np.abs(spacing[0] - spacing[1]) > 1e-6 * spacing[0]):
                out.append(f"spacing {_show(self.spacing[0])} against {_show(self.spacing[1])}")
            if self.direction > 1e-4:
                out.append(f"direction differs by {self.direction:.4g} degrees")
            origin = np.asarray(self.origin)
            if np.any(np.abs(origin[0] - origin[1]) > tol * spacing[0]):
                out.append(f"origin {_show(self.origin[0])} against {_show(self.origin[1])}")
        return out


def _show(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{v:.7g}" for v in values) + ")"
