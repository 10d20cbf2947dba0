"""Images on other grids: resampled to that of a reference, or to another spacing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .align import resampled_properties, slice_axis
from .errors import GeometryError
from .geometry import AXES, Grid, Poses, frames
from .geometry import affine as aff
from .lazy import LazyArray
from .metadata import is_label
from .ops.gaussian import Gaussian, sigma_of_fwhm, smoothed_array
from .ops.interpolate import rounded, working_type
from .ops.pixels import VoxelwiseArray
from .ops.places import ALIGNED, AffinePlace, Place, Transform, place_between, token_of
from .ops.resample import METHODS, resampled
from .volume import Volume

__all__ = ["grid_of", "resample", "resample_to", "resample_volume", "respaced", "respaced_volume"]

#: voxels of a grid; no file system holds as many
_MOST = 1 << 52


def resample_to(
    image: Any,
    ref: Any,
    method: str | None = None,
    transform: Any = None,
    fill: complex = 0,
    antialias: bool = False,
) -> Any:
    """An image on the grid of another, lazily; see `ImageAccessor.resample_to`.

    Parameters
    ----------
    image : xarray.DataArray
        Any image.
    ref : xarray.DataArray or Grid
        Whose grid.
    method, transform, fill, antialias
        As for `resample_volume`.
    """
    from .image.build import to_volume

    grid = ref if isinstance(ref, Grid) else grid_of(to_volume(ref, require_grid=True))
    return _like(image, resample_volume(to_volume(image), grid, method, transform, fill, antialias))


def resample(image: Any, spacing: float | Sequence[float], method: str | None = None, antialias: bool = False) -> Any:
    """An image with other voxel sizes, lazily; see `ImageAccessor.resample`."""
    from .image.build import to_volume

    return _like(image, respaced_volume(to_volume(image, require_grid=True), spacing, method, antialias=antialias))


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
    try:
        wanted = np.atleast_1d(np.asarray(spacing, np.float64))
    except (TypeError, ValueError):
        wanted = np.empty(0)
    if wanted.shape not in ((1,), (3,)) or not (np.all(np.isfinite(wanted)) and np.all(wanted > 0)):
        raise GeometryError(f"a spacing is one positive number, or three (x, y, z); found {spacing!r}")
    steps = np.broadcast_to(wanted, 3) / grid.spacing
    sizes = [max(1, math.floor(n / s + 0.5)) for n, s in zip(grid.shape, steps.tolist(), strict=True)]
    if math.prod(sizes) > _MOST:
        raise GeometryError(
            f"with a spacing of {spacing} {grid.units} the image would have {' × '.join(map(str, sizes))} voxels; "
            f"its own is {grid.spacing}: is the unit right?"
        )
    matrix = np.array(grid.matrix)
    starts = [(n - 1) / 2 - s * (m - 1) / 2 for n, m, s in zip(grid.shape, sizes, steps, strict=True)]
    matrix = matrix @ aff.step_matrix(starts, steps.tolist())
    return Grid((sizes[0], sizes[1], sizes[2]), tuple(map(tuple, matrix.tolist())), grid.space, grid.units)


def resample_volume(
    volume: Volume,
    ref: Grid,
    method: str | None = None,
    transform: Any = None,
    fill: complex = 0,
    antialias: bool = False,
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
    antialias : bool
        Whether to smooth the image first by what voxels of the grid are larger; see `_smoothed`.

    Raises
    ------
    GeometryError
        If the image has no position, or the two worlds cannot be told to be one.
    ValueError
        If the method or antialiasing would invent labels, or `fill` is no value of the image's type.
    """
    if volume.grid is None:
        grid_of(volume)
    assert volume.grid is not None
    ref = _in_space(ref, volume.grid.space)
    # one that is not known is that of the other image
    unit = volume.grid.units if ref.units == "unknown" else ref.units
    chosen = _in_unit(_transform(transform), unit)
    lead = [volume.poses.at(t, volume.grid) for t in volume.times.values] if volume.poses and volume.times else None
    per = _unit(volume.grid.units, ref.units)
    places = [_place(ref, affine, per, chosen) for affine in lead or [volume.grid.matrix]]
    return _placed(volume, ref, places, method, fill, antialias)


def respaced_volume(
    volume: Volume,
    spacing: float | Sequence[float],
    method: str | None = None,
    fill: complex = 0,
    antialias: bool = False,
) -> Volume:
    """An image on a grid of the same place with other voxel sizes; frames that have places of their own keep them.

    Parameters
    ----------
    volume, method, fill, antialias
        As for `resample_volume`.
    spacing
        As for `respaced`.
    """
    if volume.grid is None:
        grid_of(volume)
    assert volume.grid is not None
    ref, poses = respaced(volume.grid, spacing), None
    place = place_between(ref.matrix, ref.shape, volume.grid.matrix, aff.inverse(volume.grid.matrix), None)
    if volume.poses is not None:
        steps = aff.inverse(volume.grid.matrix) @ ref.matrix
        rows = [volume.poses.at(t, volume.grid) @ steps for t in volume.poses.times]
        poses = Poses(ref.affine, volume.poses.times, tuple(tuple(map(tuple, m.tolist())) for m in rows))
    return replace(_placed(volume, ref, [place], method, fill, antialias), poses=poses)


def _placed(
    volume: Volume, ref: Grid, places: Sequence[Place], method: str | None, fill: complex, antialias: bool
) -> Volume:
    """An image on a grid whose voxels lie at places in it."""
    method = _method(volume, method)
    source = volume.values
    _check_fill(source.dtype, fill)
    smoothed = _smoothed(volume, places, fill) if antialias else source
    data = resampled(smoothed, ref.shape[::-1], places, method, fill)
    if data.dtype != source.dtype:
        data = VoxelwiseArray(data, partial(rounded, dtype=source.dtype), source.dtype, f"rounded {source.dtype.str}")
    properties = volume.properties if data is source else _properties(volume, ref, places)
    return replace(volume, data=data, grid=ref, scaling=None, poses=None, properties=properties)


def _properties(volume: Volume, ref: Grid, places: Sequence[Place]) -> dict[str, Any]:
    """Properties on the grid: the order of slices stays where they do, dim_info follows the axes nearest to its own."""
    assert volume.grid is not None
    k = AXES.index(slice_axis(volume.properties))
    row = tuple(float(n == k) for n in range(4))
    if ref.shape[k] == volume.grid.shape[k] and all(isinstance(p, AffinePlace) and p.matrix[k] == row for p in places):
        return volume.properties
    lengths = places[0].steps()[::-1, ::-1] * np.array(volume.grid.spacing)[:, None]
    nearest = lengths.argmax(axis=0).tolist()
    take = {AXES[k]: AXES[n] for k, n in enumerate(nearest)} if sorted(nearest) == [0, 1, 2] else None
    return resampled_properties(volume.properties, take)


def _smoothed(volume: Volume, places: Sequence[Place], fill: complex) -> LazyArray:
    """Values smoothed by a Gaussian as wide as makes voxels, seen as Gaussians of their size, those of the grid.

    Along an axis of the image whose steps are ``n`` voxels of the grid wide, the full width at half maximum is
    ``sqrt(n² - 1)`` voxels (Cardoso et al., "Scale factor point spread function matching", MICCAI 2015, p. 678);
    on a grid that is turned, n² is the sum of the squares of what its three steps go along that axis. It is nothing
    where voxels become smaller, and where a grid is turned only.
    """
    source = volume.values
    if is_label(volume.properties):
        raise ValueError("the image holds labels, which cannot be smoothed; img.coarsen takes the most frequent one")
    if source.dtype.kind == "c":
        raise ValueError("the image is complex; antialias its parts: img.complex_part('real'), ...")
    squares = np.max([np.square(p.steps()).sum(axis=1) for p in places], axis=0)
    widths = np.sqrt(np.maximum(squares - 1, 0))
    z, y, x = (sigma_of_fwhm(w) if w > ALIGNED else 0.0 for w in widths.tolist())
    if not any((z, y, x)):
        return source
    kind = working_type(source.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        _check_fill(source.dtype, kind.type(fill).item())
    return smoothed_array(source, Gaussian((z, y, x), dtype=kind.type))


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
            f"a transform is a 4×4 matrix, or has .matrix and .map(points), found {type(given).__name__}; "
            "chunkimg.read_transform reads files"
        ) from None
