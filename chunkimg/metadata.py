"""Image attributes as parts of a `Volume`, and back: shared by the xarray boundary and the stores."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .errors import ChunkImgWarning, GeometryError
from .geometry import Grid, Poses
from .geometry import attrs as keys
from .geometry.frames import canonical_time_unit, to_seconds
from .lazy import LazyArray
from .volume import OMERO, TimeAxis, Volume

__all__ = [
    "LABEL_INTENT",
    "check_property",
    "computed",
    "headers_of",
    "is_label",
    "join",
    "posed",
    "properties_of",
    "rank_of",
    "reserved",
    "revalued",
    "time_attrs",
    "time_axis",
]


#: NIFTI_INTENT_LABEL (nifti1.h)
LABEL_INTENT = 1002
#: properties of values: the window of NIfTI, the unit of NRRD
_OF_VALUES = ("cal_min", "cal_max", "sample_units")
#: key that every segmentation of 3D Slicer (``.seg.nrrd``) has
_SEGMENT = "Segment0_ID"


def join(volume: Volume) -> dict[str, Any]:
    """Attributes of an image: reference grid, properties, what its source kept of its header."""
    out: dict[str, Any] = {} if volume.grid is None else keys.encode(volume.grid)[1]
    out.update(properties_of(volume.properties))
    out[keys.RANK] = volume.rank
    for key, raw in volume.headers.items():
        out[key] = base64.b64encode(raw).decode("ascii")
    if volume.poses is not None:
        out[keys.POSES] = keys.encode_poses(volume.poses)
    return out


def check_property(name: str) -> None:
    """Refuse names that are computed, belong to a format, or mean something to every reader of a store.

    Raises
    ------
    GeometryError
        For geometry, which is computed from the coordinates.
    KeyError
        For the other reserved names.
    """
    if name in keys.GEOMETRY_KEYS or name == keys.UNITS:
        raise GeometryError(
            f"the property {name!r} is computed from the image's coordinates and cannot be set; "
            "img.img.assign_geometry(...) returns an image at another place"
        )
    if name in keys.INTERNAL_KEYS or name in keys.CF_KEYS:
        raise KeyError(f"{name!r} is reserved (file headers, CF conventions) and cannot be set as a property")


def reserved(name: str) -> bool:
    """Whether `check_property` refuses a name."""
    return name in keys.GEOMETRY_KEYS | keys.INTERNAL_KEYS | keys.CF_KEYS or name == keys.UNITS


def properties_of(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """What of an image's attributes are properties."""
    hidden = keys.GEOMETRY_KEYS | keys.INTERNAL_KEYS | keys.CF_KEYS
    return {str(k): v for k, v in attrs.items() if k not in hidden}


def rank_of(attrs: Mapping[Any, Any]) -> int:
    """Number of axes that the source declared; 3 where nothing is known."""
    rank = attrs.get(keys.RANK, 3)
    return rank if isinstance(rank, int) and 0 < rank < 8 else 3


def headers_of(attrs: Mapping[Any, Any]) -> dict[str, bytes]:
    """Header bytes that the source format kept."""
    out = {}
    for key in keys.HEADER_KEYS & set(attrs):
        try:
            out[key] = base64.b64decode(attrs[key], validate=True)
        except (ValueError, TypeError):
            warnings.warn(f"the attribute {key!r} is damaged and not used", ChunkImgWarning, stacklevel=3)
    return out


def posed(grid: Grid, attrs: Mapping[Any, Any], times: Any) -> tuple[Grid, Poses | None]:
    """Grid and per-time-step geometry of the frames at `times` (None: no time is known).

    Frames that share one position have it as their grid, and no table.

    Raises
    ------
    GeometryError
        If a frame has no entry in the table, or the image has no time to look it up by.
    """
    poses = keys.decode_poses(attrs)
    if poses is None:
        return grid, None
    if times is None:
        if not poses.is_constant():
            raise GeometryError(
                "the geometry of this image changes with time, and its coordinate t, which tells the frame, is gone"
            )
        times = poses.times
    poses = poses.subset(times)
    fixed = poses.fixed(grid)
    return (grid, poses) if fixed is None else (fixed, None)


def is_label(properties: Mapping[str, Any]) -> bool:
    """Whether voxels are labels: declared so, or known by names, NIfTI's intent code, or keys of 3D Slicer."""
    if keys.LABEL in properties:
        return bool(properties[keys.LABEL])
    stated = keys.IMAGE_LABEL in properties or _SEGMENT in properties
    return stated or properties.get("intent_code") == LABEL_INTENT


def computed(
    volume: Volume, data: LazyArray, dims: tuple[str, ...] | None = None, channels: Mapping[str, Any] | None = None
) -> Volume:
    """The volume with other values, on the same grid; they are labels still only if they are integers.

    Parameters
    ----------
    volume : Volume
        What they were computed from.
    data : LazyArray
        Image values.
    dims : tuple of str, optional
        Where they are other ones.
    channels : mapping, optional
        Attributes of c, where they are other ones.
    """
    properties = volume.properties
    if is_label(properties) and data.dtype.kind not in "biu":
        properties = {**properties, keys.LABEL: False}
    return replace(
        volume,
        data=data,
        dims=dims or volume.dims,
        scaling=None,
        properties=properties,
        channels=dict(volume.channels if channels is None else channels),
    )


def revalued(volume: Volume) -> Volume:
    """The volume without what is said of its values: how to show them, and what they are measured in."""
    channels = dict(volume.channels)
    if isinstance(shown := channels.get(OMERO), (list, tuple)):
        channels[OMERO] = [{k: v for k, v in s.items() if k != "window"} if isinstance(s, dict) else s for s in shown]
    properties = {k: v for k, v in volume.properties.items() if k not in _OF_VALUES}
    return replace(volume, properties=properties, channels=channels)


def time_attrs(times: TimeAxis) -> dict[str, Any]:
    """Attributes of the coordinate t."""
    out: dict[str, Any] = {}
    if times.units != "unknown":
        out[keys.UNITS] = times.units
    if times.step is not None:
        out[keys.SPACING] = times.step
    return out


def time_axis(values: Any, attrs: Mapping[Any, Any]) -> TimeAxis:
    """Time axis of a coordinate t; any unit of time is converted to seconds."""
    unit = canonical_time_unit(attrs.get(keys.UNITS))
    step = attrs.get(keys.SPACING)
    numbers = [float(v) for v in np.atleast_1d(values)]
    nominal = float(step) if isinstance(step, (int, float)) else None
    if to_seconds(1.0, unit) is None:
        return TimeAxis(tuple(numbers), "unknown", nominal)
    seconds = tuple(float(to_seconds(v, unit) or 0.0) for v in numbers)
    return TimeAxis(seconds, "s", None if nominal is None else to_seconds(nominal, unit))
