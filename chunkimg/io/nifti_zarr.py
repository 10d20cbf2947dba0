"""NIfTI-Zarr: what the header beside a Zarr array says (https://github.com/neuroscales/nifti-zarr, 1.0.rc1).

The header is that of the finest level and takes precedence over OME-Zarr metadata. Voxels are stored unscaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import FormatError
from ..geometry.attrs import NIFTI_HEADER
from ..volume import Volume
from . import nifti_header as nh
from .nifti import other_axes, properties_of
from .ome_read import Level
from .zarr_grid import sub_grid

__all__ = ["MAX_HEADER", "described", "header_bytes"]

#: more than this is not read as a header
MAX_HEADER = 64 << 20


def header_bytes(array: Any, where: Any) -> bytes:
    """The bytes of a header array: single bytes, or one string of bytes."""
    size = int(np.prod(array.shape, dtype=object)) * array.dtype.itemsize
    if size > MAX_HEADER or array.dtype.kind not in "uiSV":
        raise FormatError(
            f"{where}: the array 'nifti' holds {size} bytes of {array.dtype}; a NIfTI header of bytes is expected"
        )
    # not .item(): NumPy cuts trailing zeros off strings
    return bytes(np.ascontiguousarray(array[...]).tobytes())


def described(
    volume: Volume,
    header: bytes,
    levels: tuple[Level, Level] | None,
    dims: Sequence[str | None],
    where: Any,
) -> Volume:
    """A volume with the position, times, scaling and properties of a header, which it keeps.

    Parameters
    ----------
    volume : Volume
        A resolution level.
    header : bytes
        NIfTI-1 or NIfTI-2 header of the finest level, with its extensions.
    levels : (Level, Level) or None
        The finest level and this one.
    dims : sequence
        Dims of the array's axes.
    where
        For messages.

    Raises
    ------
    FormatError
        If the header is none, or that of another image.
    """
    facts = nh.parse(header, f"{where}/nifti")
    finest = nh.grid_of(facts, f"{where}/nifti")
    sizes = volume.sizes
    shape = (sizes["x"], sizes["y"], sizes["z"])
    stated = (*facts.shape[:3], 1, 1)[:3]
    same = levels is None or levels[0] is levels[1]
    if same and stated != shape:
        raise FormatError(
            f"{where}: the NIfTI header is of {stated} voxels along x, y, z, the array has {shape}: it belongs to "
            "another image"
        )
    grid = finest if finest is None or same else sub_grid(finest, shape, levels, dims)
    times, channels = other_axes(facts, volume.dims) if len(facts.shape) > 3 or facts.channels else (None, {})
    if times is None or volume.times is None or len(times.values) != len(volume.times.values):
        times = volume.times
    return replace(
        volume,
        grid=grid,
        times=times,
        time=nh.time_of(facts) if volume.times is None else None,
        scaling=nh.scaling_of(facts, str(where)),
        properties={**properties_of(facts), **volume.properties},
        rank=len(facts.shape),
        headers={**volume.headers, NIFTI_HEADER: header},
        channels={**channels, **volume.channels},
    )
