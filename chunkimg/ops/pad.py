"""Images with voxels added around them, lazily."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

import chunkimg.gather as gather

from ..align import slice_axis
from ..errors import GeometryError
from ..geometry import AXES
from ..lazy import Block, Derived, LazyArray, Reader, Region
from ..scaling import Scaling
from ..volume import Volume

__all__ = ["MODES", "PaddedArray", "padded", "widths", "within"]

#: what the voxels that are added hold, by the names of `numpy.pad`
MODES = ("constant", "edge", "reflect", "symmetric", "wrap")

Widths = dict[str, tuple[int, int]]


class PaddedArray(Derived):
    """An array with elements added before and after along its axes, without reading it.

    Parameters
    ----------
    source : LazyArray
        The array inside.
    before, after : sequence of int
        Numbers of elements to add, per axis.
    mode : str
        One of `MODES`, as of `numpy.pad`.
    fill : scalar
        For ``"constant"``: what the new elements hold.
    """

    def __init__(
        self, source: LazyArray, before: Sequence[int], after: Sequence[int], mode: str = "constant", fill: Any = 0
    ) -> None:
        self.source, self.before, self.after, self.mode = source, tuple(before), tuple(after), mode
        self.shape = tuple(n + b + a for n, b, a in zip(source.shape, before, after, strict=True))
        self.dtype, self.fill = source.dtype, source.dtype.type(fill)
        self.front_to_back, self.chunks = source.front_to_back, source.chunks
        # its chunks do not lie at multiples of their size
        self.piecewise = source.piecewise and source.chunks is None
        if mode in ("constant", "edge") or not source.front_to_back:
            # other modes go back to what was read before
            self.file_order = source.file_order

    def inside(self, box: Region) -> Region:
        """What of the source a box (ranges of step 1) shows; ranges of no element where it shows nothing."""
        ends = ((r.start - b, r.stop - b, n) for r, b, n in zip(box, self.before, self.source.shape, strict=True))
        return tuple(range(max(0, min(start, n)), max(0, min(stop, n))) for start, stop, n in ends)

    def _read(self, region: Region) -> Block:
        return self._around(self.source._read, region)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Reads through the source's reader, unless that could not go front to back."""
        if self.file_order is None and self.front_to_back:
            yield self._read
        else:
            with self.source.reader() as read:
                yield lambda region: self._around(read, region)

    def _around(self, read: Reader, region: Region) -> Block:
        if any(len(r) == 0 for r in region):
            return np.empty([len(r) for r in region], self.dtype)
        if self.mode != "constant":
            sizes = zip(region, self.before, self.source.shape, strict=True)
            return gather.outer(self.source, [within(r, b, n, self.mode) for r, b, n in sizes], read)
        inside = [_inside(r, b, n) for r, b, n in zip(region, self.before, self.source.shape, strict=True)]
        part = tuple(
            range(i.start * r.step + r.start - b, (i.stop - 1) * r.step + r.start - b + 1, r.step)
            for i, r, b in zip(inside, region, self.before, strict=True)
        )
        if all(len(p) == len(r) for p, r in zip(part, region, strict=True)):
            return read(part)
        out = np.full([len(r) for r in region], self.fill, self.dtype)
        if all(len(i) for i in inside):
            out[tuple(slice(i.start, i.stop) for i in inside)] = read(part)
        return out

    def __dask_tokenize__(self) -> Any:
        fill = (self.dtype.str, self.fill.tobytes()) if self.mode == "constant" else None
        return ("chunkimg-padded", self.source.__dask_tokenize__(), self.before, self.after, self.mode, fill)


def _inside(r: range, before: int, n: int) -> range:
    """Which positions of a range lie in the source: they follow each other."""
    first = max(0, -(-(before - r.start) // r.step))
    stop = min(len(r), -(-(before + n - r.start) // r.step))
    return range(first, max(first, stop))


def within(r: range, before: int, n: int, mode: str) -> Sequence[int]:
    """The source's index that each index of a range shows."""
    shift = range(r.start - before, r.stop - before, r.step)
    if shift[0] >= 0 and shift[-1] < n:
        return shift
    at = np.asarray(shift, dtype=np.int64)
    if mode == "edge" or n == 1:
        at = np.clip(at, 0, n - 1)
    elif mode == "wrap":
        at = at % n
    else:
        # symmetric repeats the outermost element, reflect does not
        period = 2 * n if mode == "symmetric" else 2 * n - 2
        at = at % period
        at = np.where(at < n, at, (2 * n - 1 if mode == "symmetric" else period) - at)
    found: list[int] = at.tolist()
    return found


def widths(width: int | Mapping[str, Any] | None, sides: tuple[Any, Any] = (None, None), **by_axis: Any) -> Widths:
    """Numbers of voxels before and after along x, y, z.

    Parameters
    ----------
    width : int or mapping, optional
        One number for all, or a number or a pair (before, after) by axis.
    sides : pair of sequences
        Three numbers before, and three after, along x, y, z; None for none.
    **by_axis
        As in a mapping.

    Raises
    ------
    GeometryError
        For other axes, or anything but whole numbers that are not negative.
    """
    given = {a: w for a, w in by_axis.items() if w is not None}
    if isinstance(width, Mapping):
        given = {**width, **given}
    elif width is not None:
        given = {**dict.fromkeys(AXES, width), **given}
    if any(side is not None for side in sides):
        if given:
            raise GeometryError("give widths of padding by axis, or before= and after=, not both")
        given = dict(zip(AXES, zip(*(_three(side) for side in sides), strict=True), strict=True))
    foreign = [str(a) for a in given if a not in AXES]
    if foreign:
        raise GeometryError(
            f"an image is padded along x, y and z, found {', '.join(foreign)}: times and channels are not invented; "
            "chunkimg.concat_time adds frames"
        )
    return {a: _pair(a, given.get(a, 0)) for a in AXES}


def _three(side: Any) -> tuple[int, int, int]:
    values = (0, 0, 0) if side is None else tuple(side) if np.ndim(side) == 1 else ()
    if len(values) != 3:
        raise GeometryError(f"before= and after= are three numbers of voxels, along x, y, z; found {side!r}")
    x, y, z = values
    return x, y, z


def _pair(axis: str, width: Any) -> tuple[int, int]:
    pair = tuple(width) if isinstance(width, (tuple, list)) else (width, width)
    if len(pair) != 2 or not all(isinstance(n, (int, np.integer)) and n >= 0 for n in pair):
        raise GeometryError(
            f"padding along {axis} is a number of voxels, or a pair (before, after), not negative; found {width!r}"
        )
    return int(pair[0]), int(pair[1])


def padded(volume: Volume, width: Widths, mode: str = "constant", fill: Any = 0) -> Volume:
    """The image with voxels added around it; those that it had stay where they are.

    Parameters
    ----------
    volume : Volume
        Any image.
    width : dict
        As of `widths`.
    mode : str
        One of `MODES`.
    fill : number
        For ``"constant"``: the *image value* of the new voxels. Where no stored value stands for it, the image's values
        are taken instead of its stored ones.

    Raises
    ------
    GeometryError
        For a mode that is not known, or `fill` that the type of the values cannot hold.
    """
    if mode not in MODES:
        raise GeometryError(f"mode is {mode!r}; expected one of {', '.join(MODES)}")
    if not any(sum(pair) for pair in width.values()):
        return volume
    before, after = ([width.get(d, (0, 0))[side] for d in volume.dims] for side in (0, 1))
    grid, stored = volume.grid, fill
    if mode == "constant":
        volume, stored = _holding(volume, fill)
    if grid is not None:
        grid = grid.pad(*([width[a][side] for a in AXES] for side in (0, 1)))
    data = PaddedArray(volume.data, before, after, mode, stored)
    return replace(volume, data=data, grid=grid, properties=_shifted_slices(volume, width))


def _holding(volume: Volume, fill: Any) -> tuple[Volume, Any]:
    """An image that can hold a value, and its stored value: scaled values, where none stands for it."""
    if volume.scaling is not None:
        stored = _stored(volume.scaling, fill, volume.data.dtype)
        if stored is not None:
            return volume, stored
        volume = replace(volume, data=volume.values, scaling=None)
    dtype = volume.data.dtype
    held = _cast(fill, dtype)
    if held is None:
        raise GeometryError(f"fill={fill!r} is no value of {dtype}, which the image holds; convert it first (astype)")
    return volume, held


def _stored(scaling: Scaling, fill: Any, dtype: np.dtype[Any]) -> Any:
    """The stored value of an image value, if there is one."""
    try:
        exact = (fill - scaling.inter) / scaling.slope
    except TypeError:
        return None
    stored = _cast(np.rint(exact) if dtype.kind in "iu" else exact, dtype)
    if stored is None:
        return None
    value = scaling.apply(np.array([stored], dtype))[0]
    return stored if value == np.asarray(fill).astype(value.dtype) else None


def _cast(value: Any, dtype: np.dtype[Any]) -> Any:
    """A value in a type, or None where that is another value."""
    if np.ndim(value) or (np.iscomplexobj(value) and dtype.kind != "c"):
        return None
    try:
        with np.errstate(all="ignore"):
            cast = np.asarray(value).astype(dtype)
    except (TypeError, ValueError, OverflowError):
        return None
    if dtype.kind in "fc":
        # rounding to the type is its own; NaN is NaN
        return cast[()] if bool(np.isfinite(cast) == np.isfinite(value)) else None
    return cast[()] if bool(cast == value) else None


def _shifted_slices(volume: Volume, width: Widths) -> dict[str, Any]:
    """NIfTI's first and last slice, where slices are added before or after them."""
    out = dict(volume.properties)
    code, axis = out.get("slice_code"), slice_axis(out)
    if isinstance(code, int) and code and sum(width[axis]):
        first, last = out.get("slice_start", 0), out.get("slice_end", 0) or volume.sizes[axis] - 1
        out["slice_start"], out["slice_end"] = first + width[axis][0], last + width[axis][0]
    return out
