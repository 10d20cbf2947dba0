"""What the axes of an NRRD are: dims, grid, times and channels.

References
----------
Definition of NRRD File Format, sections 4 "Space and orientation information" and 6 "Per-axis field specifications";
axes without a direction in space are placed as ``nrrdOriginCalculate`` of teem does:
cell-centred where nothing is said.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import chunkimg.geometry.affine as aff

from ..errors import ChunkImgWarning, FormatError, UnsupportedError
from ..geometry import Grid
from ..geometry.frames import canonical_unit, mm_per, rows_to_space, to_seconds
from ..volume import TimeAxis
from .format import MAX_AXIS
from .nrrd_header import NrrdHeader

__all__ = ["SINGLE", "Axes", "axes_of", "channels_of", "grid_of", "time_unit", "times_of"]

#: role of an axis of one sample that is none of the dims
SINGLE = "-"

_SPATIAL_KINDS = ("domain", "space")
#: kinds of samples that have a name of their own as a kind of channels
_COLORS = {"rgb-color": "RGB", "3-color": "RGB", "rgba-color": "RGBA", "4-color": "RGBA"}


@dataclass(frozen=True)
class Axes:
    """Roles of the axes, fastest first.

    Attributes
    ----------
    roles : tuple of str
        x, y, z, t, c, or `SINGLE` for an axis of one sample that is none of them.
    vectors : tuple
        Per axis, its direction in the header's space; None for those that have none.
    """

    roles: tuple[str, ...]
    vectors: tuple[tuple[float, ...] | None, ...]

    def at(self, role: str) -> int | None:
        """Number of the axis with a role."""
        return self.roles.index(role) if role in self.roles else None


def axes_of(header: NrrdHeader) -> Axes:
    """Roles of the axes of a header.

    With space directions, axes that have one are spatial. Else those whose kind is domain or space; without kinds the
    first three. What is left is time where its kind or unit says so, channels otherwise.

    Raises
    ------
    UnsupportedError
        If an axis fits no dim.
    """
    count = header.dimension
    header.check()
    vectors = header.vectors("space directions", count)
    _check_sizes(header)
    classes = [_class_of(header, k, vectors) for k in range(count)]
    undecided = [k for k, name in enumerate(classes) if name == "?"]
    for k in _spatial_by_place(header, undecided, classes.count("space")):
        classes[k] = "space"
    roles: list[str] = []
    for k, name in enumerate(classes):
        roles.append(_role(header, k, name, roles))
    if not {"x", "y", "z"} & set(roles):
        raise UnsupportedError(f"{header.path}: no axis is one of space: {_describe(header)}")
    return Axes(tuple(roles), vectors)


def _check_sizes(header: NrrdHeader) -> None:
    if max(header.sizes) > MAX_AXIS:
        raise FormatError(
            f"{header.path}: sizes are {header.sizes}; an image has at most {MAX_AXIS} voxels along an axis"
        )
    if header.space_dimension > 4:
        raise UnsupportedError(
            f"{header.path}: space dimension is {header.space_dimension}; three of space and one of time are understood"
        )


def _class_of(header: NrrdHeader, k: int, vectors: tuple[tuple[float, ...] | None, ...]) -> str:
    """``"space"``, ``"time"``, ``"channel"``, or ``"?"`` where only the place can tell."""
    kind = (header.words("kinds")[k] or "").lower()
    vector = vectors[k]
    if vector is not None and len(vector) == 4 and vector[3] != 0:
        if any(vector[:3]):
            raise UnsupportedError(f"{header.path}: axis {k} runs through space and time at once: {vector}")
        if kind not in ("", "time", "list", *_SPATIAL_KINDS):
            raise UnsupportedError(f"{header.path}: axis {k} has the kind {kind}, and a direction in time: {vector}")
        return "time" if kind == "time" or time_unit(header, k) or _names_time(header) else "channel"
    if vector is not None and kind not in ("", *_SPATIAL_KINDS):
        raise UnsupportedError(f"{header.path}: axis {k} has the kind {kind}, and a direction in space: {vector}")
    if kind in ("", *_SPATIAL_KINDS):
        if vector is not None:
            return "space"
        if any(v is not None for v in vectors):
            return "time" if time_unit(header, k) else "channel"
        return "space" if kind and not time_unit(header, k) else "?"
    if kind == "time" or (kind == "list" and (time_unit(header, k) or _labelled_time(header, k))):
        return "time"
    return "channel"


def _spatial_by_place(header: NrrdHeader, undecided: list[int], taken: int) -> list[int]:
    """Those of the undecided axes that are spatial: the first ones, or those that have a spacing if just three do."""
    undecided = [k for k in undecided if not time_unit(header, k)]
    spaced = [k for k in undecided if math.isfinite(header.floats("spacings", header.dimension)[k])]
    if header.dimension > 3 and len(spaced) == 3 - taken:
        return spaced
    return undecided[: max(0, 3 - taken)]


def _role(header: NrrdHeader, k: int, name: str, before: list[str]) -> str:
    if name == "space" and "z" not in before:
        return next(a for a in "xyz" if a not in before)
    wanted = "t" if name == "time" or (name != "channel" and time_unit(header, k)) else "c"
    if wanted not in before:
        return wanted
    if header.sizes[k] == 1:
        return SINGLE
    raise UnsupportedError(
        f"{header.path}: axis {k} ({_describe(header)[k]}) fits no dim of an image: the axes before it are "
        f"{', '.join(before)} already; an image has x, y, z, one t and one c"
    )


def _describe(header: NrrdHeader) -> list[str]:
    kinds = header.words("kinds")
    return [f"size {n}, kind {kind or 'not stated'}" for n, kind in zip(header.sizes, kinds, strict=True)]


def _names_time(header: NrrdHeader) -> bool:
    name = header.fields.get("space", "").lower()
    return name.endswith("time") or name in ("rast", "last", "lpst")


def _labelled_time(header: NrrdHeader, k: int) -> bool:
    """Whether the label of an axis says that it is time, as 3D Slicer's sequences do."""
    return header.quoted("labels", header.dimension)[k].lower() in ("time", "t", "frame")


def _unit(header: NrrdHeader, k: int) -> str:
    return header.quoted("units", header.dimension)[k]


def time_unit(header: NrrdHeader, k: int) -> str | None:
    """The unit of an axis, if it is one of time."""
    unit = _unit(header, k)
    vector = header.vectors("space directions", header.dimension)[k]
    if not unit and vector is not None and len(vector) == 4 and vector[3] != 0:
        unit = header.quoted("space units", 4)[3]
    return unit if unit and to_seconds(1.0, unit) is not None else None


# ------------------------------------------------------------------------------------------------ space


def grid_of(header: NrrdHeader, axes: Axes) -> Grid | None:
    """The grid of a header, or None with a warning where its geometry is unusable."""
    spatial = [axes.at(role) for role in "xyz"]
    shape = tuple(1 if k is None else header.sizes[k] for k in spatial)
    if any(k is not None and axes.vectors[k] is not None for k in spatial):
        affine, units = _directed(header, axes, spatial)
        space = header.space
    else:
        affine, units = _undirected(header, spatial)
        # a position along axes of which nothing says how they lie in the patient
        space = "unknown"
    affine = aff.fill_singleton_axes(affine, shape)
    if not aff.is_usable(affine):
        warnings.warn(
            f"{header.path}: the header's space directions or spacings are singular or not finite, so voxels have no "
            "position; the image opens with plain indices as coordinates, its header is kept",
            ChunkImgWarning,
            stacklevel=2,
        )
        return None
    if space != "unknown":
        affine, space = rows_to_space(affine, space, "RAS"), "RAS"
    nx, ny, nz = shape
    return Grid((nx, ny, nz), tuple(map(tuple, affine.tolist())), space, units)


def _directed(header: NrrdHeader, axes: Axes, spatial: list[int | None]) -> tuple[NDArray[np.float64], str]:
    """Affine in the header's space, and its unit, from space directions and space origin."""
    count = min(header.space_dimension, 3)
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    for column, k in enumerate(spatial):
        vector = None if k is None else axes.vectors[k]
        if vector is not None:
            affine[:count, column] = vector[:count]
    (origin,) = header.vectors("space origin", 1)
    if origin is not None:
        affine[:count, 3] = origin[:count]
    names = header.quoted("space units", header.space_dimension)[:count]
    if "space units" not in header.fields and header.space != "unknown":
        # what says where the patient is comes from ITK or Slicer, whose lengths are millimetres
        return affine, "mm"
    unit, factors = _one_unit(names, header)
    affine[:count] *= np.asarray(factors)[:, None]
    return affine, unit


def _undirected(header: NrrdHeader, spatial: list[int | None]) -> tuple[NDArray[np.float64], str]:
    """Affine and unit from spacings, axis mins and maxs; a space origin stands for the mins where there are none."""
    affine = np.eye(4)
    names = []
    (origin,) = header.vectors("space origin", 1)
    for column, k in enumerate(spatial):
        if k is None:
            continue
        step, first = _step_and_first(header, k)
        affine[column, column] = 1.0 if math.isnan(step) else step
        if not math.isnan(first):
            affine[column, 3] = first
        elif origin is not None and column < len(origin):
            affine[column, 3] = origin[column]
        named = header.quoted("space units", header.space_dimension) if "space units" in header.fields else ()
        names.append(_unit(header, k) or (named[column] if column < len(named) else ""))
    unit, factors = _one_unit(tuple(names), header)
    for column, factor in zip([c for c, k in enumerate(spatial) if k is not None], factors, strict=True):
        affine[column] *= factor
    return affine, unit


def _step_and_first(header: NrrdHeader, k: int) -> tuple[float, float]:
    """Step along an axis, and position of its first sample, NaN where they are not stated.

    ``axis mins`` and ``axis maxs`` are the outer borders of cell-centred samples, the first and last sample of
    node-centred ones.
    """
    count = header.dimension
    step = header.floats("spacings", count)[k]
    low, high = header.floats("axis mins", count)[k], header.floats("axis maxs", count)[k]
    node = (header.words("centers")[k] or "").lower() == "node"
    if math.isnan(step) and header.sizes[k] - node > 0:
        step = (high - low) / (header.sizes[k] - node)
    if node or math.isnan(low):
        return step, low
    return step, low + (0.0 if math.isnan(step) else step) / 2


def _one_unit(names: tuple[str, ...], header: NrrdHeader) -> tuple[str, list[float]]:
    """The unit of all lengths, and what the numbers of each axis are multiplied with to be in it."""
    units = [canonical_unit(name.strip()) for name in names]
    known = [u for u in units if u != "unknown"]
    if not known:
        return "unknown", [1.0] * len(units)
    if set(known) == {known[0]}:
        return known[0], [1.0] * len(units)
    try:
        return known[0], [1.0 if u in ("unknown", known[0]) else mm_per(u) / mm_per(known[0]) for u in units]
    except ValueError as error:
        raise FormatError(f"{header.path}: axes have lengths in {', '.join(names)}, which do not compare") from error


# ------------------------------------------------------------------------------------------------ time and channels


def times_of(header: NrrdHeader, axes: Axes) -> TimeAxis | None:
    """Times of the axis t: a list kept by Slicer, start and step, or frame numbers."""
    k = axes.at("t")
    if k is None:
        return None
    count, unit = header.sizes[k], time_unit(header, k)
    listed = _sequence(header, k)
    step, first = _step_and_first(header, k)
    vector = axes.vectors[k]
    if vector is not None:
        step = vector[3]
        (origin,) = header.vectors("space origin", 1)
        first = origin[3] if origin is not None else 0.0
    if listed is not None:
        values, nominal = listed, None
    elif math.isfinite(step) and step != 0:
        start = first if math.isfinite(first) else 0.0
        values, nominal = tuple(start + i * step for i in range(count)), step
        if not math.isfinite(values[-1]):
            raise FormatError(f"{header.path}: times from {start} in steps of {step} are not finite")
    else:
        return TimeAxis(tuple(float(i) for i in range(count)), "unknown", None)
    if unit is None:
        return TimeAxis(values, "unknown", nominal)
    seconds = tuple(float(to_seconds(v, unit) or 0.0) for v in values)
    return TimeAxis(seconds, "s", None if nominal is None else to_seconds(nominal, unit))


def _sequence(header: NrrdHeader, k: int) -> tuple[float, ...] | None:
    """Times of a sequence of 3D Slicer, one per sample of axis k, if its index is numbers."""
    values = header.keys.get(f"axis {k} index values")
    if values is None:
        return None
    try:
        numbers = tuple(float(v) for v in values.split())
    except ValueError:
        return None
    return numbers if len(numbers) == header.sizes[k] and all(map(math.isfinite, numbers)) else None


def channels_of(header: NrrdHeader, axes: Axes) -> dict[str, Any]:
    """Attributes of the axis c."""
    k = axes.at("c")
    if k is None:
        return {}
    kind = header.words("kinds")[k]
    out: dict[str, Any] = {} if kind is None else {"kind": _COLORS.get(kind.lower(), kind)}
    label = header.quoted("labels", header.dimension)[k]
    if label:
        out["label"] = label
    return out
