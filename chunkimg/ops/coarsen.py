"""Images with larger voxels, each made of a block of voxels, lazily."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from ..align import slice_axis
from ..errors import GeometryError, UnsupportedError
from ..geometry import AXES
from ..lazy import Block, LazyArray, Reader, Region
from ..metadata import is_label
from ..volume import Volume
from .downsample import METHODS, CoarsenedArray

__all__ = ["BOUNDARIES", "FUNCS", "BlocksArray", "coarsened", "factors_of", "func_for", "reduced"]

#: what becomes of voxels at the end of an axis that make no whole block, by the names of xarray's `coarsen`
BOUNDARIES = ("trim", "pad", "exact")

_Reduce = Callable[[Block, Sequence[int], Block], Any]


def _extremes(ufunc: np.ufunc) -> _Reduce:
    def reduce(block: Block, factors: Sequence[int], out: Block) -> None:
        first, *others = _parts(block, factors)
        np.copyto(out, first)
        for part in others:
            ufunc(out, part, out=out)

    return reduce


def _medians(block: Block, factors: Sequence[int], out: Block) -> None:
    """The middle value; of an even number, the mean of the middle two, rounded as means are."""
    values = np.stack(list(_parts(block, factors)))
    half = len(values) // 2
    middle = [half] if len(values) % 2 else [half - 1, half]
    values.partition(middle, axis=0)
    pair = values[middle]
    METHODS["mean"](pair, (len(middle), *(1 for _ in out.shape)), out[None])
    if block.dtype.kind == "f":
        # NaN is sorted to the end
        np.copyto(out, np.nan, where=np.isnan(values[half:]).any(axis=0))


def _nearest(block: Block, factors: Sequence[int], out: Block) -> None:
    """The voxel at the middle; of an even number along an axis, the one before the middle."""
    np.copyto(out, block[tuple(slice((f - 1) // 2, n * f, f) for f, n in zip(factors, out.shape, strict=True))])


def _parts(block: Block, factors: Sequence[int]) -> Iterator[Block]:
    """One strided view per position inside the blocks."""
    for at in itertools.product(*(range(f) for f in factors)):
        yield block[tuple(slice(o, None, f) for o, f in zip(at, factors, strict=True))]


#: how the voxels of a block become one
FUNCS: Mapping[str, _Reduce] = {
    **METHODS,
    "max": _extremes(np.maximum),
    "median": _medians,
    "min": _extremes(np.minimum),
    "nearest": _nearest,
}


def reduced(block: Block, factors: Sequence[int], func: str) -> Block:
    """One voxel for each block of voxels, in the type of the input; blocks at the end of an axis may be smaller.

    Parameters
    ----------
    block : ndarray
        Values, in any byte order.
    factors : sequence of int
        Block size per axis.
    func : str
        One of `FUNCS`.

    Examples
    --------
    >>> import numpy as np
    >>> reduced(np.array([[1, 2, 9], [4, 5, 7]]), (2, 2), "max")
    array([[5, 9]])
    """
    block = block.astype(block.dtype.newbyteorder("="), copy=False)
    out = np.empty([-(-n // f) for n, f in zip(block.shape, factors, strict=True)], block.dtype)
    cuts = [_cuts(n, f) for n, f in zip(block.shape, factors, strict=True)]
    for cut in itertools.product(*cuts):
        coarse, fine, sizes = zip(*cut, strict=True)
        FUNCS[func](block[fine], sizes, out[coarse])
    return out


def _cuts(n: int, f: int) -> list[tuple[slice, slice, int]]:
    """Whole blocks of n voxels, and the smaller one at the end: their places in result and source, and their size."""
    whole, rest = divmod(n, f)
    out = [(slice(0, whole), slice(0, whole * f), f)] if whole else []
    return [*out, (slice(whole, whole + 1), slice(whole * f, n), rest)] if rest else out


class BlocksArray(CoarsenedArray):
    """An array of blocks of another one's voxels, which are read as the blocks are asked for.

    Parameters
    ----------
    source : LazyArray
        The finer array.
    factors : sequence of int
        Block size per axis.
    func : str
        One of `FUNCS`.
    whole : bool
        Whether a remainder at the end of an axis is cut off; else it makes a smaller block.
    """

    def __init__(self, source: LazyArray, factors: Sequence[int], func: str, whole: bool) -> None:
        super().__init__(source, factors, func)
        if not whole:
            self.shape = tuple(-(-n // f) for n, f in zip(source.shape, factors, strict=True))
        self.front_to_back, self.file_order = source.front_to_back, source.file_order
        self.piecewise = source.piecewise and source.chunks is None
        slower = [k for k, a in enumerate(self.file_order or ()) if self.factors[a] > 1]
        if self.front_to_back and self.file_order is not None and slower:
            # a stream would be taken back by blocks that lie beside each other
            least, planes = self.chunks or (1,) * self.ndim, self.file_order[slower[0] + 1 :]
            self.chunks = tuple(self.shape[a] if a in planes else n for a, n in enumerate(least))

    @property
    def held(self) -> int:
        """Bytes per element: of the result and, where that is read as a whole, of the source."""
        return self.dtype.itemsize + (math.prod(self.factors) * self.source.held if self.front_to_back else 0)

    def _read(self, region: Region) -> Block:
        return self._reduced(self.source._read, region)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Reads through the source's reader."""
        with self.source.reader() as read:
            yield lambda region: self._reduced(read, region)

    def _reduced(self, read: Reader, region: Region) -> Block:
        out = np.empty([len(r) for r in region], self.dtype)
        if not out.size:
            return out
        if any(r.step != 1 for r in region):
            whole = self._reduced(read, tuple(range(r.start, r[-1] + 1) for r in region))
            return whole[tuple(slice(None, None, r.step) for r in region)]
        # parts of planes would take a stream back
        everything = [tuple(slice(0, n) for n in out.shape)]
        for at in everything if self.front_to_back else self._windows(out.shape):
            fine = tuple(
                range((r.start + a.start) * f, min((r.start + a.stop) * f, n))
                for r, a, f, n in zip(region, at, self.factors, self.source.shape, strict=True)
            )
            out[at] = reduced(read(fine), self.factors, self.method)
        return out

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-blocks", self.source.__dask_tokenize__(), self.factors, self.method, self.shape)


def factors_of(factor: int | Mapping[str, int] | None, **by_axis: int | None) -> dict[str, int]:
    """Block size along x, y, z, from one number for all, or numbers by axis.

    Raises
    ------
    GeometryError
        For other axes, or anything but whole numbers of at least 1.
    """
    given: dict[str, Any] = {a: f for a, f in by_axis.items() if f is not None}
    if isinstance(factor, Mapping):
        given = {**factor, **given}
    elif factor is not None:
        given = {**dict.fromkeys(AXES, factor), **given}
    foreign = [str(a) for a in given if a not in AXES]
    if foreign or not all(isinstance(f, (int, np.integer)) and f >= 1 for f in given.values()):
        raise GeometryError(
            f"an image is coarsened along x, y and z by whole numbers of at least 1, found {given}; "
            "frames and channels are put together by xarray: image.coarsen(t=2).mean()"
        )
    return {a: int(given.get(a, 1)) for a in AXES}


def func_for(volume: Volume, func: str | None) -> str:
    """How the voxels of an image's blocks become one: as asked for, else modes of labels, means of all else."""
    labels = is_label(volume.properties) or volume.data.dtype.kind == "b"
    if func is None:
        return "mode" if labels else "mean"
    if func not in FUNCS:
        raise GeometryError(f"func is {func!r}; expected one of {', '.join(sorted(FUNCS))}")
    if func in ("mean", "median") and is_label(volume.properties):
        raise UnsupportedError(f"the {func} of labels is none of them; use func='mode', 'nearest', 'max' or 'min'")
    kind = volume.data.dtype.kind
    if (func in ("max", "median", "min") and kind == "c") or (func == "median" and kind == "b"):
        raise UnsupportedError(f"{volume.data.dtype} has no {func}; use func='mean', 'mode' or 'nearest'")
    if volume.scaling is not None and volume.scaling.slope < 0:
        # stored values run the other way
        return {"max": "min", "min": "max"}.get(func, func)
    return func


def coarsened(volume: Volume, factors: Mapping[str, int], func: str | None = None, boundary: str = "trim") -> Volume:
    """The image with voxels of the size of blocks, each at the middle of its block.

    Parameters
    ----------
    volume : Volume
        Any image.
    factors : mapping
        Block size by axis.
    func : str, optional
        One of `FUNCS`; modes of labels and means of all else by default. Means, medians and modes are of image values;
        extremes and nearest ones of stored values, which keep their scaling.
    boundary : str
        One of `BOUNDARIES`: a remainder at the end of an axis is cut off, or makes a block of the voxels that there
        are (whose middle is where that of a whole one would be), or is refused.

    Raises
    ------
    GeometryError
        If no whole block is left, or for names that are not known.
    UnsupportedError
        For means and medians of labels, and what complex values have not.
    """
    chosen = func_for(volume, func)
    if boundary not in BOUNDARIES:
        raise GeometryError(f"boundary is {boundary!r}; expected one of {', '.join(BOUNDARIES)}")
    rest = {a: -volume.sizes[a] % factors[a] for a in AXES}
    if boundary == "exact" and any(rest.values()):
        raise GeometryError(
            f"sizes {dict(volume.sizes)} are no multiples of {dict(factors)}; boundary='trim' cuts the remainder off, "
            "boundary='pad' makes smaller blocks of it"
        )
    if boundary != "pad" and any(volume.sizes[a] < factors[a] for a in AXES):
        raise GeometryError(
            f"no whole block of {dict(factors)} is left of {dict(volume.sizes)}; coarsen other axes, or boundary='pad'"
        )
    if all(f == 1 for f in factors.values()):
        return volume
    grid = volume.grid
    if grid is not None:
        more = [rest[a] if boundary == "pad" else 0 for a in AXES]
        grid = grid.pad((0, 0, 0), more).coarsen(**factors)
    # a mean of stored values would be rounded to one of them, and a mode prefers what is not 0
    scaled = volume.scaling is not None and chosen in ("mean", "median", "mode")
    source = volume.values if scaled else volume.data
    data = BlocksArray(source, [factors.get(d, 1) for d in volume.dims], chosen, boundary != "pad")
    # slices that are put together were not taken in any order
    kept = factors[slice_axis(volume.properties)] == 1
    properties = {k: v for k, v in volume.properties.items() if kept or not k.startswith("slice_")}
    scaling = None if scaled else volume.scaling
    return replace(volume, data=data, grid=grid, properties=properties, scaling=scaling)
