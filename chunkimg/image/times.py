"""When the frames of an image were taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import GeometryError
from .build import times_of

__all__ = ["time_bounds"]

Array = NDArray[np.float64]

#: of PET in BIDS, in seconds, one entry per frame of the study
_STARTS, _DURATIONS = "FrameTimesStart", "FrameDuration"


def time_bounds(image: xr.DataArray) -> Array:
    """Start and end of each frame; see `TimePart.time_bounds`."""
    times = times_of(image)
    if times is None:
        raise GeometryError("the image has no times: it has no coordinate t")
    values = np.asarray(times.values, dtype=np.float64)
    stored = _stored(image.attrs)
    if stored is not None:
        return _looked_up(values, *stored)
    if len(values) == 0:
        return np.empty((0, 2))
    if len(values) == 1:
        if times.step is None:
            raise GeometryError(
                f"nothing says how long the one frame at t = {values[0]:g} took; set the property {_DURATIONS}, "
                "a list of one number of seconds"
            )
        half = abs(times.step) / 2
        return np.array([[values[0] - half, values[0] + half]])
    middle = (values[1:] + values[:-1]) / 2
    # the outermost frames reach as far out as in
    borders = np.concatenate([[2 * values[0] - middle[0]], middle, [2 * values[-1] - middle[-1]]])
    return np.sort(np.stack([borders[:-1], borders[1:]], axis=1), axis=1)


def _stored(attrs: Mapping[Any, Any]) -> tuple[Array | None, Array] | None:
    """Starts (None: the times are the starts) and durations that properties state, or None."""
    if _DURATIONS not in attrs:
        return None
    durations = _numbers(attrs, _DURATIONS)
    if np.any(durations < 0):
        raise GeometryError(f"the property {_DURATIONS} holds negative numbers")
    if _STARTS not in attrs:
        return None, durations
    starts = _numbers(attrs, _STARTS)
    if starts.shape != durations.shape:
        raise GeometryError(
            f"the property {_STARTS} has {len(starts)} entries, {_DURATIONS} has {len(durations)}: one per frame each"
        )
    return starts, durations


def _numbers(attrs: Mapping[Any, Any], name: str) -> Array:
    value: Sequence[Any] = attrs[name]
    try:
        out = np.atleast_1d(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError):
        out = np.empty((0, 0))
    if out.ndim != 1 or not len(out) or not np.all(np.isfinite(out)):
        raise GeometryError(f"the property {name} is a list of numbers of seconds, found {value!r:.60}")
    return out


def _looked_up(values: Array, starts: Array | None, durations: Array) -> Array:
    """Stored bounds of the frames at some times, which are starts of frames, or the middles of all of them."""
    if starts is None:
        if len(durations) != len(values):
            raise GeometryError(
                f"the property {_DURATIONS} has {len(durations)} entries, the image {len(values)} frames; "
                f"give {_STARTS} too, which tells the frames, or remove it"
            )
        return np.stack([values, values + durations], axis=1)
    slack = 1e-6 * max(1.0, float(np.abs(starts).max()))
    for at in (starts, starts + durations / 2):
        apart = np.abs(values[:, None] - at)
        frame = apart.argmin(axis=1)
        if np.all(apart.min(axis=1) <= slack):
            return np.stack([starts[frame], starts[frame] + durations[frame]], axis=1)
    raise GeometryError(
        f"the image's times {values.tolist()!r:.60} are neither starts nor middles of the frames that the properties "
        f"{_STARTS} and {_DURATIONS} state; correct or remove these"
    )
