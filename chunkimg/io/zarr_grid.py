"""Where the voxels of a Zarr array lie, by what is best known of it.

In this order: coordinates with our attributes, our reference grid in the attributes of the image or of the root, the
NIfTI header of a NIfTI-Zarr, OME-Zarr (with the anatomical orientation of RFC-4), coordinates of plain xarray.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ChunkImgWarning, FormatError, GeometryError
from ..geometry import Grid, frames
from ..geometry import affine as aff
from ..geometry import attrs as keys
from ..geometry.grid import AXES
from .ome_read import Axis, Level, Multiscale

__all__ = ["ome_grid", "own_grid", "plain_grid", "spatial_arrays", "sub_grid", "unpacked"]

Dims = Sequence[str | None]


def spatial_arrays(parent: Any, sizes: Mapping[str, int], child: Any) -> dict[str, keys.Coordinate]:
    """The coordinates x, y, z beside an image (or X, Y, Z): arrays of one value per voxel, or one value."""
    out: dict[str, keys.Coordinate] = {}
    for axis in AXES if parent is not None else ():
        array = child(parent, axis)
        array = child(parent, axis.upper()) if array is None else array
        if array is None or getattr(array, "shape", None) not in ((), (sizes[axis],)) or array.dtype.kind not in "iuf":
            continue
        values, attributes = unpacked(array)
        out[axis] = np.atleast_1d(np.asarray(values, np.float64)), attributes
    return out


def unpacked(array: Any) -> tuple[Any, dict[str, Any]]:
    """Values and attributes of a coordinate; packed ones (CF) are scaled."""
    attributes = dict(array.attrs)
    slope, inter = attributes.pop("scale_factor", 1.0), attributes.pop("add_offset", 0.0)
    values = array[...]
    return (values, attributes) if (slope, inter) == (1.0, 0.0) else (values * float(slope) + float(inter), attributes)


def own_grid(
    spatial: Mapping[str, keys.Coordinate],
    attrs: Mapping[str, Any],
    units: str | None,
    shape: tuple[int, int, int],
    levels: tuple[Level, Level] | None,
    dims: Dims,
) -> Grid | None:
    """The grid that our attributes give, or None where there are none.

    Parameters
    ----------
    spatial
        Coordinates.
    attrs
        Attributes of the image, with those that the root repeats.
    units
        Unit of length that the root repeats.
    shape
        Sizes along x, y, z.
    levels
        The finest level and this one, if OME-Zarr tells how they lie to each other.
    dims
        Dims of the array's axes.
    """
    if units is not None:
        attrs = {keys.UNITS: units, **attrs}
    full = keys.completed(spatial, attrs)
    if keys.directed(full) and (len(full) == 3 or keys.directed(spatial)):
        return keys.decode(full, attrs)
    finest = keys.reference(attrs)
    if finest is None:
        return None
    return finest if finest.shape == shape else sub_grid(finest, shape, levels, dims)


def sub_grid(finest: Grid, shape: tuple[int, int, int], levels: tuple[Level, Level] | None, dims: Dims) -> Grid:
    """The grid of a coarser level, by that of the finest and how OME-Zarr says they lie to each other.

    Raises
    ------
    GeometryError
        If nothing says how they do.
    """
    if levels is None or any(level.scale is None for level in levels):
        raise GeometryError(
            f"an array of {shape} voxels along x, y, z does not fit the reference grid of {finest.shape}, and nothing "
            "says where it lies in that: its coordinates were lost, or its voxels exchanged"
        )
    (scale0, start0), (scale, start) = (_along(level, dims) for level in levels)
    starts = [(b - a) / s for a, b, s in zip(start0, start, scale0, strict=True)]
    steps = [b / a for a, b in zip(scale0, scale, strict=True)]
    matrix = finest.matrix @ aff.step_matrix(starts, steps)
    return Grid(shape, tuple(map(tuple, matrix.tolist())), finest.space, finest.units)


def _along(level: Level, dims: Dims) -> tuple[list[float], list[float]]:
    """Scale and start of a level along x, y, z; 1 and 0 along an axis that it does not have."""
    scale, start = level.scale or (), level.start or ()
    where = [dims.index(a) if a in dims else None for a in AXES]
    return [1.0 if k is None else scale[k] for k in where], [0.0 if k is None else start[k] for k in where]


def ome_grid(image: Multiscale, level: int, dims: Dims, shape: tuple[int, int, int], where: Any) -> Grid | None:
    """The grid that OME-Zarr metadata gives: world = D · (start + scale · index), D being the orientation of RFC-4.

    Without orientation the space is unknown and D the identity. None, with a warning, for a coarser level of a version
    that does not know positions.
    """
    found = image.levels[level]
    if found.scale is None and level:
        warnings.warn(
            f"{where}: OME-Zarr {image.version or 'before 0.4'} does not say where the voxels of a coarser level are; "
            "it opens with plain indices as coordinates",
            ChunkImgWarning,
            stacklevel=2,
        )
        return None
    if image.unused:
        warnings.warn(
            f"{where}: positions are those that the levels state; transformations to other coordinate systems "
            f"({', '.join(image.unused)}) are not applied",
            ChunkImgWarning,
            stacklevel=2,
        )
    scale, start = _along(found, dims) if found.scale is not None else ([1.0] * 3, [0.0] * 3)
    axes = {d: a for d, a in zip(dims, image.axes, strict=True) if d in AXES}
    units = _unit({d: a.unit for d, a in axes.items()}, where)
    for k, d in enumerate(AXES):
        unit = axes[d].unit if d in axes else None
        if units != "unknown" and unit is not None and frames.canonical_unit(unit) != units:
            scale[k], start[k] = (frames.in_unit(v, unit, units) for v in (scale[k], start[k]))
    direction = _orientation(axes, where)
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3) * scale if direction is None else direction * scale
    matrix[:3, 3] = start if direction is None else direction @ np.array(start)
    if not aff.is_usable(matrix):
        raise FormatError(f"{where}: scales {scale} and translations {start} along x, y, z place no voxels")
    space = "unknown" if direction is None else "RAS"
    return Grid(shape, tuple(map(tuple, (matrix + 0.0).tolist())), space, units)


def _unit(units: Mapping[str, str | None], where: Any) -> str:
    """The one unit of an image: that of x, to which the others are converted."""
    known = {d: frames.canonical_unit(u) for d, u in units.items()}
    if len(set(known.values())) == 1:
        return next(iter(known.values()))
    if all(u in frames.UNITS for u in known.values()):
        return known.get("x") or next(iter(known.values()))
    warnings.warn(
        f"{where}: axes have different units that cannot be converted into each other ({known}); lengths are kept as "
        "they are, in an unknown unit",
        ChunkImgWarning,
        stacklevel=3,
    )
    return "unknown"


def _orientation(axes: Mapping[str, Axis], where: Any) -> Any:
    """Direction matrix (RAS+) of anatomical orientations; None where they are not given, or not for all axes."""
    given = {d: a.orientation for d, a in axes.items() if a.orientation is not None}
    if not given:
        return None
    letters = {d: frames.body_letter(value) for d, value in given.items()}
    lines = {_line(letter) for letter in letters.values()}
    if set(given) != set(axes) or None in letters.values() or len(lines) < len(axes):
        warnings.warn(
            f"{where}: orientations {given} do not tell how each axis of space runs in the body (left to right, "
            "posterior to anterior, inferior to superior, or back); they are not used, the space is unknown",
            ChunkImgWarning,
            stacklevel=3,
        )
        return None
    matrix = np.eye(4)
    for k, d in enumerate(AXES):
        matrix[:3, k] = frames.ras_direction(letters[d] or "") if d in letters else 0.0
    shape = [1 if d not in letters else 2 for d in AXES]
    return aff.fill_singleton_axes(matrix, shape)[:3, :3] + 0.0


def _line(letter: str | None) -> str | None:
    """The body axis of a letter, whichever way it runs."""
    return None if letter is None else min(letter, frames.OPPOSITE[letter])


def plain_grid(spatial: Mapping[str, keys.Coordinate], sizes: Mapping[str, int], where: Any) -> Grid | None:
    """The grid of plain xarray coordinates, in an unknown space; voxels are counted along axes that have none.

    None, with a warning, where they are irregular.
    """
    units = {a: attributes.get(keys.UNITS) for a, (_, attributes) in spatial.items()}
    unit = _unit({a: str(u) if u else None for a, u in units.items()}, where) if units else "unknown"
    full: dict[str, keys.Coordinate] = {}
    for axis in AXES:
        values, attributes = spatial.get(axis, (np.arange(sizes[axis], dtype=np.float64), {}))
        step = attributes.get(keys.SPACING, 1.0)
        if axis in units and unit != "unknown" and frames.canonical_unit(str(units[axis])) != unit:
            values = np.array([frames.in_unit(float(v), str(units[axis]), unit) for v in values])
        full[axis] = keys.undirected(values, axis, unit, step if isinstance(step, (int, float)) else 1.0)
    try:
        return keys.decode(full, {})
    except GeometryError as error:
        warnings.warn(
            f"{where}: {error}; the image opens with plain indices as coordinates", ChunkImgWarning, stacklevel=2
        )
        return None
