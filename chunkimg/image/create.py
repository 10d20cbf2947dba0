"""Images from arrays in memory, and changes of what is known of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from ..errors import GeometryError
from ..geometry import Grid, Poses
from ..geometry import affine as aff
from ..geometry import attrs as keys
from ..geometry.frames import check_space, rows_to_space
from ..labelling import with_labels
from ..metadata import check_property, properties_of
from ..volume import DIMS, TimeAxis, Volume
from .build import assemble, grid_of, spatial_coordinates
from .computed import ComputedArray
from .views import is_dask

__all__ = ["as_label", "assign_geometry", "from_array", "snap_to"]

_DEFAULT_DIMS = {
    1: ("x",),
    2: ("y", "x"),
    3: ("z", "y", "x"),
    4: ("t", "z", "y", "x"),
    5: ("t", "c", "z", "y", "x"),
}


def from_array(
    data: Any,
    dims: Sequence[str] | None = None,
    *,
    affine: ArrayLike | None = None,
    spacing: Sequence[float] | None = None,
    origin: Sequence[float] | None = None,
    direction: ArrayLike | None = None,
    space: str = "RAS",
    units: str = "mm",
    t: Sequence[float] | None = None,
    properties: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Make an image of a NumPy or Dask array.

    Parameters
    ----------
    data : array
        Values. A Dask array stays lazy; a NumPy array is not copied.
    dims : sequence of str, optional
        Name of each axis, in any order; the image has them in the order t, c, z, y, x. By default the last dims of
        that order: (z, y, x) for 3 axes, (t, z, y, x) for 4. Arrays in nibabel's order are ``("x", "y", "z")``.
    affine : array_like, shape (4, 4) or (n, 4, 4), optional
        Index (i, j, k) along (x, y, z) to world. One per time step for a pose that changes with time.
    spacing, origin : (x, y, z), optional
        Voxel size, and world position of the centre of the first voxel; alternative to `affine`.
    direction : array_like, shape (3, 3), optional
        Columns are the unit world vectors along x, y, z.
    space : str
        World frame of what was given: ``"RAS"`` (nibabel), ``"LPS"`` (ITK, DICOM), another such triple, or
        ``"unknown"``. The image's world is RAS+ unless it is unknown.
    units : str
        Unit of length: ``"mm"``, ``"um"``, …
    t : sequence of float, optional
        Times in seconds.
    properties : mapping, optional
        Metadata.

    Returns
    -------
    xarray.DataArray

    Raises
    ------
    GeometryError
        If dims, sizes and geometry do not fit together, or the affine is singular.

    Examples
    --------
    >>> import numpy as np, chunkimg as ci
    >>> img = ci.from_array(np.zeros((4, 3, 2), "i2"), spacing=(0.5, 0.5, 2), origin=(10, 20, 30), space="LPS")
    >>> img.img.spacing, img.img.origin, img.img.orientation
    ((0.5, 0.5, 2.0), (-10.0, -20.0, 30.0), 'LPS')
    """
    array = data if isinstance(data, np.ndarray) or is_dask(data) else np.asarray(data)
    names = tuple(dims) if dims is not None else _DEFAULT_DIMS.get(array.ndim, ())
    if len(names) != array.ndim or len(set(names)) != len(names) or not set(names) <= set(DIMS):
        raise GeometryError(
            f"an array of {array.ndim} axes needs as many dims out of {', '.join(DIMS)}, found {names or dims}"
        )
    array = array.transpose([names.index(d) for d in DIMS if d in names])
    for k, d in enumerate(d for d in DIMS if d in names or d in ("z", "y", "x")):
        if d not in names:
            array = array[(slice(None),) * k + (None,)]
    full = tuple(d for d in DIMS if d in names or d in ("z", "y", "x"))
    sizes = dict(zip(full, array.shape, strict=True))
    matrices = _matrices(affine, spacing, origin, direction, check_space(space))
    for name in properties or {}:
        check_property(str(name))
    world = "unknown" if space == "unknown" else "RAS"
    first = aff.fill_singleton_axes(matrices[0], (sizes["x"], sizes["y"], sizes["z"]))
    rows = tuple(map(tuple, first.tolist()))
    times = _times(sizes.get("t"), t)
    volume = Volume(
        data=ComputedArray(array),
        dims=full,
        grid=Grid((sizes["x"], sizes["y"], sizes["z"]), rows, world, units),
        times=times,
        properties=dict(properties or {}),
        rank=len(names),
        poses=_poses(rows, matrices, times),
        source="",
    )
    return assemble(volume, array)


def _matrices(
    affine: ArrayLike | None,
    spacing: Sequence[float] | None,
    origin: Sequence[float] | None,
    direction: ArrayLike | None,
    space: str,
) -> list[Any]:
    if affine is not None:
        if not (spacing is None and origin is None and direction is None):
            raise GeometryError("give either affine, or spacing, origin and direction, not both")
        given = np.asarray(affine, dtype=np.float64)
        each = [aff.as_affine(m) for m in (given if given.ndim == 3 else given[None])]
    else:
        each = [
            aff.compose(
                _three("spacing", (1, 1, 1) if spacing is None else spacing, positive=True),
                _unit_columns(np.eye(3) if direction is None else direction),
                _three("origin", (0, 0, 0) if origin is None else origin),
            )
        ]
    target = "unknown" if space == "unknown" else "RAS"
    return [rows_to_space(m, space, target) for m in each]


def _three(name: str, values: Sequence[float], positive: bool = False) -> Any:
    out = np.asarray(values, dtype=np.float64)
    if out.shape != (3,) or not np.all(np.isfinite(out)) or (positive and np.any(out <= 0)):
        kind = "positive numbers" if positive else "numbers"
        raise GeometryError(f"{name} is three {kind}, along x, y, z; found {values!r}")
    return out


def _unit_columns(direction: ArrayLike) -> Any:
    out = np.asarray(direction, dtype=np.float64)
    if out.shape != (3, 3) or not np.allclose(np.linalg.norm(out, axis=0), 1, atol=1e-4):
        raise GeometryError(f"direction is a 3x3 matrix whose columns have length 1, found\n{out}")
    # a direction that is normal to rounding is kept bit for bit
    length = np.linalg.norm(out, axis=0)
    return out if np.allclose(length, 1, rtol=0, atol=1e-9) else out / length


def _times(count: int | None, t: Sequence[float] | None) -> TimeAxis | None:
    if count is None:
        if t is not None:
            raise GeometryError("times were given for an image without dim t")
        return None
    if t is None:
        return TimeAxis(tuple(float(k) for k in range(count)), "unknown", None)
    values = tuple(float(v) for v in t)
    if len(values) != count:
        raise GeometryError(f"{len(values)} times were given for {count} frames")
    step = values[1] - values[0] if count > 1 else None
    regular = TimeAxis(values, "s", step)
    return regular if regular.regular_step() is not None else TimeAxis(values, "s", None)


def _poses(reference: Any, matrices: list[Any], times: TimeAxis | None) -> Poses | None:
    if len(matrices) == 1:
        return None
    if times is None or len(times.values) != len(matrices):
        frames = "no dim t" if times is None else f"{len(times.values)} frames"
        raise GeometryError(f"{len(matrices)} affines were given, the image has {frames}: one per frame is expected")
    return Poses(reference, times.values, tuple(matrices))


def assign_geometry(
    image: xr.DataArray,
    *,
    affine: ArrayLike | None = None,
    spacing: Sequence[float] | None = None,
    origin: Sequence[float] | None = None,
    direction: ArrayLike | None = None,
    space: str | None = None,
    units: str | None = None,
) -> xr.DataArray:
    """The same voxels at another place; see `ImageAccessor.assign_geometry`."""
    try:
        old: Grid | None = grid_of(image)
    except GeometryError:
        old = None
    if old is None and affine is None and spacing is None:
        raise GeometryError("the image has no position yet: give affine=, or spacing= with origin= and direction=")
    if affine is not None:
        matrix = _matrices(affine, spacing, origin, direction, "RAS")[0]
    else:
        matrix = _matrices(
            None,
            spacing if spacing is not None or old is None else old.spacing,
            origin if origin is not None or old is None else old.origin,
            direction if direction is not None or old is None else old.direction,
            "RAS",
        )[0]
    given = check_space(space or (old.space if old else "unknown"))
    world = "unknown" if given == "unknown" else "RAS"
    shape = tuple(image.sizes.get(d, 1) for d in ("x", "y", "z"))
    only_names = affine is None and spacing is None and origin is None and direction is None
    if old is not None and only_names:
        # only names are declared: numbers stay bit for bit
        matrix = old.matrix
        if space is not None and old.space != "unknown" and given not in (old.space, "unknown"):
            raise GeometryError(
                f"the image's world is known to be {old.space}; give affine= together with space={space!r} to move it"
            )
    elif image.attrs.get(keys.POSES) is not None:
        raise GeometryError("the geometry of this image changes with time; make a new one with chunkimg.from_array")
    matrix = rows_to_space(aff.fill_singleton_axes(matrix, shape), given, world)
    grid = Grid((shape[0], shape[1], shape[2]), tuple(map(tuple, matrix.tolist())), world, units or _units(old))
    return _on_grid(image, grid)


def _units(old: Grid | None) -> str:
    return old.units if old is not None else "mm"


def _on_grid(image: xr.DataArray, grid: Grid) -> xr.DataArray:
    """The image with its spatial coordinates exchanged for those of a grid of its shape."""
    missing = [d for d in ("z", "y", "x") if d not in image.dims]
    if missing:
        raise GeometryError(f"the image has no dim {', '.join(missing)}")
    out = image.drop_vars([d for d in ("x", "y", "z") if d in image.coords]).assign_coords(spatial_coordinates(grid))
    attrs = {k: v for k, v in image.attrs.items() if k not in keys.GEOMETRY_KEYS - {keys.POSES}}
    out.attrs = {**keys.encode(grid)[1], **attrs}
    out.encoding = dict(image.encoding)
    return out


def snap_to(image: xr.DataArray, other: xr.DataArray, tol: float = 0.1) -> xr.DataArray:
    """Put an image on exactly the grid of another that is meant to be the same; see `ImageAccessor.snap_to`."""
    if keys.POSES in image.attrs or keys.POSES in other.attrs:
        raise GeometryError("the geometry of one of the images changes with time; snap its frames one by one")
    grid = grid_of(other)
    grid.require_same_as(grid_of(image), tol)
    return _on_grid(image, grid)


def as_label(
    image: xr.DataArray,
    names: Mapping[int, str] | None = None,
    colors: Mapping[int, Sequence[int]] | None = None,
) -> xr.DataArray:
    """The image declared to hold labels, with names and colours of them; see `ImageAccessor.as_label`."""
    return image.assign_attrs(with_labels(properties_of(image.attrs), names, colors))
