"""Pixel types of images: checked casts, rescaling, channels, complex parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from .errors import GeometryError
from .lazy import LazyArray, ViewArray
from .metadata import computed, is_label, revalued
from .ops.join import JoinedArray
from .ops.pixels import PARTS, CheckedCast, Rescale, VoxelwiseArray, is_range, part_of_complex, span_of
from .statistics import stats
from .volume import CHANNEL_NAMES, PER_CHANNEL, Volume

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["astype_checked", "astype_rescaled", "complex_part", "compose", "split"]

#: kinds of channels that formats store as colours
_COLORS = {"RGB": 3, "RGBA": 4}


def astype_checked(image: xr.DataArray, dtype: DTypeLike) -> xr.DataArray:
    """An image in another type that holds all its values; see `ImageAccessor.astype_checked`."""
    from .image.derived import derived

    kind = np.dtype(dtype)
    if kind.kind not in "biufc":
        raise TypeError(f"voxels are numbers, not {kind}")
    cast = CheckedCast(kind)
    return derived(image, lambda v: computed(v, VoxelwiseArray(v.values, cast, kind, repr(cast))))


def astype_rescaled(
    image: xr.DataArray,
    dtype: DTypeLike,
    *,
    range: tuple[float, float] | None = None,
    percentiles: tuple[float, float] | None = None,
) -> xr.DataArray:
    """An image with a range of values made that of a type; see `ImageAccessor.astype_rescaled`."""
    from .image.derived import derived

    kind = np.dtype(dtype)
    span = span_of(kind)
    if range is not None and percentiles is not None:
        raise ValueError("give either range= or percentiles=")
    if range is not None and not is_range(range):
        raise ValueError(f"range is two numbers, the first smaller, found {range!r}")
    if percentiles is not None and not (is_range(percentiles) and percentiles[0] >= 0 and percentiles[1] <= 100):
        raise ValueError(f"percentiles are two numbers from 0 to 100, the first smaller, found {percentiles!r}")

    def change(volume: Volume) -> Volume:
        if is_label(volume.properties):
            raise TypeError("this image holds labels, which are names, not amounts; img.astype_checked keeps them")
        if volume.values.dtype.kind == "c":
            raise TypeError("this image is complex; rescale a part of it: img.complex_part('magnitude')")
        low, high = _range_of(volume, percentiles) if range is None else range
        rescale = Rescale(low, high, *span, kind)
        return computed(revalued(volume), VoxelwiseArray(volume.values, rescale, kind, repr(rescale)))

    return derived(image, change)


def _range_of(volume: Volume, percentiles: tuple[float, float] | None) -> tuple[float, float]:
    found = stats(volume, percentiles or ())
    low, high = (found.min, found.max) if percentiles is None else (found.percentiles[q] for q in percentiles)
    if not found.count or not np.isfinite([low, high]).all():
        raise ValueError(f"the values run from {low} to {high}; give range=(low, high)")
    return float(low), float(high)


def complex_part(image: xr.DataArray, part: str) -> xr.DataArray:
    """A part of a complex image; see `ImageAccessor.complex_part`."""
    from .image.derived import derived

    if part not in PARTS:
        raise ValueError(f"a part is one of {', '.join(PARTS)}; found {part!r}")

    def change(volume: Volume) -> Volume:
        if volume.values.dtype.kind != "c":
            raise TypeError(f"this image is not complex, it holds {volume.values.dtype}")
        return computed(revalued(volume), part_of_complex(volume.values, part))

    return derived(image, change)


def split(image: xr.DataArray) -> list[xr.DataArray]:
    """An image for each channel; see `ImageAccessor.split`."""
    if "c" not in image.dims:
        raise GeometryError(f"the image has no channels, its dims are {', '.join(map(str, image.dims))}")
    import xarray as xr

    out = []
    for k in range(image.sizes["c"]):
        channel = image.isel(c=k)
        if "c" in image.coords:
            # what stands for each channel stands for this one now
            own = {key: v[k : k + 1] for key, v in image.c.attrs.items() if _one_each(v, image.sizes["c"])}
            kept = {key: v for key, v in own.items() if key in PER_CHANNEL}
            channel = channel.assign_coords(c=xr.Variable((), channel.c.values, kept))
        out.append(channel)
    return out


def _one_each(value: Any, count: int) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == count


def compose(
    images: Sequence[xr.DataArray], names: Sequence[str] | None = None, *, kind: str | None = None
) -> xr.DataArray:
    """One image of several on one grid, as its channels, lazily.

    Parameters
    ----------
    images : sequence of DataArray
        On the grid of the first one (no corner displaced by more than 1e-3 voxel), with its times. Images that have
        channels already bring all of theirs.
    names : sequence of str, optional
        Of the channels; by default those that the images know, as after `img.split`.
    kind : str, optional
        ``"RGB"`` or ``"RGBA"``: three or four channels of uint8 that NIfTI and NRRD store as colours.

    Returns
    -------
    xarray.DataArray
        With dim c, in a type that holds the values of all; properties are those that all images have alike.

    Raises
    ------
    GeometryError
        If grids or times differ.
    ValueError
        If the number of names or the kind does not fit the channels.

    Examples
    --------
    >>> import numpy as np
    >>> import chunkimg as ci
    >>> parts = [ci.from_array(np.full((2, 3, 4), k, "u1"), spacing=(1, 1, 2)) for k in range(3)]
    >>> both = ci.compose(parts, names=["nuclei", "actin", "tubulin"])
    >>> dict(both.sizes), both.c.attrs["names"]
    ({'c': 3, 'z': 2, 'y': 3, 'x': 4}, ['nuclei', 'actin', 'tubulin'])
    """
    from .image.build import require_images, to_dataarray, to_volume
    from .image.derived import blocks_of

    images = require_images(images)
    if not images:
        raise ValueError("there are no images to compose")
    volumes = [to_volume(i) for i in images]
    for k, volume in enumerate(volumes):
        _require_same_place(volumes[0], volume, k)
    volumes = [_with_channels(v) for v in volumes]
    first = volumes[0]
    axis = first.dims.index("c")
    dtype = np.result_type(*(v.values.dtype for v in volumes))
    data = JoinedArray([v.values for v in volumes], axis, dtype)
    count = data.shape[axis]
    channels = _attributes(volumes, names, count)
    if kind is not None:
        if _COLORS.get(kind) != count or dtype != np.uint8:
            raise ValueError(f"kind is 'RGB' (3 channels) or 'RGBA' (4) of uint8; found {kind!r}, {count} of {dtype}")
        channels["kind"] = kind
    headers = first.headers if all(v.headers == first.headers for v in volumes) else {}
    made = replace(computed(first, data, channels=channels), properties=_common(volumes), headers=headers, source="")
    blocks = next((b for b in map(blocks_of, images) if b is not None), None)
    return to_dataarray(made, chunks=blocks if blocks is None else {**blocks, "c": 1})


def _require_same_place(first: Volume, other: Volume, k: int) -> None:
    if [d for d in first.dims if d != "c"] != [d for d in other.dims if d != "c"]:
        raise GeometryError(f"image {k} has dims {', '.join(other.dims)}, the first {', '.join(first.dims)}")
    if (first.grid is None) != (other.grid is None):
        raise GeometryError(f"image {k} or the first one has no position")
    if first.grid is not None and other.grid is not None:
        try:
            first.grid.require_same_as(other.grid)
        except GeometryError as error:
            raise GeometryError(f"image {k} against the first: {error}; resample it (resample_to)") from error
    if first.poses != other.poses or (first.times and other.times and first.times.values != other.times.values):
        raise GeometryError(f"image {k} has other times than the first, or moves otherwise")


def _with_channels(volume: Volume) -> Volume:
    """The volume with an axis of channels."""
    if "c" in volume.dims:
        return volume
    at = 1 if "t" in volume.dims else 0
    axes: list[int | None] = list(range(volume.data.ndim))
    axes.insert(at, None)
    data: LazyArray = ViewArray(volume.data, [range(n) for n in volume.data.shape], axes)
    dims = (*volume.dims[:at], "c", *volume.dims[at:])
    known = {k: v for k, v in volume.channels.items() if k in PER_CHANNEL and _one_each(v, 1)}
    return replace(volume, data=data, dims=dims, channels=known, rank=max(volume.rank, 3))


def _attributes(volumes: Sequence[Volume], names: Sequence[str] | None, count: int) -> dict[str, Any]:
    """Attributes of c: names, and whatever else all images know of each of their channels."""
    out: dict[str, Any] = {}
    for key in PER_CHANNEL:
        each = [v.channels.get(key) for v in volumes]
        if all(_one_each(e, v.sizes["c"]) for e, v in zip(each, volumes, strict=True)):
            out[key] = [entry for e in each for entry in e or ()]
    if names is not None:
        if len(names) != count or isinstance(names, str):
            raise ValueError(f"names are {count}, one for each channel, found {names!r}")
        out[CHANNEL_NAMES] = [str(n) for n in names]
    return out


def _common(volumes: Sequence[Volume]) -> dict[str, Any]:
    """Properties that all have, and alike."""
    others = [v.properties for v in volumes[1:]]
    return {k: v for k, v in volumes[0].properties.items() if all(k in o and o[k] == v for o in others)}
