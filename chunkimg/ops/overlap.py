"""Functions of neighbourhoods, region by region: each block is seen with a halo of the voxels around it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import GeometryError
from ..lazy import Block, Derived, LazyArray, Reader, Region
from ..workers import each
from .halos import overlapping

__all__ = ["BOUNDARIES", "Halo", "OverlapArray", "Whole", "checked"]

#: what lies beyond the image, for each name
BOUNDARIES = ("reflect", "mirror", "edge", "constant")
#: parts of a block that are worked on at once, at most, and their smallest size in voxels
_PARTS = 8
#: a part of this side must not take more than so many bytes with its halo
_SIDE, _MOST = 64, 1 << 30
_SMALLEST = 1 << 18


@dataclass(frozen=True)
class Halo:
    """How far a function looks, and what it sees beyond the image.

    Attributes
    ----------
    depth : (int, int, int)
        Voxels along z, y, x, on both sides.
    boundary : str
        ``"reflect"`` (d c b a | a b c d | d c b a), ``"mirror"`` (d c b | a b c d | c b a), ``"edge"``
        (a a a a | a b c d | d d d d), names as of `scipy.ndimage`; or ``"constant"``.
    fill : float
        The constant.
    """

    depth: tuple[int, int, int]
    boundary: str = "reflect"
    fill: float = 0.0

    def __post_init__(self) -> None:
        if self.boundary not in BOUNDARIES:
            raise ValueError(f"boundary is one of {', '.join(BOUNDARIES)}; found {self.boundary!r}")
        if len(self.depth) != 3 or min(self.depth) < 0:
            raise ValueError(f"a depth is a number of voxels along each axis, at least 0; found {self.depth}")

    def around(self, space: Region, shape: tuple[int, ...]) -> Region:
        """The voxels of the image that a region and its halo hold."""
        return tuple(
            range(max(0, r.start - d), min(n, r.stop + d)) for r, d, n in zip(space, self.depth, shape, strict=True)
        )

    def padded(self, block: Block, box: Region, space: Region, shape: tuple[int, ...]) -> Block:
        """A new block of a region with its halo, of the voxels of `box`, as of `around`."""
        widths = [(b.start - r.start + d, r.stop + d - b.stop) for b, r, d in zip(box, space, self.depth, strict=True)]
        out = np.empty([len(b) + before + after for b, (before, after) in zip(box, widths, strict=True)], block.dtype)
        out[tuple(slice(w[0], w[0] + n) for w, n in zip(widths, block.shape, strict=True))] = block
        for axis, ((before, _), b, n) in enumerate(zip(widths, box, shape, strict=True)):
            # earlier axes are complete by now, later ones are so within the block alone
            inner = out[
                tuple(
                    slice(None) if k <= axis else slice(w[0], w[0] + m)
                    for k, (w, m) in enumerate(zip(widths, block.shape, strict=True))
                )
            ]
            for beyond in (range(before), range(before + len(b), out.shape[axis])):
                if len(beyond):
                    where = (*(slice(None),) * axis, slice(beyond.start, beyond.stop))
                    if self.boundary == "constant":
                        inner[where] = self.fill
                    else:
                        index = self._inside(np.arange(beyond.start, beyond.stop) - before + b.start, n)
                        inner[where] = inner.take(index - b.start + before, axis)
        return out

    def _inside(self, index: NDArray[np.int64], n: int) -> NDArray[np.int64]:
        """Which voxels of an axis of size n stand for those at any index."""
        if self.boundary == "edge":
            return np.clip(index, 0, n - 1)
        period = 2 * n if self.boundary == "reflect" else max(1, 2 * n - 2)
        index = index % period
        return np.asarray(np.minimum(index, (2 * n - 1 if self.boundary == "reflect" else period) - index))


@dataclass(frozen=True)
class Whole:
    """A function of a user's: from a block with its halo to one of the same shape, of which the halo is cut off.

    Raises
    ------
    ValueError, TypeError
        When called, if the result has another shape, or a type that is not to be put into `dtype` unseen.
    """

    function: Callable[[Block], Any]
    depth: tuple[int, int, int]
    dtype: np.dtype[Any]

    def __call__(self, block: Block) -> Block:
        """The result for a block with its halo, without it."""
        out = checked(self.function(block), block.shape, self.dtype, "a block with its halo")
        return out[tuple(slice(d, n - d) for d, n in zip(self.depth, out.shape, strict=True))]


def checked(found: Any, shape: tuple[int, ...], dtype: np.dtype[Any], what: str) -> Block:
    """What a user's function gave, if it has the shape and a type that fits."""
    out = np.asarray(found)
    if out.shape != shape:
        raise ValueError(
            f"the function was given {what}, of which a result of shape {shape} is expected; it gave {out.shape}"
        )
    if not np.can_cast(out.dtype, dtype, "same_kind"):
        raise TypeError(
            f"the function gave {out.dtype}, where {dtype} is expected; name its type: dtype={out.dtype.name!r}"
        )
    return out


class OverlapArray(Derived):
    """A function of each voxel's neighbourhood, block by block.

    Parameters
    ----------
    source : LazyArray
        Its last three axes are z, y, x; the function is applied to each frame and channel by itself.
    function : callable
        Takes a block (z, y, x) with its halo, its own to change; gives one without. Called in several threads.
    halo : Halo
        What it sees.
    dtype : numpy dtype
        Of the result.
    token : object
        What identifies the function, equal in every process; by default, what Dask makes of it.
    """

    def __init__(
        self, source: LazyArray, function: Callable[[Block], Block], halo: Halo, dtype: DTypeLike, token: Any = None
    ) -> None:
        self.source, self.function, self.halo, self.token = source, function, halo, token
        self.shape, self.dtype = source.shape, np.dtype(dtype).newbyteorder("=")
        self.front_to_back, self.file_order = source.front_to_back, source.file_order
        self.chunks = source.chunks
        self._require_small()

    def _require_small(self) -> None:
        """Refuse what no memory holds: the halo of a part of the image, however small."""
        sizes = [min(n, _SIDE) + 2 * d for n, d in zip(self.shape[-3:], self.halo.depth, strict=True)]
        need = math.prod(sizes) * (self.source.dtype.itemsize + self.dtype.itemsize)
        if need > _MOST:
            raise GeometryError(
                f"neighbourhoods of {self.halo.depth} voxels (z, y, x) on each side, in an image of {self.shape[-3:]}: "
                f"a part of {_SIDE}³ voxels would take {need / 2**30:.3g} GiB; is the unit right? else coarsen the "
                "image first: img.coarsen(...)"
            )

    @property
    def held(self) -> int:
        """Bytes per element: of the result twice, of what is read, and of a copy with its halo."""
        return 2 * self.dtype.itemsize + self.source.held + self.source.dtype.itemsize

    def task(self, region: Region) -> Any:
        """The function, of what Dask computes of the source."""
        lead, space = region[:-3], region[-3:]
        box = self.halo.around(space, self.shape[-3:])
        part = self.source.task((*lead, *box)) if all(r.step == 1 for r in region) else None
        if part is None:
            return None
        from dask.delayed import delayed

        return delayed(self._of, pure=False)(part, box, space)

    def _read(self, region: Region) -> Block:
        return self._through(self.source._read, region)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Reads the source through `halos.overlapping`: nearly everything once."""
        with overlapping(self.source) as read:
            yield lambda region: self._through(read, region)

    def _through(self, read: Reader, region: Region) -> Block:
        out = np.empty([len(r) for r in region], self.dtype)
        if not out.size:
            return out
        lead, space = region[:-3], region[-3:]
        # planes that a stride passes over are not computed
        planes = [space[0]] if all(r.step == 1 for r in space) else [range(k, k + 1) for k in space[0]]
        for number, along in enumerate(planes):
            dense = (along, *(range(r.start, r[-1] + 1) for r in space[1:]))
            box = self.halo.around(dense, self.shape[-3:])
            ahead = tuple(range(r.start, r[-1] + 1) for r in lead)
            frames = read((*ahead, *box))[tuple(slice(None, None, r.step) for r in lead)]
            found = self._of(frames, box, dense)
            place = slice(None) if len(planes) == 1 else slice(number, number + 1)
            out[..., place, :, :] = found[..., :: space[1].step, :: space[2].step]
        return out

    def around(self, box: Region) -> Region:
        """What of the source a box (ranges of step 1) is made of."""
        return (*box[:-3], *self.halo.around(box[-3:], self.shape[-3:]))

    def made(self, values: Block, box: Region) -> Block:
        """The result for a box, of the values of the source `around` it."""
        return self._of(values, self.around(box)[-3:], box[-3:])

    def _of(self, frames: Block, box: Region, space: Region) -> Block:
        """The result for a region of space; `frames` are the voxels of `box`."""
        out = np.empty([*frames.shape[:-3], *map(len, space)], self.dtype)
        shape = self.shape[-3:]

        def compute(item: tuple[tuple[int, ...], Region]) -> None:
            frame, part = item
            inner = self.halo.around(part, shape)
            here = tuple(slice(i.start - b.start, i.stop - b.start) for i, b in zip(inner, box, strict=True))
            there = tuple(slice(p.start - s.start, p.stop - s.start) for p, s in zip(part, space, strict=True))
            block = self.halo.padded(frames[frame][here], inner, part, shape)
            out[frame][there] = self.function(block)

        each(compute, list(itertools.product(np.ndindex(*frames.shape[:-3]), self._parts(space))))
        return out

    def _parts(self, space: Region) -> list[Region]:
        """A few parts of a region, not much smaller than what they need around them; the same on every machine."""
        lengths, depth = list(map(len, space)), self.halo.depth
        axis = max(range(3), key=lambda k: lengths[k] / (1 + depth[k]))
        most = min(_PARTS, math.prod(lengths) // _SMALLEST, lengths[axis] // (4 * depth[axis] + 1))
        size = -(-lengths[axis] // max(1, most))
        whole = space[axis]
        cuts = [range(k, min(k + size, whole.stop)) for k in range(whole.start, whole.stop, size)]
        return [(*space[:axis], cut, *space[axis + 1 :]) for cut in cuts]

    def __dask_tokenize__(self) -> Any:
        token = self.token
        if token is None:
            from dask.base import tokenize

            token = tokenize(self.function)
        return ("chunkimg-overlap", self.source.__dask_tokenize__(), token, self.halo, self.dtype.str)
