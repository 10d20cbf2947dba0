"""Bringing the axes of one image into the order and direction of another's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from .errors import GeometryError
from .geometry import AXES, Grid
from .lazy import ViewArray, full_region
from .volume import Volume

__all__ = ["aligned", "same_when_aligned"]


def aligned(volume: Volume, to: Volume) -> Volume:
    """The image with its spatial axes permuted and flipped to run as those of another one do, as nearly as can be.

    Raises
    ------
    GeometryError
        If no such order of axes exists: an image has no position, or lies oblique to the other by half a right angle.
    """
    turn = None if volume.grid is None or to.grid is None else _axis_order(volume.grid, to.grid)
    if turn is None or volume.grid is None:
        raise GeometryError(
            f"{volume.source}: its axes cannot be aligned with those of {to.source}: one of the images has no "
            "position, or they are turned against each other by half a right angle"
        )
    take, backwards = turn
    picks = [r[::-1] if d in backwards else r for d, r in zip(volume.dims, full_region(volume.data.shape), strict=True)]
    shown = [volume.dims.index(take.get(d, d)) for d in volume.dims]
    return replace(volume, data=ViewArray(volume.data, picks, shown), grid=_turned(volume.grid, take, backwards))


def same_when_aligned(grid: Grid | None, to: Grid | None, tol: float) -> bool:
    """Whether a grid is another one but for the order and direction of its axes."""
    if grid is None or to is None:
        return False
    turn = _axis_order(grid, to)
    return turn is not None and to.same_as(_turned(grid, *turn), tol)


def _axis_order(grid: Grid, to: Grid) -> tuple[dict[str, str], list[str]] | None:
    """The axis of `grid` that runs along each axis of `to`, and those that run backwards."""
    if "unknown" not in (grid.space, to.space):
        grid = grid.to_space(to.space)
    along = np.linalg.solve(to.direction, grid.direction)
    nearest = [int(k) for k in np.argmax(np.abs(along), axis=1)]
    if sorted(nearest) != [0, 1, 2]:
        return None
    take = {AXES[k]: AXES[n] for k, n in enumerate(nearest)}
    return take, [AXES[n] for k, n in enumerate(nearest) if along[k, n] < 0]


def _turned(grid: Grid, take: Mapping[str, str], backwards: Collection[str]) -> Grid:
    return grid.crop(**{d: slice(None, None, -1) for d in backwards}).permute([take[a] for a in AXES])
