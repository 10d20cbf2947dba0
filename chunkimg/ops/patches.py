"""Images put together from patches that overlap: each voxel from one of them, or from all that hold it, weighted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..access import Access
from ..chunks import dask_block_bytes
from ..lazy import Block, LazyArray, Reader, Region
from ..open_file import temporary_file
from .blend_kernel import blend_kernel
from .halos import overlapping
from .leftovers import Kept, Piece
from .overlap import checked

__all__ = ["WEIGHTS", "AssembledArray", "Computed", "Given", "Tiling"]

#: how voxels that several patches hold are put together
WEIGHTS = ("crop", "average", "hann")
#: values of a patch from which machine code is made to add it
_WORTH = 1 << 17

Weights = NDArray[np.float64]


@dataclass(frozen=True)
class Tiling:
    """Patches of one size that cover a box of voxels; axes z, y, x.

    Attributes
    ----------
    shape, size : (int, int, int)
        Of the box, and of a patch.
    starts : three tuples of int
        First voxels of the patches along each axis, increasing; the patches are all combinations, z slowest.
    """

    shape: tuple[int, int, int]
    size: tuple[int, int, int]
    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    @classmethod
    def of(cls, shape: Sequence[int], size: Sequence[int], overlap: Sequence[int]) -> Tiling:
        """Patches at steps of size - overlap, the last of an axis shifted back so that it ends with the image.

        That is the rule of TorchIO's ``GridSampler``.
        """
        z, y, x = (
            (*range(0, n - s, s - o), n - s) if n > s else (0,) for n, s, o in zip(shape, size, overlap, strict=True)
        )
        nz, ny, nx = shape
        sz, sy, sx = size
        return cls((nz, ny, nx), (sz, sy, sx), (z, y, x))

    def __len__(self) -> int:
        return math.prod(map(len, self.starts))

    def covers(self) -> bool:
        """Whether no voxel of the box is in no patch, and no patch juts out."""
        return all(
            s[0] == 0 and s[-1] + size == n and all(b - a <= size for a, b in itertools.pairwise(s))
            for s, size, n in zip(self.starts, self.size, self.shape, strict=True)
        )

    def place(self, k: int) -> tuple[int, int, int]:
        """Which patch along each axis the k-th is."""
        z, y, x = np.unravel_index(k, [len(s) for s in self.starts])
        return int(z), int(y), int(x)

    def box(self, at: Sequence[int]) -> Region:
        """The voxels of the patch at a place."""
        firsts = [s[i] for s, i in zip(self.starts, at, strict=True)]
        return tuple(range(f, f + n) for f, n in zip(firsts, self.size, strict=True))

    def shares(self, weights: str) -> tuple[list[tuple[range, Weights]], ...]:
        """Per axis and patch along it: the voxels that it takes part in, and its share of them.

        Shares of a voxel add up to 1; along all axes together they are products.
        """
        return tuple(_shares(s, n, weights) for s, n in zip(self.starts, self.size, strict=True))

    def blocks(self, voxel: int) -> tuple[tuple[int, ...], ...]:
        """Sizes of Dask blocks per axis that cut nothing a patch gives when patches are cropped."""
        zones = [[len(r) for r, _ in along] for along in self.shares("crop")]
        groups = [1, 1, 1]
        for axis in (2, 1, 0):
            # as if all were as large as the largest
            size = voxel * math.prod(g * max(z) for g, z in zip(groups, zones, strict=True))
            groups[axis] = max(1, min(len(zones[axis]), dask_block_bytes() // size))
            if groups[axis] < len(zones[axis]):
                break
        return tuple(tuple(sum(z[k : k + g]) for k in range(0, len(z), g)) for z, g in zip(zones, groups, strict=True))


def _shares(starts: tuple[int, ...], size: int, weights: str) -> list[tuple[range, Weights]]:
    stop = starts[-1] + size
    if weights == "crop":
        # the middle of what neighbours share, so that each voxel comes from the patch whose centre is nearest
        cuts = [0, *((a + b + size) // 2 for a, b in itertools.pairwise(starts)), stop]
        return [(range(a, b), np.ones(b - a)) for a, b in itertools.pairwise(cuts)]
    steps = np.arange(1, size + 1)
    window = np.ones(size) if weights == "average" else np.square(np.sin(np.pi * steps / (size + 1)))
    total = np.zeros(stop)
    for s in starts:
        total[s : s + size] += window
    return [(range(s, s + size), window / total[s : s + size]) for s in starts]


class Supply(Protocol):
    """Where patches come from."""

    def patch(self, read: Reader | None, t: int | None, at: tuple[int, int, int]) -> Block:
        """Channels (if there are any), z, y, x of a patch at a time; `read` reads the source."""

    @property
    def source(self) -> LazyArray | None:
        """The one array that they are made of, if so."""

    def token(self) -> Any:
        """What identifies it."""


@dataclass(frozen=True, eq=False)
class Computed:
    """Patches that a function makes of those of an image, one call for each."""

    source: LazyArray
    function: Callable[[Block], Any]
    tiling: Tiling
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def patch(self, read: Reader | None, t: int | None, at: tuple[int, int, int]) -> Block:
        """The function of a patch; `shape` is that of its result."""
        inner = self.tiling.box(at)
        lead = self.source.shape[: -len(inner)]
        frame = () if t is None else (range(t, t + 1),)
        box = (*frame, *map(range, lead[len(frame) :]), *inner)
        block = (read or self.source._read)(box)
        # its own to change
        block = np.array(block[0] if frame else block, order="C")
        return checked(self.function(block), self.shape, self.dtype, f"a patch of shape {block.shape}")

    def token(self) -> Any:
        """Of the image and the function."""
        from dask.base import tokenize

        return (self.source.__dask_tokenize__(), tokenize(self.function))


@dataclass(frozen=True, eq=False)
class Given:
    """Patches that are there, in the order of a tiling; axes (t,) (c,) z, y, x."""

    patches: tuple[LazyArray, ...]
    tiling: Tiling
    source: None = None

    def patch(self, read: Reader | None, t: int | None, at: tuple[int, int, int]) -> Block:
        """The patch, read."""
        array = self.patches[int(np.ravel_multi_index(at, [len(s) for s in self.tiling.starts]))]
        if t is None:
            return array._read(tuple(map(range, array.shape)))
        found: Block = array._read((range(t, t + 1), *map(range, array.shape[1:])))[0]
        return found

    def token(self) -> Any:
        """Of all patches."""
        return [p.__dask_tokenize__() for p in self.patches]


class AssembledArray(LazyArray):
    """An array of patches.

    Parameters
    ----------
    supply : Computed or Given
        Gives them, one at a time.
    tiling : Tiling
        Where they lie.
    lead : tuple of int
        Sizes of the axes before z, y, x.
    timed : bool
        Whether the first of these is t, the patches of which are apart.
    dtype : numpy dtype
        Of the result.
    weights : str
        ``"crop"``, ``"average"`` or ``"hann"``.
    """

    def __init__(
        self, supply: Supply, tiling: Tiling, lead: tuple[int, ...], timed: bool, dtype: DTypeLike, weights: str
    ) -> None:
        self.supply, self.tiling, self.timed, self.weights = supply, tiling, timed, weights
        self.shape, self.dtype = (*lead, *tiling.shape), np.dtype(dtype).newbyteorder("=")
        source = supply.source
        self.file_order = tuple(range(self.ndim))
        if source is not None and source.file_order is not None and source.ndim == self.ndim:
            self.file_order = source.file_order
        self.front_to_back = source is not None and source.front_to_back and source.ndim == self.ndim

    @cached_property
    def shares(self) -> tuple[list[tuple[range, Weights]], ...]:
        """As of `Tiling.shares`."""
        return self.tiling.shares(self.weights)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "shares"}

    @property
    def held(self) -> int:
        """Bytes per element: of the result, and of what it is made of."""
        source = self.supply.source
        return 2 * self.dtype.itemsize + (8 if self.weights != "crop" else 0) + (0 if source is None else source.held)

    @property
    def access(self) -> Access:
        """That of the dearest source."""
        return Access.worst(leaf.access for leaf in self.leaves())

    def leaves(self) -> Iterator[LazyArray]:
        """Those of the source, or of the patches."""
        for array in self._sources():
            yield from array.leaves()

    def prepare(self) -> None:
        """That of all."""
        for array in self._sources():
            array.prepare()

    def _sources(self) -> Sequence[LazyArray]:
        if isinstance(self.supply, Given):
            return self.supply.patches
        return [] if self.supply.source is None else [self.supply.source]

    def _read(self, region: Region) -> Block:
        return self._assembled(region, None, None)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Makes each patch once where regions follow each other: what is not used up is kept, the most in a file."""
        with temporary_file() as file:
            kept = Kept(file)
            if self.supply.source is None:
                yield lambda region: self._assembled(region, None, kept)
            else:
                with overlapping(self.supply.source) as read:
                    yield lambda region: self._assembled(region, read, kept)

    def _assembled(self, region: Region, read: Reader | None, kept: Kept | None) -> Block:
        cropped = self.weights == "crop"
        out = np.zeros([len(r) for r in region], self.dtype if cropped else np.float64)
        if not out.size:
            return out.astype(self.dtype, copy=False)
        for t, at in self._touched(region):
            key = (-1 if t is None else region[0][t], *at)
            zone = [along[i][0] for along, i in zip(self.shares, at, strict=True)]
            needed = [_part(r, z)[0] for r, z in zip(region[-3:], zone, strict=True)]
            piece = None if kept is None else kept.take(key, needed)
            if piece is None:
                patch = self.supply.patch(read, None if t is None else region[0][t], at)
                piece = Piece(patch, tuple(r.start for r in self.tiling.box(at)))
            taken = self._put(out[t] if t is not None else out, piece, region, at, cropped)
            if kept is not None:
                lead = piece.values.shape[:-3]
                every = tuple(len(r) for r in region[1 if self.timed else 0 : -3]) == lead
                full = math.prod(lead) * math.prod(map(len, zone))
                kept.keep(key, piece, region[-3:] if every else None, zone, taken, full)
        return out.astype(self.dtype, copy=False)

    def _touched(self, region: Region) -> Iterator[tuple[int | None, tuple[int, int, int]]]:
        """Frames (as indices into the region) and places of patches that a region needs, in the order of the file."""
        along = [
            [i for i, (zone, _) in enumerate(shares) if len(_part(r, zone))]
            for r, shares in zip(region[-3:], self.shares, strict=True)
        ]
        axes: list[Sequence[int]] = [range(len(region[0])) if self.timed else range(1), *along]
        names = [0, *range(self.ndim - 3, self.ndim)]
        order = self.file_order or range(self.ndim)
        first = [k for a in order for k, name in enumerate(names) if name == a and (k > 0 or self.timed)]
        loops = [*(k for k in range(4) if k not in first), *first]
        for chosen in itertools.product(*(axes[k] for k in loops)):
            t, z, y, x = (chosen[loops.index(k)] for k in range(4))
            yield t if self.timed else None, (z, y, x)

    def _put(self, out: Block, piece: Piece, region: Region, at: tuple[int, int, int], cropped: bool) -> int:
        """Put what a patch gives to a region; the number of voxels that it is."""
        here: list[Any] = []
        there: list[Any] = []
        scale: list[Weights] = []
        for axis, (r, begin) in enumerate(zip(region[-3:], piece.first, strict=True)):
            zone, share = self.shares[axis][at[axis]]
            part = _part(r, zone)
            first = (part.start - r.start) // r.step
            here.append(slice(first, first + len(part)))
            there.append(slice(part.start - begin, part[-1] + 1 - begin, r.step))
            scale.append(share[part.start - zone.start : part[-1] + 1 - zone.start : r.step])
        channels = [slice(r.start, r.stop, r.step) for r in region[1 if self.timed else 0 : -3]]
        values = piece.values[(*channels, *there)]
        if cropped:
            out[(..., *here)] = values
        else:
            _add_weighted(out[(..., *here)], values, scale)
        return values.size

    def __dask_tokenize__(self) -> Any:
        return ("chunkimg-assembled", self.supply.token(), self.tiling, self.shape, self.dtype.str, self.weights)


def _add_weighted(out: Block, values: Block, scale: Sequence[Weights]) -> None:
    """Add values, times the product of weights along z, y, x."""
    z, y, x = scale
    fits = values.dtype == np.float32 and values.dtype.isnative and values.strides[-1] == 4 and out.strides[-1] == 8
    kernel = blend_kernel() if fits and values.size >= _WORTH else None
    if kernel is None:
        out += values * (z[:, None, None] * y[:, None] * x)
        return
    for at in np.ndindex(*values.shape[:-3]):
        kernel(out[at], values[at], scale)


def _part(r: range, zone: range) -> range:
    """The indices of a range that lie in a zone."""
    first = max(0, -(-(zone.start - r.start) // r.step))
    stop = min(len(r), -(-(zone.stop - r.start) // r.step))
    return r[first : max(first, stop)]
