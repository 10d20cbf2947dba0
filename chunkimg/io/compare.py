"""Comparing the voxels of two images in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from ..lazy import Block
from ..ops.difference import Tally, Tolerance
from ..volume import Volume
from .copy import read_ahead
from .format import Progress
from .together import in_step

__all__ = ["VoxelDifference", "compare_voxels"]


@dataclass(frozen=True)
class VoxelDifference:
    """How the voxels of two images of the same sizes differ.

    Attributes
    ----------
    count : int
        Values compared (voxels times channels and frames).
    differing : int
        How many of them differ beyond the tolerance.
    one_nan : int
        How many of those are NaN in one image only; no other number here includes them.
    worst : int, float or None
        Largest absolute difference, exact for integers; None where all are equal or NaN.
    index : dict or None
        Where that is, by dim, in voxels of the first image; without a worst, the first voxel that is NaN in one only.
    world : tuple of float or None
        The same as a position.
    values : tuple or None
        The values of both images there.
    mean, rms : float
        Mean absolute difference, and root of the mean squared difference, over all voxels.
    """

    count: int
    differing: int
    one_nan: int = 0
    worst: int | float | None = None
    index: dict[str, int] | None = None
    world: tuple[float, float, float] | None = None
    values: tuple[Any, Any] | None = None
    mean: float = 0.0
    rms: float = 0.0

    @property
    def fraction(self) -> float:
        """Share of the values that differ."""
        return self.differing / self.count


def compare_voxels(
    a: Volume, b: Volume, *, stored: bool, tolerance: Tolerance, budget: int, progress: Progress | None = None
) -> VoxelDifference:
    """Compare voxels of the same index, slab by slab; both have the same dims and sizes.

    Parameters
    ----------
    a, b : Volume
        The images.
    stored : bool
        Compare stored values, not image values.
    tolerance : Tolerance
        What counts as equal.
    budget : int
        Memory in bytes for what is held of both at once.
    progress : Progress, optional
        Told the bytes to be read of both, and those done.
    """
    values = None if stored else (_values_of(a), _values_of(b))
    tally = Tally(tolerance)
    with in_step(a.data, b.data, budget, progress) as (arrays, slabs), closing(read_ahead(arrays, slabs)) as blocks:
        for region, (block_a, block_b) in blocks:
            tally.add(region, block_a, block_b, values)
            if progress is not None:
                progress(block_a.nbytes + block_b.nbytes)
            # the next but one is read while the next is waited for: these must be gone by then
            del block_a, block_b
    return _result(tally, a)


def _values_of(volume: Volume) -> Callable[[Block], Block]:
    return (lambda block: block) if volume.scaling is None else volume.scaling.apply


def _result(tally: Tally, a: Volume) -> VoxelDifference:
    worst = tally.worst
    at = tally.first if worst is None else worst.index
    index = None if at is None else dict(zip(a.dims, at, strict=True))
    return VoxelDifference(
        count=tally.count,
        differing=tally.differing,
        one_nan=tally.one_nan,
        worst=None if worst is None else worst.difference,
        index=None if index is None else {d: index[d] for d in "xyztc" if d in index},
        world=None if index is None else _world(a, index),
        values=None if worst is None else worst.values,
        mean=tally.mean,
        rms=tally.rms,
    )


def _world(volume: Volume, index: dict[str, int]) -> tuple[float, float, float] | None:
    if volume.grid is None:
        return None
    matrix = volume.grid.matrix
    if volume.poses is not None and volume.times is not None:
        matrix = volume.poses.at(volume.times.values[index["t"]], volume.grid)
    x, y, z = (matrix @ [index["x"], index["y"], index["z"], 1.0])[:3].tolist()
    return x, y, z
