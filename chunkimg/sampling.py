"""Values of images of any size at points in the world: each block is read once, whatever the order of the points.

Blocks are read in threads of this process, also where a Dask client is active; a source that can only be decoded front
to back is, once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import chunkimg.geometry.affine as aff

from .chunks import BUDGET
from .errors import GeometryError
from .geometry import Grid
from .io.copy import read_ahead
from .lazy import Block, Region
from .metadata import is_label
from .ops.points import check_method, corners_of, positions_in, value_type
from .ops.scatter import Part, Scatter
from .volume import Volume
from .workers import pool, thread_count

__all__ = ["sample"]


def sample(
    image: Any, points: ArrayLike, method: str | None = None, fill: complex | None = None, *, budget: int = BUDGET
) -> NDArray[Any]:
    """Values of an image at points in the world.

    Every block of the source that holds a voxel of some point is read once, in the order in which it is stored; memory
    is that of the points, of the result, and of a few blocks.

    Parameters
    ----------
    image : xarray.DataArray or Volume
        An image; any lazy expression of images.
    points : array_like, shape (..., 3)
        World coordinates (RAS+), in the image's unit, in x, y, z order.
    method : str, optional
        ``"linear"``, ``"nearest"``, or ``"label"``, which is nearest; by default linear, and label for label maps.
    fill : number, optional
        Of points outside: more than half a voxel beyond the outermost voxel centres, or not finite. By default NaN, and
        0 where the values are integers. Points up to there take the values at the border, as in ITK.
    budget : int
        Memory in bytes for blocks of a source that is read front to back.

    Returns
    -------
    ndarray, shape ([t,] [c,] ...)
        float64 (complex128) where values are interpolated, else of the image's type; t and c where the image has them,
        then the dims of `points`.

    Raises
    ------
    GeometryError
        If the image has no position, or points are no triples.
    ValueError
        If the method is not known, would mix labels, or the type of the image cannot hold `fill`.
    """
    volume = _volume(image)
    assert volume.grid is not None
    method = _method(volume, method)
    try:
        world = np.asarray(points, np.float64)
    except (TypeError, ValueError):
        raise GeometryError(f"points are numbers of shape (..., 3), x, y, z; found {points!r:.80}") from None
    if world.shape[-1:] != (3,):
        raise GeometryError(f"points have shape (..., 3) in x, y, z order, found {world.shape}")
    dtype = value_type(volume.data.dtype, volume.scaling, method)
    lacking = _fill(dtype, fill)
    flat = world.reshape(-1, 3)
    if volume.poses is None:
        out = _sampled(volume, volume.grid, flat, method, lacking, budget)
    else:
        out = np.stack([_sampled(f, f.grid, flat, method, lacking, budget)[0] for f in _frames(volume)])
    return out.reshape((*out.shape[:-1], *world.shape[:-1]))


def _volume(image: Any) -> Volume:
    if not isinstance(image, Volume):
        from .image.build import to_volume

        return to_volume(image, require_grid=True)
    if image.grid is None:
        raise GeometryError(f"{image.source or 'the image'} has no position: its affine is singular or not finite")
    return image


def _method(volume: Volume, method: str | None) -> str:
    label = is_label(volume.properties)
    if method is None:
        return "label" if label else "linear"
    if check_method(method) == "linear" and label:
        raise ValueError(
            "the voxels of this image are labels, and between labels there are none: use method='label'; for the part "
            "that a label has at a point, sample (image == label).astype('f4')"
        )
    return method


def _fill(dtype: np.dtype[Any], fill: complex | None) -> Any:
    if fill is None:
        return dtype.type(np.nan if dtype.kind in "fc" else 0)
    given = np.asarray(fill)
    kinds = "biufc" if dtype.kind == "c" else "biuf"
    with np.errstate(invalid="ignore"):
        held = given.astype(dtype) if given.dtype.kind in kinds else None
    if held is None or (dtype.kind in "biu" and held != given):
        raise ValueError(f"fill={fill!r} is no value of {dtype}; use one, or convert the image: image.astype('f8')")
    return held[()]


def _frames(volume: Volume) -> list[Volume]:
    """Each time step by itself, at its own place."""
    return [volume.crop(t=slice(k, k + 1)) for k in range(volume.sizes["t"])]


def _sampled(
    volume: Volume, grid: Grid | None, world: NDArray[np.float64], method: str, fill: Any, budget: int
) -> Block:
    assert grid is not None
    inside, at = positions_in(world, aff.inverse(grid.matrix), grid.shape)
    scatter = Scatter(volume.data, corners_of(at, method), method, volume.scaling, budget)
    found = _gathered(scatter) if len(inside) and volume.data.size else scatter.empty()
    if len(inside) == len(world):
        return found
    out = np.full((*found.shape[:-1], len(world)), fill, found.dtype)
    out[..., inside] = found
    return out


def _gathered(scatter: Scatter) -> Block:
    """All values; parts are added in one order, so that the result is the same each time."""
    source = scatter.source
    source.prepare()
    out = scatter.empty()
    if source.piecewise:
        _by_workers(scatter, out)
    else:
        ahead: deque[Part] = deque()

        def regions() -> Iterator[Region]:
            for key in scatter.parts():
                ahead.append(scatter.part(key))
                yield ahead[-1].region

        with closing(read_ahead([source], regions())) as blocks:
            for _, (block,) in blocks:
                part = ahead.popleft()
                scatter.add(out, part, scatter.values(part, block))
                # what is done with must be gone before the next is read
                del block
    return scatter.finished(out)


def _by_workers(scatter: Scatter, out: Block) -> None:
    """Regions are read, and their values taken, by the workers."""

    def work(key: Any) -> tuple[Part, Block]:
        part = scatter.part(key)
        with scatter.source.borrowed(part.region) as block:
            return part, scatter.values(part, block)

    waiting: deque[Future[tuple[Part, Block]]] = deque()
    try:
        for key in scatter.parts():
            waiting.append(pool().submit(work, key))
            if len(waiting) > 2 * thread_count():
                scatter.add(out, *waiting.popleft().result())
        while waiting:
            scatter.add(out, *waiting.popleft().result())
    except BaseException:
        for future in waiting:
            future.cancel()
        wait(waiting)
        raise
