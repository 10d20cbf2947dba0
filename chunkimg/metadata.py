"""Image attributes as parts of a `Volume`, and back: shared by the xarray boundary and the stores."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from .errors import ChunkImgWarning
from .geometry import Poses
from .geometry import attrs as keys
from .volume import TimeAxis, Volume

__all__ = [
    "LABEL_INTENT",
    "headers_of",
    "is_label",
    "join",
    "poses_at",
    "properties_of",
    "rank_of",
    "time_attrs",
    "time_axis",
]


#: NIFTI_INTENT_LABEL (nifti1.h)
LABEL_INTENT = 1002


def join(volume: Volume) -> dict[str, Any]:
    """Attributes of an image: reference grid, properties, what its source kept of its header."""
    out: dict[str, Any] = {} if volume.grid is None else keys.encode(volume.grid)[1]
    out.update(volume.properties)
    out[keys.RANK] = volume.rank
    for key, raw in volume.headers.items():
        out[key] = base64.b64encode(raw).decode("ascii")
    if volume.poses is not None:
        out[keys.POSES] = keys.encode_poses(volume.poses)
    return out


def properties_of(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """What of an image's attributes are properties."""
    hidden = keys.GEOMETRY_KEYS | keys.INTERNAL_KEYS
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


def poses_at(attrs: Mapping[Any, Any], times: Any) -> Poses | None:
    """Per-time-step geometry of the frames at `times`."""
    poses = keys.decode_poses(attrs)
    return None if poses is None or times is None else poses.subset(times)


def is_label(properties: Mapping[str, Any]) -> bool:
    """Whether voxels are labels: declared so, or by NIfTI's intent code."""
    if keys.LABEL in properties:
        return bool(properties[keys.LABEL])
    return properties.get("intent_code") == LABEL_INTENT


def time_attrs(times: TimeAxis) -> dict[str, Any]:
    """Attributes of the coordinate t."""
    out: dict[str, Any] = {}
    if times.units != "unknown":
        out[keys.UNITS] = times.units
    if times.step is not None:
        out[keys.SPACING] = times.step
    return out


def time_axis(values: Any, attrs: Mapping[Any, Any]) -> TimeAxis:
    """Time axis of a coordinate t."""
    step = attrs.get(keys.SPACING)
    return TimeAxis(
        tuple(float(v) for v in np.atleast_1d(values)),
        str(attrs.get(keys.UNITS, "unknown")),
        float(step) if isinstance(step, (int, float)) else None,
    )
