"""OME-Zarr metadata of our images: axes, scales, translations, channels (https://ngff.openmicroscopy.org/0.5/)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..geometry import Grid, frames
from ..geometry import affine as aff
from ..geometry.attrs import IMAGE_LABEL
from ..labelling import image_label_of
from ..metadata import is_label
from ..volume import CHANNEL_NAMES, OMERO, TimeAxis, Volume

__all__ = ["VERSIONS", "metadata"]

#: versions that are written; 0.4 goes with Zarr v2, 0.5 with v3
VERSIONS = ("0.4", "0.5")


def metadata(
    levels: Sequence[tuple[str, Grid | None, TimeAxis | None]], volume: Volume, method: str | None, version: str
) -> dict[str, Any]:
    """Attributes of an image group: ``ome`` in 0.5, ``multiscales`` and more in 0.4.

    Parameters
    ----------
    levels : sequence of (path, grid, times)
        Resolution levels, finest first.
    volume : Volume
        The image.
    method : str or None
        How levels were made.
    version : str
        One of `VERSIONS`.
    """
    entry: dict[str, Any] = {
        "name": "image",
        "axes": [_axis(d, volume) for d in volume.dims],
        "datasets": [
            {"path": path, "coordinateTransformations": _transforms(volume.dims, grid, times)}
            for path, grid, times in levels
        ],
    }
    if method is not None:
        entry["type"] = method
    out = {"multiscales": [entry], **_omero(volume), **_label(volume, version)}
    if version == "0.5":
        return {"ome": {"version": version, **out}}
    entry["version"] = version
    return out


def _omero(volume: Volume) -> dict[str, Any]:
    """Names of channels and how to show them; colour and window are required, so that they are made up if unknown."""
    count = volume.sizes.get("c", 0)
    names = _each(volume.channels.get(CHANNEL_NAMES), count)
    shown = _each(volume.channels.get(OMERO), count)
    if names is None and shown is None:
        return {}
    channels: list[dict[str, Any]] = [{"color": "FFFFFF", "window": _window(volume)} for _ in range(count)]
    for k, channel in enumerate(channels):
        if shown is not None and isinstance(shown[k], Mapping):
            channel.update(shown[k])
        if names is not None:
            channel["label"] = str(names[k])
    return {"omero": {"channels": channels}}


def _each(values: Any, count: int) -> Sequence[Any] | None:
    """A list with one entry per channel, or None."""
    return values if isinstance(values, (list, tuple)) and len(values) == count else None


def _window(volume: Volume) -> dict[str, float]:
    dtype = volume.values.dtype
    low, high = (0, 1)
    if dtype.kind in "iu":
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return {"start": low, "min": low, "end": high, "max": high}


def _label(volume: Volume, version: str) -> dict[str, Any]:
    """Names, colours and whatever else is known of labels; that they are such, where nothing is."""
    if not is_label(volume.properties):
        return {}
    kept = {k: v for k, v in image_label_of(volume.properties).items() if k not in ("version", "source")}
    return {IMAGE_LABEL: {**kept, "version": version}}


def _axis(dim: str, volume: Volume) -> dict[str, Any]:
    if dim == "c":
        return {"name": "c", "type": "channel"}
    if dim == "t":
        out = {"name": "t", "type": "time"}
        if volume.times is not None and volume.times.units == "s":
            out["unit"] = "second"
        return out
    axis: dict[str, Any] = {"name": dim, "type": "space"}
    if volume.grid is not None:
        unit = frames.ome_unit(volume.grid.units)
        if unit is not None:
            axis["unit"] = unit
        letters = volume.grid.orientation
        if letters is not None:
            # RFC-4
            value = frames.body_direction(letters["xyz".index(dim)]).replace(" ", "-")
            axis["orientation"] = {"type": "anatomical", "value": value}
    return axis


def _transforms(dims: Sequence[str], grid: Grid | None, times: TimeAxis | None) -> list[dict[str, Any]]:
    scale = dict.fromkeys(dims, 1.0)
    start = dict.fromkeys(dims, 0.0)
    if grid is not None:
        spacing, direction = aff.decompose(grid.matrix)
        first = np.linalg.solve(direction, grid.matrix[:3, 3])
        for k, d in enumerate(("x", "y", "z")):
            scale[d], start[d] = float(spacing[k]), float(first[k])
    if times is not None:
        step = times.regular_step()
        scale["t"] = step if step is not None and step > 0 else 1.0
        start["t"] = times.values[0]
    return [
        {"type": "scale", "scale": [scale[d] for d in dims]},
        {"type": "translation", "translation": [start[d] for d in dims]},
    ]
