"""Axes in another order or direction: images turned about their own voxels, which stay where they are."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .errors import ChunkImgWarning, GeometryError
from .geometry import AXES, Grid
from .lazy import ViewArray, full_region
from .volume import Volume

__all__ = ["aligned", "resampled_properties", "same_when_aligned", "slice_axis", "turned", "turned_properties"]

#: image axis -> image axis that takes its place
Order = Mapping[str, str]

#: NIfTI's orders of slices that are each other's mirror image: sequential, alternating, alternating from the second
_MIRRORED = {1: 2, 2: 1, 3: 4, 4: 3, 5: 6, 6: 5}
_SLICES = ("slice_code", "slice_start", "slice_end")
#: keys of 3D Slicer: the voxels that a segment lies in, and where the first voxel is in a larger image
_EXTENT, _OFFSET = re.compile(r"Segment\d+_Extent"), "Segmentation_ReferenceImageExtentOffset"


def turned(volume: Volume, take: Order, backwards: Collection[str]) -> Volume:
    """The image with some of its axes reversed and then renamed; lazily, every voxel stays where it is.

    Parameters
    ----------
    volume : Volume
        Any image; one without position has its voxels turned alone.
    take : mapping
        For x, y and z the present axis that takes the name.
    backwards : collection of str
        Present axes that are reversed.
    """
    if not backwards and all(a == b for a, b in take.items()):
        return volume
    properties = turned_properties(volume.properties, take, backwards, volume.sizes)
    return replace(_shown(volume, take, backwards), properties=properties)


def _shown(volume: Volume, take: Order, backwards: Collection[str]) -> Volume:
    picks = [r[::-1] if d in backwards else r for d, r in zip(volume.dims, full_region(volume.data.shape), strict=True)]
    axes = [volume.dims.index(take.get(d, d)) for d in volume.dims]
    grid = None if volume.grid is None else _turned(volume.grid, take, backwards)
    return replace(volume, data=ViewArray(volume.data, picks, axes), grid=grid)


def turned_properties(
    properties: Mapping[str, Any], take: Order, backwards: Collection[str], sizes: Mapping[str, int]
) -> dict[str, Any]:
    """Properties that name axes or count voxels along them, made right for turned axes; see `turned`.

    These are NIfTI's ``dim_info`` and order of slices, and extents of segments of 3D Slicer. An order of slices without
    ``dim_info``, which says along which axis they lie, is dropped with a warning. Gradients of diffusion images are
    directions in the world (NRRD), which do not turn with the axes; ``.bvec`` files, which hold them along the axes,
    are never read.
    """
    out = dict(properties)
    _turn_slices(out, take, backwards, sizes)
    extents = [key for key in out if _EXTENT.fullmatch(key)]
    for key in extents:
        out[key] = _turned_extent(out[key], str(out.get(_OFFSET, "0 0 0")), take, backwards, sizes)
    if extents and _OFFSET in out:
        out[_OFFSET] = "0 0 0"
    return out


def slice_axis(properties: Mapping[str, Any]) -> str:
    """The axis along which slices lie, as ``dim_info`` says, or else z."""
    info = properties.get("dim_info")
    number = info >> 4 & 3 if isinstance(info, int) else 0
    return AXES[number - 1] if number else "z"


def resampled_properties(properties: Mapping[str, Any], take: Order | None) -> dict[str, Any]:
    """Properties on another grid, whose voxels were not taken slice by slice: the order of slices is left out.

    Parameters
    ----------
    properties : mapping
        Those of the image.
    take : mapping or None
        For x, y and z the axis of the image that runs there, which ``dim_info`` follows; None if none does.
    """
    out = {k: v for k, v in properties.items() if not k.startswith("slice_") and (take or k != "dim_info")}
    if take:
        _turn_slices(out, take, (), {})
    return out


def _turn_slices(out: dict[str, Any], take: Order, backwards: Collection[str], sizes: Mapping[str, int]) -> None:
    """``dim_info`` and the order of slices (nifti1.h, "MRI-SPECIFIC SPATIAL AND TEMPORAL INFORMATION")."""
    info, code = out.get("dim_info"), out.get("slice_code")
    info = info if isinstance(info, int) else 0
    named = {shift: info >> shift & 3 for shift in (0, 2, 4)}
    place = {AXES.index(old) + 1: AXES.index(new) + 1 for new, old in take.items()}
    if info:
        out["dim_info"] = info & ~0x3F | sum(place.get(axis, 0) << shift for shift, axis in named.items())
    if not isinstance(code, int) or not code:
        return
    if not named[4]:
        for key in _SLICES:
            out.pop(key, None)
        warnings.warn(
            "the order in which slices were taken (slice_code) is dropped: dim_info does not say along which axis "
            "they lie, and the axes were turned",
            ChunkImgWarning,
            stacklevel=4,
        )
        return
    axis = AXES[named[4] - 1]
    if axis in backwards:
        out["slice_code"] = _MIRRORED.get(code, code)
        first, last = (out.get(key, 0) for key in _SLICES[1:])
        if last:
            out["slice_start"], out["slice_end"] = sizes[axis] - 1 - last, sizes[axis] - 1 - first


def _turned_extent(text: Any, offset: str, take: Order, backwards: Collection[str], sizes: Mapping[str, int]) -> Any:
    """``x0 x1 y0 y1 z0 z1`` of a segment, counted from the first voxel of the turned image; no numbers are kept."""
    try:
        numbers, shift = [int(n) for n in str(text).split()], [int(n) for n in offset.split()]
        bounds = {a: (numbers[2 * k] - shift[k], numbers[2 * k + 1] - shift[k]) for k, a in enumerate(AXES)}
    except (ValueError, IndexError):
        return text
    for a in backwards:
        if bounds[a][0] <= bounds[a][1]:
            bounds[a] = sizes[a] - 1 - bounds[a][1], sizes[a] - 1 - bounds[a][0]
    return " ".join(f"{bounds[take[a]][0]} {bounds[take[a]][1]}" for a in AXES)


def aligned(volume: Volume, to: Volume) -> Volume:
    """The image with its spatial axes permuted and flipped to run as those of another one do, as nearly as can be.

    Raises
    ------
    GeometryError
        If no such order of axes exists: an image has no position, or lies oblique to the other by half a right angle.
    """
    turn = None if volume.grid is None or to.grid is None else _axis_order(volume.grid, to.grid)
    if turn is None:
        raise GeometryError(
            f"{volume.source}: its axes cannot be aligned with those of {to.source}: one of the images has no "
            "position, or they are turned against each other by half a right angle"
        )
    return _shown(volume, *turn)


def same_when_aligned(grid: Grid | None, to: Grid | None, tol: float) -> bool:
    """Whether a grid is another one but for the order and direction of its axes."""
    if grid is None or to is None:
        return False
    turn = _axis_order(grid, to)
    return turn is not None and to.same_as(_turned(grid, *turn), tol)


def _axis_order(grid: Grid, to: Grid) -> tuple[dict[str, str], list[str]] | None:
    """The axis of `grid` that runs along each axis of `to`, and those that run backwards."""
    if "unknown" not in (grid.space, to.space):
        grid = grid.to_space(to.space)
    along = np.linalg.solve(to.direction, grid.direction)
    nearest = [int(k) for k in np.argmax(np.abs(along), axis=1)]
    if sorted(nearest) != [0, 1, 2]:
        return None
    take = {AXES[k]: AXES[n] for k, n in enumerate(nearest)}
    return take, [AXES[n] for k, n in enumerate(nearest) if along[k, n] < 0]


def _turned(grid: Grid, take: Order, backwards: Collection[str]) -> Grid:
    return grid.crop(**{d: slice(None, None, -1) for d in backwards}).permute([take[a] for a in AXES])
