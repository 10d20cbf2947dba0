"""Images on other grids: resampled to that of a reference, or to another spacing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import GeometryError
from .geometry import Grid, frames
from .geometry import affine as aff
from .metadata import is_label
from .ops.places import Place, Transform, place_between, token_of
from .ops.resample import METHODS, resampled
from .volume import Volume

__all__ = ["grid_of", "resample", "resample_to", "resample_volume", "respaced"]


def resample_to(
    image: Any,
    ref: Any,
    method: str | None = None,
    transform: Any = None,
    fill: complex = 0,
) -> Any:
    """An image on the grid of another, lazily; see `ImageAccessor.resample_to`.

    Parameters
    ----------
    image : xarray.DataArray
        Any image.
    ref : xarray.DataArray or Grid
        Whose grid.
    method, transform, fill
        As for `resample_volume`.
    """
    from .image.build import to_volume

    grid = ref if isinstance(ref, Grid) else grid_of(to_volume(ref, require_grid=True))
    return _like(image, resample_volume(to_volume(image), grid, method, transform, fill))


def resample(image: Any, spacing: float | Sequence[float], method: str | None = None) -> Any:
    """An image with other voxel sizes, lazily; see `ImageAccessor.resample`."""
    from .image.build import to_volume

    volume = to_volume(image, require_grid=True)
    return _like(image, resample_volume(volume, respaced(grid_of(volume), spacing), method))


def _like(image: Any, volume: Volume) -> Any:
    """A DataArray with Dask if the image has it."""
    from .image.build import to_dataarray
    from .image.views import is_dask

    return to_dataarray(volume, chunks="auto" if is_dask(image.variable._data) else None)


def grid_of(volume: Volume) -> Grid:
    """The one place of an image.

    Raises
    ------
    GeometryError
        If it has none, or changes it with time.
    """
    if volume.grid is None:
        raise GeometryError(
            f"{volume.source or 'the image'}: its voxels have no position; img.img.assign_geometry(...) gives them one"
        )
    if volume.poses is not None:
        raise GeometryError(
            "the geometry of the reference changes with time; choose a frame: ref.isel(t=0), or give its grid"
        )
    return volume.grid


def respaced(grid: Grid, spacing: float | Sequence[float]) -> Grid:
    """The grid of the same place with other voxel sizes.

    The middle and the directions stay. Sizes are rounded to whole voxels, so that the outer edges move by less than
    half a new voxel; where the new spacing divides the extent they stay (as of `Grid.coarsen`).

    Parameters
    ----------
    grid : Grid
        The grid.
    spacing : float or (x, y, z)
        New voxel size, in the grid's unit.

    Raises
    ------
    GeometryError
        If a spacing is not a positive number.

    Examples
    --------
    >>> from chunkimg import Grid
    >>> grid = Grid((10, 10, 4), [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1]])
    >>> respaced(grid, 2).shape, respaced(grid, 2).origin
    ((5, 5, 8), (0.5, 0.5, -1.0))
    """
    wanted = np.atleast_1d(np.asarray(spacing, np.float64))
    if wanted.shape not in ((1,), (3,)) or not (np.all(np.isfinite(wanted)) and np.all(wanted > 0)):
        raise GeometryError(f"a spacing is one positive number, or three (x, y, z); found {spacing}")
    steps = np.broadcast_to(wanted, 3) / grid.spacing
    sizes = [max(1, math.floor(n / s + 0.5)) for n, s in zip(grid.shape, steps.tolist(), strict=True)]
    matrix = np.array(grid.matrix)
    starts = [(n - 1) / 2 - s * (m - 1) / 2 for n, m, s in zip(grid.shape, sizes, steps, strict=True)]
    matrix = matrix @ aff.step_matrix(starts, steps.tolist())
    return Grid((sizes[0], sizes[1], sizes[2]), tuple(map(tuple, matrix.tolist())), grid.space, grid.units)


def resample_volume(
    volume: Volume, ref: Grid, method: str | None = None, transform: Any = None, fill: complex = 0
) -> Volume:
    """An image on another grid, lazily; frames and channels are carried along, each frame from its own place.

    Image values are resampled (scaled ones, if there is a scaling) and keep their type.

    Parameters
    ----------
    volume : Volume
        The image.
    ref : Grid
        The grid.
    method : str, optional
        ``"nearest"``, ``"linear"``, ``"cubic"`` or ``"label"``; by default linear, and label for label maps.
    transform : array_like of shape (4, 4), or Transform, optional
        World (RAS+) of the reference to that of the image; in the unit that it names (`units`), else, as a matrix, in
        that of the reference.
    fill : number
        Value of voxels outside the image.

    Raises
    ------
    GeometryError
        If the image has no position, or the two worlds cannot be told to be one.
    ValueError
        If the method would invent labels, or `fill` is no value of the image's type.
    """
    method = _method(volume, method)
    data = volume.values
    _check_fill(data.dtype, fill)
    if volume.grid is None:
        grid_of(volume)
    assert volume.grid is not None
    ref = _in_space(ref, volume.grid.space)
    chosen = _in_unit(_transform(transform), ref.units)
    lead = [volume.poses.at(t, volume.grid) for t in volume.times.values] if volume.poses and volume.times else None
    per = _unit(volume.grid.units, ref.units)
    places = [_place(ref, affine, per, chosen) for affine in lead or [volume.grid.matrix]]
    shape = ref.shape[::-1]
    return replace(volume, data=resampled(data, shape, places, method, fill), grid=ref, scaling=None, poses=None)


def _place(ref: Grid, affine: NDArray[np.float64], per: float, transform: Transform | None) -> Place:
    """Where voxels of a reference lie in an image whose unit is `per` of the reference's."""
    image = np.array(affine)
    image[:3] *= per
    return place_between(ref.matrix, ref.shape, image, aff.inverse(image), transform)


def _method(volume: Volume, method: str | None) -> str:
    labels = is_label(volume.properties)
    if method is None:
        return "label" if labels else "linear"
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}")
    if labels and method not in ("nearest", "label"):
        raise ValueError(f"the image holds labels, and {method} would invent some; method='label' does not")
    return method


def _check_fill(dtype: np.dtype[Any], fill: complex) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            kept = np.asarray(fill).astype(dtype)
        except (TypeError, ValueError, OverflowError):
            kept = None
    exact = dtype.kind in "fc" and np.ndim(fill) == 0 and not isinstance(fill, (str, bytes))
    whole = kept is not None and np.ndim(fill) == 0 and np.iscomplexobj(fill) <= (dtype.kind == "c")
    if not (whole and (exact or bool(kept == fill))):
        raise ValueError(f"fill is {fill!r}, which is no value of {dtype}; convert the image, or fill with another")


def _in_space(ref: Grid, space: str) -> Grid:
    """A reference in the world of the image: images are RAS+ or of an unknown space."""
    if (ref.space == "unknown") != (space == "unknown"):
        raise GeometryError(
            f"the reference is in space {ref.space}, the image in {space}: nothing says how they lie to each other; "
            "declare the unknown one with img.img.assign_geometry(space=...) if you know it"
        )
    return ref.to_space(space)


def _unit(unit: str, ref: str) -> float:
    """How many of the reference's units the image's is; unknown ones are taken to be the same."""
    if unit == ref or "unknown" in (unit, ref):
        return 1.0
    return frames.in_unit(1.0, unit, ref)


def _in_unit(transform: Transform | None, unit: str) -> Transform | None:
    """A transform of points in a unit."""
    own = getattr(transform, "units", None)
    if transform is None or own is None or _unit(own, unit) == 1.0:
        return transform
    return _Rescaled(transform, _unit(own, unit))


@dataclass(frozen=True)
class _Rescaled:
    """A transform of points in another unit, of which its own is `per`."""

    transform: Transform
    per: float

    @property
    def matrix(self) -> ArrayLike | None:
        if self.transform.matrix is None:
            return None
        matrix = np.array(self.transform.matrix, np.float64)
        matrix[:3, 3] *= self.per
        return matrix

    def map(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.transform.map(points / self.per) * self.per

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-rescaled", token_of(self.transform), self.per)


@dataclass(frozen=True)
class _Matrix:
    """A 4×4 matrix as a transform."""

    rows: tuple[tuple[float, ...], ...]

    @property
    def matrix(self) -> NDArray[np.float64]:
        return np.array(self.rows)

    def map(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return aff.apply(self.matrix, points)


def _transform(given: Any) -> Transform | None:
    """A transform, or a matrix as one."""
    if given is None:
        return None
    if hasattr(given, "map") and hasattr(given, "matrix"):
        found: Transform = given
        return found
    matrix = aff.as_affine(_numbers(given))
    if not aff.is_usable(matrix):
        raise GeometryError(f"the matrix of a transform is singular or not finite:\n{matrix}")
    return _Matrix(tuple(map(tuple, matrix.tolist())))


def _numbers(given: ArrayLike) -> NDArray[np.float64]:
    try:
        return np.asarray(given, np.float64)
    except (TypeError, ValueError):
        raise TypeError(
            f"a transform is a 4×4 matrix, or has .matrix and .map(points), found {type(given).__name__}"
        ) from None
