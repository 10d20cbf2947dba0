"""Geometry as attributes: the only file that knows the keys.

The law (see ``docs/geometry.md``): with the affine ``[M | t]``, spacing ``s`` (column norms of M), direction
``D = M / s`` and ``c0 = D⁻¹ t``, an image carries the 1-D coordinates ``x, y, z = c0 + s · i``, and for every voxel
``world = D · (x, y, z)``. Each coordinate holds its own column of D, its unit and its spacing in its attributes,
which survive whatever xarray does, so that coordinates alone place every voxel.

The image's attributes hold the *reference grid* as it was opened: with it the affine of any crop, flip, stride or
coarsening is recovered bit for bit. A reference that is missing or does not fit is ignored.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import chunkimg.geometry.affine as aff

from ..errors import GeometryError
from .grid import AXES, Grid
from .poses import Poses, snapped_steps

__all__ = [
    "CF_KEYS",
    "DIRECTION",
    "GEOMETRY_KEYS",
    "HEADER_KEYS",
    "IMAGE_LABEL",
    "INTERNAL_KEYS",
    "LABEL",
    "NIFTI_HEADER",
    "NRRD_HEADER",
    "POSES",
    "RANK",
    "SPACE",
    "SPACING",
    "UNITS",
    "Coordinate",
    "completed",
    "decode",
    "decode_poses",
    "directed",
    "encode",
    "encode_poses",
    "reference",
    "reference_of",
    "strict_json",
    "turned",
    "undirected",
    "validate",
]

# of each spatial coordinate
UNITS, DIRECTION, SPACING, SPACE = "units", "direction", "spacing", "space"

# of the image: the reference grid
_AFFINE, _ORIGIN, _SHAPE = "affine", "origin", "shape"
#: number of axes the source declares; restored on writing
RANK = "rank"
#: per-time-step geometry
POSES = "affine_at"
#: what a format kept of its header, base64
NIFTI_HEADER = "nifti_header"
NRRD_HEADER = "nrrd_header"
#: whether the voxels are labels, not intensities
LABEL = "is_label"
#: colours and properties of labels, as OME-Zarr has them
IMAGE_LABEL = "image-label"

#: keys of the image that are computed for the user and never set by hand
GEOMETRY_KEYS = frozenset({_AFFINE, SPACING, _ORIGIN, DIRECTION, _SHAPE, SPACE, POSES})
HEADER_KEYS = frozenset({NIFTI_HEADER, NRRD_HEADER})
#: keys of the image that are not properties
INTERNAL_KEYS = HEADER_KEYS | {RANK}

#: names that CF readers (xarray among them) act upon; they never come from properties
CF_KEYS = frozenset({"scale_factor", "add_offset", "_FillValue", "missing_value", "coordinates", "_Unsigned"})

#: values of a coordinate and its attributes
Coordinate = tuple[NDArray[np.float64], dict[str, Any]]

_BITS = 1e-6  # voxels: how well a reference must fit to be trusted
_REGULAR = 1e-4  # voxels: how far a coordinate may be from regular


def encode(grid: Grid) -> tuple[dict[str, Coordinate], dict[str, Any]]:
    """Coordinates x, y, z (values and attributes) and image attributes of a grid.

    ``decode(*encode(grid)) == grid``, bit for bit.
    """
    spacing, direction = aff.decompose(grid.matrix)
    start = np.linalg.solve(direction, grid.matrix[:3, 3])
    coordinates: dict[str, Coordinate] = {
        axis: (start[k] + spacing[k] * np.arange(grid.shape[k]), attributes)
        for k, (axis, attributes) in enumerate(_attributes(grid).items())
    }
    reference = {
        _AFFINE: [list(row) for row in grid.affine],
        SPACING: list(grid.spacing),
        _ORIGIN: list(grid.origin),
        DIRECTION: direction.tolist(),
        _SHAPE: list(grid.shape),
        SPACE: grid.space,
    }
    return coordinates, reference


def decode(coordinates: Mapping[str, Coordinate], attrs: Mapping[str, Any]) -> Grid:
    """The grid that coordinates x, y, z describe, made exact by the reference grid in `attrs` where that fits.

    Raises
    ------
    GeometryError
        If a coordinate is missing, irregular or not finite, or lost its direction: position is never guessed.
    """
    steps, starts, columns = [], [], []
    for axis in AXES:
        if axis not in coordinates:
            raise GeometryError(
                f"the image has no coordinate {axis!r}: it was dropped, reduced or stacked, so its voxels have no "
                "position any more; keep the axis, or build an image with chunkimg.from_array"
            )
        values, attributes = coordinates[axis]
        start, step = _regular(axis, values, attributes)
        starts.append(start)
        steps.append(step)
        columns.append(_direction(axis, attributes))
    direction = np.array(columns).T
    matrix = np.eye(4)
    matrix[:3, :3] = direction * np.array(steps)
    matrix[:3, 3] = direction @ np.array(starts)
    if not aff.is_usable(matrix):
        raise GeometryError(f"the coordinates describe a singular grid:\n{matrix}")
    shape = tuple(len(np.atleast_1d(coordinates[a][0])) for a in AXES)
    units = _agreed(coordinates, UNITS)
    space = _agreed(coordinates, SPACE)
    matrix = _exact(matrix, shape, attrs)
    return Grid((shape[0], shape[1], shape[2]), tuple(map(tuple, matrix.tolist())), space, units)


def _attributes(grid: Grid) -> dict[str, dict[str, Any]]:
    """Attributes of the coordinates of a grid."""
    spacing, direction = aff.decompose(grid.matrix)
    return {
        axis: {
            UNITS: grid.units,
            DIRECTION: direction[:, k].tolist(),
            SPACING: float(spacing[k]),
            SPACE: grid.space,
        }
        for k, axis in enumerate(AXES)
    }


def directed(coordinates: Mapping[str, Coordinate]) -> bool:
    """Whether coordinates say where they lie: any of them has a direction."""
    return any(DIRECTION in attributes for _, attributes in coordinates.values())


def completed(coordinates: Mapping[str, Coordinate], attrs: Mapping[str, Any]) -> dict[str, Coordinate]:
    """Coordinates whose attributes were dropped, with direction, spacing and space of the reference grid in `attrs`.

    What a coordinate says itself is kept; without a reference, all are returned as they are.
    """
    grid = reference(attrs)
    if grid is None:
        return dict(coordinates)
    known = _attributes(grid)
    return {a: (values, {**known[a], **attributes}) for a, (values, attributes) in coordinates.items()}


def undirected(values: NDArray[np.float64], axis: str, unit: str, spacing: float) -> Coordinate:
    """A coordinate along an axis of an unknown space, as a source has it that does not say where the patient is."""
    column = [1.0 if a == axis else 0.0 for a in AXES]
    return values, {UNITS: unit, DIRECTION: column, SPACING: spacing, SPACE: "unknown"}


def reference(attrs: Mapping[str, Any]) -> Grid | None:
    """The reference grid in image attributes, or None where there is none that is whole."""
    matrix = _reference(attrs)
    if matrix is None or not {DIRECTION, _SHAPE, SPACE} <= set(attrs):
        return None
    try:
        return Grid(tuple(attrs[_SHAPE]), tuple(map(tuple, matrix.tolist())), attrs[SPACE], attrs.get(UNITS, "unknown"))
    except (GeometryError, TypeError):
        return None


def validate(coordinates: Mapping[str, Coordinate], attrs: Mapping[str, Any]) -> list[str]:
    """What is inconsistent between coordinates and image attributes, as phrases; empty if nothing is."""
    try:
        grid = decode(coordinates, attrs)
    except GeometryError as error:
        return [str(error)]
    out = []
    reference = _reference(attrs)
    if reference is None:
        if _AFFINE in attrs:
            out.append(f"the attribute {_AFFINE!r} is not a usable 4x4 affine: {attrs[_AFFINE]!r}")
        return out
    fitted = _snap(reference, grid.matrix)
    if fitted is None or not _fits(fitted, grid.matrix, grid.shape):
        out.append(
            f"the attribute {_AFFINE!r} does not belong to the coordinates: voxels are not at whole or half steps of it"
        )
    stored, direction = aff.decompose(reference)
    for key, value in ((SPACING, stored), (_ORIGIN, reference[:3, 3]), (DIRECTION, direction)):
        if key in attrs and not _close(attrs[key], value):
            out.append(f"the attribute {key!r} contradicts {_AFFINE!r}: {attrs[key]!r}")
    if attrs.get(SPACE, grid.space) != grid.space:
        out.append(f"the attribute {SPACE!r} is {attrs[SPACE]!r}, the coordinates say {grid.space!r}")
    return out


def reference_of(attrs: Mapping[str, Any]) -> tuple[tuple[float, ...], ...] | None:
    """The affine of the reference grid that image attributes state, or None where there is none that can be used."""
    matrix = _reference(attrs)
    return None if matrix is None else tuple(map(tuple, matrix.tolist()))


def _close(stated: Any, value: NDArray[np.float64]) -> bool:
    try:
        found = np.asarray(stated, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    return found.shape == value.shape and np.allclose(found, value, rtol=1e-6, atol=1e-9)


def encode_poses(poses: Poses) -> dict[str, Any]:
    """Per-time-step geometry as a JSON table keyed by the value of ``t``."""
    return {
        "reference": [list(row) for row in poses.reference],
        "t": list(poses.times),
        _AFFINE: [[list(row) for row in matrix] for matrix in poses.affines],
    }


def decode_poses(attrs: Mapping[str, Any]) -> Poses | None:
    """Per-time-step geometry from image attributes, or None where there is none.

    Raises
    ------
    GeometryError
        If the table is there but damaged.
    """
    table = attrs.get(POSES)
    if table is None:
        return None
    try:
        return Poses(table["reference"], tuple(table["t"]), tuple(table[_AFFINE]))
    except (TypeError, KeyError, ValueError) as error:
        raise GeometryError(f"the attribute {POSES!r} is damaged: {error}") from error


def turned(attrs: Mapping[str, Any], backwards: Collection[str], order: Sequence[str]) -> dict[str, Any]:
    """Image attributes of the reference grid in `attrs`, its axes turned (`Grid.turn`); none where there is none.

    With it the affine of an image whose axes were turned is exact, and turning back is the identity.
    """
    grid = reference(attrs)
    return {} if grid is None else encode(grid.turn(backwards, order))[1]


def strict_json(value: Any) -> Any:
    """`value` as strict JSON: arrays and tuples as lists, NumPy scalars as numbers, non-finite numbers as strings.

    A bare ``NaN`` in ``zarr.json`` makes other readers (tensorstore) refuse the whole array; the strings are those of
    the Zarr v3 specification for fill values.
    """
    if isinstance(value, Mapping):
        return {str(k): strict_json(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return strict_json(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [strict_json(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, complex):
        return [strict_json(value.real), strict_json(value.imag)]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)


def _regular(axis: str, values: NDArray[np.float64], attributes: Mapping[str, Any]) -> tuple[float, float]:
    """First value and step of a coordinate."""
    c = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if c.ndim != 1 or c.size == 0:
        raise GeometryError(f"coordinate {axis!r} has shape {c.shape}; one value per voxel and at least one is needed")
    if not np.all(np.isfinite(c)):
        raise GeometryError(
            f"coordinate {axis!r} holds values that are not finite (xarray's pad makes such), so it is no grid"
        )
    if c.size == 1:
        step = attributes.get(SPACING)
        if not isinstance(step, (int, float)) or not math.isfinite(step) or step == 0:
            raise GeometryError(
                f"coordinate {axis!r} has one voxel and no usable {SPACING!r} attribute ({step!r}): its size is unknown"
            )
        return float(c[0]), float(step)
    step = float(c[-1] - c[0]) / (c.size - 1)
    # rounding of the coordinates themselves is allowed for: far from the origin it exceeds 1e-4 of a tiny step
    slack = _REGULAR * abs(step) + 4 * np.finfo(np.float64).eps * float(np.abs(c).max())
    if step == 0 or float(np.abs(c - (c[0] + step * np.arange(c.size))).max()) > slack:
        raise GeometryError(
            f"coordinate {axis!r} is not regular (steps from {np.diff(c).min():g} to {np.diff(c).max():g}): "
            "the voxels do not form a grid"
        )
    return float(c[0]), step


def _direction(axis: str, attributes: Mapping[str, Any]) -> list[float]:
    column = attributes.get(DIRECTION)
    try:
        values = [float(v) for v in column]  # type: ignore[union-attr]
    except (TypeError, ValueError):
        values = []
    if len(values) != 3 or not math.isclose(math.hypot(*values), 1.0, rel_tol=1e-6):
        raise GeometryError(
            f"coordinate {axis!r} has no usable {DIRECTION!r} attribute (found {column!r}), so nothing says where its "
            "voxels are; use chunkimg.from_array, or img.img.assign_geometry(affine=...) if you know"
        )
    return values


def _agreed(coordinates: Mapping[str, Coordinate], key: str) -> str:
    found = {axis: str(coordinates[axis][1].get(key, "unknown")) for axis in AXES}
    if len(set(found.values())) > 1:
        raise GeometryError(f"the coordinates disagree in {key!r}: {found}")
    return found["x"]


def _reference(attrs: Mapping[str, Any]) -> NDArray[np.float64] | None:
    try:
        matrix = aff.as_affine(attrs[_AFFINE])
    except (KeyError, TypeError, ValueError):
        return None
    return matrix if aff.is_usable(matrix) else None


def _snap(reference: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """`matrix` rebuilt as reference @ (whole or half steps), or None where it is no such thing."""
    steps = snapped_steps(reference, matrix)
    if not np.array_equal(steps * 2, np.round(steps * 2)):
        return None
    scale = np.diag(steps)[:3]
    if np.any(scale == 0) or np.count_nonzero(steps[:3, :3]) != 3:
        return None
    out = reference.copy()
    if np.any(steps[:3, 3]):
        out[:3, 3] = reference[:3, :3] @ steps[:3, 3] + reference[:3, 3]
    out[:3, :3] = reference[:3, :3] * scale
    return out + 0.0 if np.any(scale != 1) else out


def _fits(candidate: NDArray[np.float64], matrix: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    corners = aff.corner_indices(shape, 0.5)
    apart = aff.apply(candidate, corners) - aff.apply(matrix, corners)
    index_apart = apart @ aff.inverse(matrix)[:3, :3].T
    # float64 coordinates far from the world's origin carry rounding of their own
    far = float(np.abs(matrix[:3, 3]).max() / np.hypot.reduce(matrix[:3, :3], axis=0).min())
    return bool(np.abs(index_apart).max() <= _BITS + 1e-13 * far)


def _exact(matrix: NDArray[np.float64], shape: tuple[int, ...], attrs: Mapping[str, Any]) -> NDArray[np.float64]:
    reference = _reference(attrs)
    if reference is None:
        return matrix
    candidate = _snap(reference, matrix)
    return candidate if candidate is not None and _fits(candidate, matrix, shape) else matrix
