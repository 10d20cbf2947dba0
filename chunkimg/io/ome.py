"""OME-Zarr metadata of our images: axes, scales, translations (OME-NGFF 0.5, https://ngff.openmicroscopy.org/0.5/)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..geometry import Grid, frames
from ..geometry import affine as aff
from ..volume import TimeAxis, Volume

__all__ = ["multiscales", "paths"]


def multiscales(levels: Sequence[tuple[str, Grid | None, TimeAxis | None]], volume: Volume, method: str | None) -> Any:
    """The ``ome`` attribute of an image group.

    Parameters
    ----------
    levels : sequence of (path, grid, times)
        Resolution levels, finest first.
    volume : Volume
        The image.
    method : str or None
        How levels were made.
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
    return {"version": "0.5", "multiscales": [entry]}


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


def paths(attrs: Mapping[str, Any]) -> list[str]:
    """Paths of the resolution levels that a group's attributes declare (0.4 and 0.5), finest first; empty if none."""
    ome = attrs.get("ome")
    declared = ome.get("multiscales") if isinstance(ome, Mapping) else attrs.get("multiscales")
    try:
        return [str(d["path"]) for d in declared[0]["datasets"]]  # type: ignore[index]
    except (TypeError, KeyError, IndexError):
        return []
