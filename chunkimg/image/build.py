"""The xarray boundary: `Volume` to DataArray and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

import chunkimg.metadata as metadata

from ..chunks import block_shape, dask_block_bytes
from ..errors import GeometryError
from ..geometry import Grid, Poses
from ..geometry import attrs as keys
from ..geometry.grid import AXES
from ..lazy import LazyArray, ScaledArray, ViewArray, as_range
from ..scaling import Scaling
from ..volume import DIMS, TimeAxis, Volume, pick_channels
from .computed import ComputedArray
from .expressions import elementwise
from .index import GridIndex
from .lazily import below_scaling, indexed_lazily, unwrapped
from .views import OPENED, viewed

__all__ = [
    "affine_at",
    "assemble",
    "frame_grids",
    "grid_of",
    "poses_of",
    "raw_grid_of",
    "require_same_place",
    "same_place",
    "spatial_coordinates",
    "times_of",
    "to_dataarray",
    "to_volume",
    "whole",
]

NAME = "image"


# ---------------------------------------------------------------------------------------------- Volume -> DataArray


def to_dataarray(volume: Volume, *, chunks: Any = "auto", scaled: bool = True) -> xr.DataArray:
    """A lazy DataArray of a volume, with our index on its spatial coordinates.

    Parameters
    ----------
    volume : Volume
        The image.
    chunks : "auto", int, tuple, dict or None
        Dask blocks by dim; ``"auto"`` and ``{}`` let the planner choose. None: without Dask, indexed lazily by xarray.
    scaled : bool
        Whether values are scaled; stored values if False.
    """
    values = volume.values if scaled else volume.data
    out = assemble(volume, indexed_lazily(values) if chunks is None else _blocks(volume.dims, values, chunks))
    out.encoding = {"source": volume.source, "dtype": volume.data.dtype}
    if volume.scaling is not None and scaled:
        out.encoding.update(scale_factor=volume.scaling.slope, add_offset=volume.scaling.inter)
    if chunks is None:
        # what `xarray.open_dataset(chunks={})` makes blocks of; axes in one piece may be cut anywhere
        block = dict(zip(volume.dims, _planned(values), strict=True))
        out.encoding["preferred_chunks"] = {d: n for d, n in block.items() if n < volume.sizes[d]}
    return out


def assemble(volume: Volume, data: Any) -> xr.DataArray:
    """A DataArray of `data`, any array that xarray takes, with everything else from a volume."""
    return xr.DataArray(data, coords=_coordinates(volume), dims=volume.dims, name=NAME, attrs=metadata.join(volume))


def _blocks(dims: tuple[str, ...], values: LazyArray, chunks: Any) -> Any:
    """A Dask array of a lazy array, whose graph `views.viewed` recognises."""
    import dask.array as da
    from dask.base import tokenize

    if chunks in ("auto", {}):
        chunks = _planned(values)
    elif isinstance(chunks, Mapping):
        foreign = sorted(set(chunks) - set(dims))
        if foreign:
            raise GeometryError(f"chunks names {', '.join(foreign)}; the image has dims {', '.join(dims)}")
        chunks = tuple(chunks.get(d, n) for d, n in zip(dims, values.shape, strict=True))
    # one file in other blocks is another array: they must not share keys
    return da.from_array(values, chunks=chunks, name=f"{OPENED}-{tokenize(values, chunks)}")


def _planned(values: LazyArray) -> tuple[int, ...]:
    order = values.file_order
    return block_shape(
        values.shape,
        values.dtype.itemsize,
        unit=values.chunks,
        order=order,
        front_to_back=values.front_to_back and order is not None,
        target=dask_block_bytes(),
    )


def spatial_coordinates(grid: Grid) -> xr.Coordinates:
    """Coordinates x, y, z of a grid, with `GridIndex`."""
    encoded, _ = keys.encode(grid)
    variables = {d: _variable((d,), values, attributes) for d, (values, attributes) in encoded.items()}
    return _with_index(variables)


def _variable(dims: tuple[str, ...], values: Any, attributes: Mapping[str, Any]) -> xr.Variable:
    """A variable of numbers, told to be so: where xarray has to find out what data is, it imports Dask."""
    if dims:
        return xr.IndexVariable(dims, pd.Index(values), attributes)
    return xr.Variable(dims, np.asarray(values), attributes, fastpath=True)


def _with_index(variables: Mapping[str, xr.Variable]) -> xr.Coordinates:
    indexes, out = {}, {}
    for d, variable in variables.items():
        index = GridIndex.from_variables({d: variable}, options={})
        indexes[d] = index
        out.update(index.create_variables({d: variable}))
    return xr.Coordinates(out, indexes=indexes)


def _coordinates(volume: Volume) -> xr.Coordinates:
    if volume.grid is not None:
        coords = spatial_coordinates(volume.grid)
    else:
        plain = {d: _variable((d,), np.arange(volume.sizes[d], dtype=np.float64), {}) for d in ("z", "y", "x")}
        coords = xr.Coordinates(plain)
    if volume.times is not None:
        times = np.asarray(volume.times.values, dtype=np.float64)
        coords = coords.assign(t=_variable(("t",), times, metadata.time_attrs(volume.times)))
    elif volume.time is not None:
        coords = coords.assign(t=_variable((), volume.time, {keys.UNITS: "s"}))
    if "c" in volume.dims:
        c = _variable(("c",), np.arange(volume.sizes["c"]), dict(volume.channels))
        coords = coords.assign(c=c)
    return coords


# ---------------------------------------------------------------------------------------------- DataArray -> facts


def _spatial(image: xr.DataArray) -> dict[str, keys.Coordinate]:
    """Values and attributes of x, y, z; attributes that an operation dropped are still known to the index."""
    out = {}
    for a in AXES:
        if a in image.coords:
            if image.coords[a].dims not in ((), (a,)):
                raise GeometryError(
                    f"coordinate {a!r} lies along {image.coords[a].dims}: the voxels are points, not a grid"
                )
            index = image.xindexes.get(a)
            known = index.attributes() if isinstance(index, GridIndex) else {}
            out[a] = (image.coords[a].values, {**known, **image.coords[a].attrs})
    return out


def require_image(image: Any) -> None:
    """Raise TypeError, with the way out, for what is no DataArray."""
    if not isinstance(image, xr.DataArray):
        raise TypeError(
            f"an image is expected, an xarray.DataArray, found {type(image).__name__}; "
            "chunkimg.open_image opens files, chunkimg.from_array takes arrays"
        )


def require_images(images: Any) -> list[xr.DataArray]:
    """A sequence of images as a list; TypeError, with the way out, for one image, or what is none."""
    if isinstance(images, xr.DataArray):
        raise TypeError("a sequence of images is expected, found one image; [image] is a sequence")
    found = list(images)
    for image in found:
        require_image(image)
    return found


def grid_of(image: xr.DataArray) -> Grid:
    """The grid of an image, from its coordinates; a scalar coordinate counts as one voxel.

    Where geometry changes with time, a single frame has its own grid; several have that of the reference.

    Raises
    ------
    GeometryError
        If an axis is gone, irregular, or has lost its direction.
    """
    require_image(image)
    grid = keys.decode(_spatial(image), image.attrs)
    return metadata.posed(grid, image.attrs, _frame_times(image))[0] if keys.POSES in image.attrs else grid


def raw_grid_of(image: xr.DataArray) -> Grid:
    """The grid that the coordinates describe: where geometry changes with time, always that of the reference."""
    return keys.decode(_spatial(image), image.attrs)


def frame_grids(image: xr.DataArray) -> list[Grid]:
    """The grids of the image's frames: one where its geometry does not change with time."""
    grid, poses = metadata.posed(raw_grid_of(image), image.attrs, _frame_times(image))
    if poses is None:
        return [grid]
    rows = [tuple(map(tuple, poses.at(t, grid).tolist())) for t in poses.times]
    return [Grid(grid.shape, r, grid.space, grid.units) for r in rows]


def _paired_grids(image: xr.DataArray, other: xr.DataArray) -> list[tuple[Grid, Grid]] | None:
    """Grids of two images frame by frame, None if they have not as many; one that stays counts for all of the other."""
    require_image(other)
    a, b = frame_grids(image), frame_grids(other)
    count = max(len(a), len(b))
    if not {len(a), len(b)} <= {1, count}:
        return None
    return list(zip(a * (count // len(a)), b * (count // len(b)), strict=True))


def same_place(image: xr.DataArray, other: xr.DataArray, tol: float) -> bool:
    """Whether two images occupy the same space in each frame; see `GeometryPart.same_grid`."""
    pairs = _paired_grids(image, other)
    return pairs is not None and all(a.same_as(b, tol) for a, b in pairs)


def require_same_place(image: xr.DataArray, other: xr.DataArray, tol: float) -> None:
    """Raise `GeometryError` unless they do; see `GeometryPart.require_same_grid`."""
    pairs = _paired_grids(image, other)
    if pairs is None:
        raise GeometryError("both images have frames at places of their own, and not as many; choose those that match")
    for a, b in pairs:
        a.require_same_as(b, tol)


def _frame_times(image: xr.DataArray) -> Any:
    return image.coords["t"].values if "t" in image.coords else None


def poses_of(image: xr.DataArray) -> Poses | None:
    """Per-time-step geometry, or None."""
    return keys.decode_poses(image.attrs)


def affine_at(image: xr.DataArray, t: float, method: str | None = None) -> NDArray[np.float64]:
    """Affine of an image at a time."""
    if method not in (None, "nearest"):
        raise GeometryError(f"method is {method!r}; expected 'nearest', or None for a value of t")
    poses = poses_of(image)
    grid = raw_grid_of(image)
    if poses is None:
        return grid.matrix.copy()
    if method == "nearest":
        known = np.asarray(poses.times if "t" not in image.coords else np.atleast_1d(image.coords["t"].values))
        t = float(known[np.abs(known - t).argmin()])
    return poses.at(t, grid)


def times_of(image: xr.DataArray) -> TimeAxis | None:
    """The time axis of an image with a coordinate t (one frame if it is a scalar), or None."""
    if "t" not in image.coords and "t" not in image.dims:
        return None
    if "t" not in image.coords:
        return TimeAxis(tuple(float(k) for k in range(image.sizes["t"])), "unknown", None)
    t = image.coords["t"]
    values = np.atleast_1d(t.values)
    if values.dtype.kind == "m":
        values = values / np.timedelta64(1, "s")
        return TimeAxis(tuple(values.tolist()), "s", None)
    if values.dtype.kind not in "iuf" or values.ndim != 1:
        raise GeometryError(f"coordinate t holds {values.dtype}; numbers of seconds (or timedelta64) are expected")
    return metadata.time_axis(values, t.attrs)


# ---------------------------------------------------------------------------------------------- DataArray -> Volume


def to_volume(image: xr.DataArray, *, require_grid: bool = False) -> Volume:
    """What formats need of an image to write it.

    Stored values are those of the source, unscaled, where the image is the opened file or a view of it (crops, flips,
    strides, transposes); any computation makes it an image of its own, stored as it is.

    Raises
    ------
    GeometryError
        If a dim is not one of t, c, z, y, x, or if geometry is lost.
    """
    image = whole(image)
    undefined = not any(keys.DIRECTION in attributes for _, attributes in _spatial(image).values())
    grid, poses = None, None
    if require_grid or not (undefined and _is_plain(image)):
        grid, poses = metadata.posed(keys.decode(_spatial(image), image.attrs), image.attrs, _frame_times(image))
    shown = unwrapped(image.variable._data)
    data, scaling = _stored(image.data) if shown is None else _unscaled(shown)
    times = times_of(image)
    return Volume(
        data=data,
        dims=tuple(str(d) for d in image.dims),
        grid=grid,
        times=times if "t" in image.dims else None,
        time=times.values[0] if times is not None and "t" not in image.dims and times.units == "s" else None,
        scaling=scaling,
        properties=metadata.properties_of(image.attrs),
        rank=metadata.rank_of(image.attrs),
        headers=metadata.headers_of(image.attrs),
        poses=poses,
        channels=_channels(image),
        source=str(image.encoding.get("source", "")),
    )


def whole(image: xr.DataArray) -> xr.DataArray:
    """The image with dims (t, c,) z, y, x in this order: axes of which one index was taken are there again.

    Raises
    ------
    GeometryError
        If a dim is not one of these, or an axis of space was dropped or reduced.
    """
    require_image(image)
    foreign = [str(d) for d in image.dims if d not in DIMS]
    if foreign:
        raise GeometryError(
            f"the image has dim {', '.join(foreign)}; an image has dims {', '.join(DIMS)}: rename or reduce it first"
        )
    absent = [d for d in ("z", "y", "x") if d not in image.dims]
    lost = [d for d in absent if d not in image.coords]
    if lost:
        raise GeometryError(f"axis {', '.join(lost)} was dropped or reduced, so the image has no position any more")
    if absent:
        image = _expand(image, absent)
    return image.transpose(*[d for d in DIMS if d in image.dims])


def _channels(image: xr.DataArray) -> dict[str, Any]:
    if "c" not in image.coords:
        return {}
    c = image.coords["c"]
    numbers = np.atleast_1d(c.values)
    if numbers.dtype.kind not in "iu":
        return dict(c.attrs)
    return pick_channels(dict(c.attrs), as_range(numbers.tolist()))


def _expand(image: xr.DataArray, dims: list[str]) -> xr.DataArray:
    """Make one-voxel axes of scalar coordinates; their attributes stay."""
    out = image.drop_vars(dims)
    coords = {d: xr.Variable((d,), np.atleast_1d(image.coords[d].values), image.coords[d].attrs) for d in dims}
    shown = unwrapped(image.variable._data)
    if shown is None:
        expanded = out.expand_dims(dict.fromkeys(dims, 1))
    else:
        # xarray's lazy indexing would load all
        axes = [*(None for _ in dims), *range(shown.ndim)]
        wider = below_scaling(shown, lambda array: ViewArray(array, [range(n) for n in array.shape], axes))
        expanded = xr.DataArray(indexed_lazily(wider), out.coords, [*dims, *out.dims], out.name, out.attrs)
    expanded = expanded.assign_coords(_with_index(coords))
    expanded.encoding = dict(image.encoding)
    return expanded


def _is_plain(image: xr.DataArray) -> bool:
    """Whether x, y, z count voxels: what an image of unusable geometry is opened with."""
    return all(
        a not in image.coords or np.array_equal(np.diff(image.coords[a].values), np.ones(image.sizes[a] - 1))
        for a in AXES
    )


def _stored(data: Any) -> tuple[LazyArray, Scaling | None]:
    """Stored values of an image and how they are scaled."""
    shown = viewed(data)
    if shown is None:
        return elementwise(data) or ComputedArray(data), None
    leaf, through = shown
    stored, scaling = _unscaled(leaf)
    return through(stored), scaling


def _unscaled(array: LazyArray) -> tuple[LazyArray, Scaling | None]:
    return (array.source, array.scaling) if isinstance(array, ScaledArray) else (array, None)
