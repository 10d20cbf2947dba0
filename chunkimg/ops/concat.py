"""Images one after the other along time, lazily."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..encode import EncodedArray
from ..errors import GeometryError
from ..geometry import Grid, Poses
from ..lazy import ViewArray
from ..metadata import is_label
from ..volume import TimeAxis, Volume
from .join import JoinedArray

__all__ = ["joined_in_time"]

#: voxel: grids that differ by less are one grid
_SAME = 1e-3
_MOST_NAMED = 5


def joined_in_time(volumes: Sequence[Volume], t: Sequence[float] | None = None) -> Volume:
    """One image of the frames of several; see `chunkimg.concat_time`."""
    if not volumes:
        raise GeometryError("there are no images to concatenate")
    _require_alike(volumes)
    framed = [_with_time(v) for v in volumes]
    times = _times(volumes, [v.data.shape[0] for v in framed], t)
    framed = _of_one_type(framed)
    first = framed[0]
    poses = _poses(framed, times)
    grid = first.grid
    if poses is not None and grid is not None:
        fixed = poses.fixed(grid)
        grid, poses = (grid, poses) if fixed is None else (fixed, None)
    same_headers = all(v.headers == first.headers for v in framed)
    return replace(
        first,
        data=JoinedArray([v.data for v in framed], 0, first.data.dtype),
        grid=grid,
        times=times,
        time=None,
        poses=poses,
        properties=_common(framed),
        headers=first.headers if same_headers else {},
        rank=max(len(first.dims), max(v.rank for v in framed)),
        source="",
    )


def _require_alike(volumes: Sequence[Volume]) -> None:
    wrong = [(k, v, reasons) for k, v in enumerate(volumes) if (reasons := list(_differences(volumes[0], v)))]
    if not wrong:
        return
    named = [f"image {k}{f' ({v.source})' if v.source else ''}: {'; '.join(why)}" for k, v, why in wrong[:_MOST_NAMED]]
    more = f"\n  and {len(wrong) - _MOST_NAMED} more" if len(wrong) > _MOST_NAMED else ""
    raise GeometryError(
        "frames of one image have one shape, channels and units; against the first image, these differ:\n  "
        + "\n  ".join(named)
        + more
        + "\nresample or crop them to one grid first (resample_to, crop_like)"
    )


def _differences(a: Volume, b: Volume) -> Iterator[str]:
    mine, theirs = ({d: n for d, n in v.sizes.items() if d != "t"} for v in (a, b))
    if mine != theirs:
        yield f"sizes {mine} against {theirs}"
    if "c" in mine and a.channels != b.channels:
        yield f"channels {a.channels} against {b.channels}"
    if (a.grid is None) != (b.grid is None):
        yield "one of them has no position"
    elif a.grid is not None and b.grid is not None:
        for name in ("space", "units"):
            if getattr(a.grid, name) != getattr(b.grid, name):
                yield f"{name} {getattr(a.grid, name)} against {getattr(b.grid, name)}"
    if is_label(a.properties) != is_label(b.properties):
        yield "one of them is a label map"
    kinds = [np.dtype(v.values.dtype).kind for v in (a, b)]
    if ("c" in kinds) and kinds[0] != kinds[1]:
        yield f"values {a.values.dtype} against {b.values.dtype}"


def _with_time(volume: Volume) -> Volume:
    """The image with an axis of time."""
    if "t" in volume.dims:
        return volume
    axes = [None, *range(volume.data.ndim)]
    data = ViewArray(volume.data, [range(n) for n in volume.data.shape], axes)
    frame = TimeAxis((0.0 if volume.time is None else volume.time,), "unknown" if volume.time is None else "s", None)
    return replace(volume, data=data, dims=("t", *volume.dims), times=frame, time=None)


def _times(volumes: Sequence[Volume], counts: Sequence[int], t: Sequence[float] | None) -> TimeAxis:
    total = sum(counts)
    if t is not None:
        values = tuple(float(v) for v in t)
        if len(values) != total:
            raise GeometryError(f"{len(values)} times were given for {total} frames")
        _require_increasing(values, "the times that were given")
        return _regular(values)
    known = [v.time is not None or (v.times is not None and v.times.units == "s") for v in volumes]
    if not any(known):
        return TimeAxis(tuple(float(k) for k in range(total)), "unknown", None)
    if not all(known):
        raise GeometryError(f"image {known.index(False)} says nothing of its time, others do; give the times: t=")
    each = [v.times.values if v.times is not None else (v.time,) for v in volumes]
    values = tuple(float(v) for v in itertools.chain.from_iterable(each) if v is not None)
    _require_increasing(values, "the times of the images")
    return _regular(values)


def _require_increasing(values: Sequence[float], what: str) -> None:
    for k, (a, b) in enumerate(itertools.pairwise(values)):
        if not b > a:
            raise GeometryError(
                f"{what} do not increase: frame {k} is at {a:g} s, frame {k + 1} at {b:g} s; sort the images, "
                "or give the times: t="
            )
    if not all(map(math.isfinite, values)):
        raise GeometryError(f"{what} are not finite")


def _regular(values: tuple[float, ...]) -> TimeAxis:
    step = values[1] - values[0] if len(values) > 1 else None
    regular = TimeAxis(values, "s", step)
    return regular if regular.regular_step() is not None else TimeAxis(values, "s", None)


def _of_one_type(volumes: list[Volume]) -> list[Volume]:
    """Stored values where all are stored alike, else image values in a type that holds them all."""
    first = volumes[0]
    if all(v.data.dtype == first.data.dtype and v.scaling == first.scaling for v in volumes):
        return volumes
    dtype = np.result_type(*(v.values.dtype for v in volumes))
    return [
        replace(v, data=v.values if v.values.dtype == dtype else EncodedArray(v.values, dtype, None), scaling=None)
        for v in volumes
    ]


def _poses(volumes: Sequence[Volume], times: TimeAxis) -> Poses | None:
    """A table of affines, unless all frames have the grid of the first."""
    first = volumes[0].grid
    if first is None:
        return None
    rows: list[Any] = []
    for volume in volumes:
        assert volume.grid is not None and volume.times is not None
        for value in volume.times.values:
            frame = volume.grid.matrix if volume.poses is None else volume.poses.at(value, volume.grid)
            here = Grid(first.shape, tuple(map(tuple, frame.tolist())), first.space, first.units)
            rows.append(first.affine if here.same_as(first, _SAME) else here.affine)
    if all(row == first.affine for row in rows):
        return None
    return Poses(first.affine, times.values, tuple(rows))


def _common(volumes: Sequence[Volume]) -> dict[str, Any]:
    """Properties that all have, and alike."""
    others: list[Mapping[str, Any]] = [v.properties for v in volumes[1:]]
    return {k: v for k, v in volumes[0].properties.items() if all(k in o and _equal(o[k], v) for o in others)}


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return bool(np.array_equal(a, b))
    return bool(a == b) or (a != a and b != b)
