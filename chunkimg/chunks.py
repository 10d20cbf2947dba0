"""Chunk planning: the one place that decides shapes of stored chunks, shards, Dask blocks and slabs.

Sizes are uncompressed. All functions are deterministic: a plan depends on the image and the budget, never on the
machine, so that every worker and every restart makes the same one.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .errors import FormatError
from .lazy import LazyArray, Region

__all__ = [
    "BUDGET",
    "StorePlan",
    "block_shape",
    "dask_block_bytes",
    "explicit_chunks",
    "level_factors",
    "plan_store",
    "regions",
    "slab_bytes",
]

#: default memory budget in bytes for what a job holds of an image at once
BUDGET = 256 << 20
#: arrays of slab size alive at once in a copy: the slab, its decoded source, and codec buffers
_ALIVE = 6
#: blocks of a Dask graph alive at once on one machine: two threads, each with operands, a wider result, and one ahead
_DASK_ALIVE = 8
_CHUNK_BYTES = 2 << 20
#: chunks of whole frames smaller than this hold several frames: what a chunk costs is more than what it holds
_TINY_FRAME = 64 << 10
_MANY_CHUNKS = 10_000
#: relative difference of voxel sizes that are stored in single precision
_ROUNDING = 1e-5
_SHARD_CHUNKS = 64


@dataclass(frozen=True)
class StorePlan:
    """Shape of the pieces in which an array is stored.

    Attributes
    ----------
    chunks : tuple of int
        What is compressed as one piece.
    shards : tuple of int or None
        What is written as one object, a multiple of `chunks`; None for one object per chunk.
    """

    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None = None

    @property
    def unit(self) -> tuple[int, ...]:
        """What one task must write whole."""
        return self.shards or self.chunks


def slab_bytes(budget: int = BUDGET, source: LazyArray | None = None) -> int:
    """Bytes of one slab of a copy that stays within `budget`, by what its source holds while it is read."""
    size = max(1 << 20, budget // _ALIVE)
    if source is None or not source.dtype.itemsize:
        return size
    return size * 2 * source.dtype.itemsize // (source.dtype.itemsize + source.held)


def dask_block_bytes(budget: int = BUDGET) -> int:
    """Bytes of one Dask block, so that a few of them, and results in a wider type, stay within `budget`."""
    return max(1 << 20, budget // _DASK_ALIVE)


def plan_store(
    dims: Sequence[str],
    shape: Sequence[int],
    itemsize: int,
    spacing: Mapping[str, float] | None = None,
    *,
    chunks: Mapping[str, int] | None = None,
    front_to_back: bool = False,
    budget: int = BUDGET,
) -> StorePlan:
    """Chunks and shards of an array.

    Chunks are 1 along c, and along t unless whole frames are tiny (below 64 KiB); in space powers of two,
    near-isotropic in physical units, of 1 to 2 MiB. Above 10⁴ chunks they are gathered into shards. For a source that
    can only be read front to back the depth of chunk and shard is limited so that a slab of whole shards fits the
    budget.

    Parameters
    ----------
    dims, shape : sequence
        Names and sizes.
    itemsize : int
        Bytes per voxel.
    spacing : mapping, optional
        Voxel size by spatial dim.
    chunks : mapping, optional
        Chunk sizes asked for, by dim; the others are planned.
    front_to_back : bool
        Whether the source is sequential.
    budget : int
        Memory budget in bytes.
    """
    sizes = dict(zip(dims, shape, strict=True))
    asked = dict(chunks or {})
    chunk = {d: asked.get(d, 1) for d in dims}
    free = [d for d in ("x", "y", "z") if d in sizes and d not in asked]
    step = {d: abs((spacing or {}).get(d, 1.0)) for d in free}
    limit = {d: _power_of_two_above(sizes[d]) for d in free}
    if front_to_back and "z" in free:
        plane = itemsize * math.prod(sizes[d] for d in ("x", "y") if d in sizes)
        limit["z"] = min(limit["z"], _power_of_two_below(max(1, slab_bytes(budget) // plane)))
    while True:
        grow = [d for d in free if chunk[d] < limit[d]]
        if not grow or itemsize * math.prod(chunk.values()) * 2 > _CHUNK_BYTES:
            break
        # sizes that differ by the rounding of a header are the same
        least = min(chunk[d] * step[d] for d in grow) * (1 + _ROUNDING)
        chunk[next(d for d in grow if chunk[d] * step[d] <= least)] *= 2
    if "t" in sizes and not asked:
        frame = itemsize * math.prod(min(chunk[d], sizes[d]) for d in dims)
        while frame * chunk["t"] * 2 <= _TINY_FRAME and chunk["t"] < sizes["t"]:
            chunk["t"] *= 2
    chunk = {d: min(c, sizes[d]) if d in asked else c for d, c in chunk.items()}
    return StorePlan(tuple(chunk.values()), _plan_shards(dims, sizes, chunk, itemsize, front_to_back, budget))


def _plan_shards(
    dims: Sequence[str],
    sizes: Mapping[str, int],
    chunk: Mapping[str, int],
    itemsize: int,
    front_to_back: bool,
    budget: int,
) -> tuple[int, ...] | None:
    counts = {d: -(-sizes[d] // chunk[d]) for d in dims}
    total = math.prod(counts.values())
    if total <= _MANY_CHUNKS:
        return None
    factor = dict.fromkeys(dims, 1)
    target = min(total, max(_SHARD_CHUNKS, -(-total // _MANY_CHUNKS)))
    row = itemsize * math.prod(sizes[d] for d in ("x", "y"))
    deepest = max(1, slab_bytes(budget) // (row * chunk["z"])) if front_to_back else counts["z"]
    while math.prod(factor.values()) < target:
        size = itemsize * math.prod(chunk[d] * factor[d] for d in dims)
        grow = [
            d
            for d in ("x", "y", "z", "t", "c")
            if d in sizes
            and factor[d] < counts[d]
            and not (d == "z" and factor[d] * 2 > deepest)
            and not (d in "tc" and front_to_back)
        ]
        if not grow or size * 2 > slab_bytes(budget):
            break
        spatial = [d for d in grow if d in "xyz"] or grow
        narrowest = min(spatial, key=lambda d: factor[d])
        factor[narrowest] *= 2
    if math.prod(factor.values()) == 1:
        return None
    return tuple(chunk[d] * factor[d] for d in dims)


def explicit_chunks(asked: str | int | Sequence[int] | Mapping[str, int], dims: Sequence[str]) -> dict[str, int]:
    """Chunk sizes by dim as a user gives them.

    Parameters
    ----------
    asked : str, int, sequence or mapping
        One number for z, y and x; numbers for the last dims, in the order of the image, at least three; or sizes by
        dim. As text: ``"128"``, ``"64,128,128"``, ``"z=64,x=256"``.
    dims : sequence of str
        Dims of the image.

    Raises
    ------
    FormatError
        If it cannot be read so.
    """
    try:
        out = {str(d): operator.index(n) for d, n in _chunk_pairs(asked, dims)}
    except (ValueError, TypeError):
        out = {}
    if not out or not set(out) <= set(dims) or min(out.values()) < 1:
        raise FormatError(
            f"chunk sizes {asked!r} were not understood for dims {', '.join(dims)}: "
            "give one number (z, y and x), three (z,y,x), or names as in z=64,y=128,x=128"
        )
    return out


def _chunk_pairs(asked: str | int | Sequence[int] | Mapping[str, int], dims: Sequence[str]) -> list[tuple[str, int]]:
    if isinstance(asked, Mapping):
        return list(asked.items())
    if isinstance(asked, int):
        return [(d, asked) for d in ("z", "y", "x")]
    if not isinstance(asked, str):
        if len(asked) < 3:
            raise ValueError("fewer sizes than z, y, x")
        return list(zip(list(dims)[-len(asked) :], asked, strict=True))
    parts = [p.strip() for p in asked.split(",")]
    if all("=" in p for p in parts):
        named = [p.split("=") for p in parts]
        return [(d.strip(), int(n)) for d, n in named]
    numbers = [int(p) for p in parts]
    return _chunk_pairs(numbers[0] if len(numbers) == 1 else numbers, dims)


def block_shape(
    shape: Sequence[int],
    itemsize: int,
    *,
    unit: Sequence[int] | None = None,
    order: Sequence[int] | None = None,
    front_to_back: bool = False,
    target: int,
) -> tuple[int, ...]:
    """Shape of slabs or Dask blocks: whole multiples of `unit`, at most `target` bytes where that is possible.

    Blocks grow along the fastest axis of `order` first, so that each is as contiguous in the source as can be. Where
    front-to-back blocks of whole units would exceed twice the target, units are cut.

    Parameters
    ----------
    shape : sequence of int
        Sizes of the array.
    itemsize : int
        Bytes per element.
    unit : sequence of int, optional
        What a block may not cut (shards); ones by default.
    order : sequence of int, optional
        Axes from slowest to fastest; C order by default.
    front_to_back : bool
        Whether blocks must be contiguous runs of the source, so that reading them in order never goes back.
    target : int
        Bytes.
    """
    axes = list(order) if order is not None else list(range(len(shape)))
    block = [min(u, n) for u, n in zip(unit or [1] * len(shape), shape, strict=True)]
    if front_to_back:
        # all that is faster than the slowest axis on which a unit is thicker than one must be whole
        thick = next((pos for pos, a in enumerate(axes) if block[a] > 1), len(axes))
        for a in axes[thick + 1 :]:
            block[a] = shape[a]
        if itemsize * math.prod(block) > 2 * target:
            # memory comes before decoding a unit only once
            block = [1] * len(shape)
    for a in reversed(axes):
        others = itemsize * math.prod(b for k, b in enumerate(block) if k != a)
        most = max(1, target // max(1, others * block[a])) * block[a]
        block[a] = shape[a] if most >= shape[a] else max(block[a], most)
        if block[a] < shape[a]:
            break
    return tuple(block)


def regions(
    shape: Sequence[int],
    block: Sequence[int],
    order: Sequence[int] | None = None,
    first: int = 0,
    stop: int | None = None,
) -> Iterator[Region]:
    """Cut an array into blocks, in the order of `order` (axes from slowest to fastest); some from `first` to `stop`."""
    axes = list(order) if order is not None else list(range(len(shape)))
    starts = [range(0, shape[a], block[a]) for a in axes]
    for corner in itertools.islice(itertools.product(*starts), first, stop):
        out: list[range] = [range(0)] * len(shape)
        for a, at in zip(axes, corner, strict=True):
            out[a] = range(at, min(at + block[a], shape[a]))
        yield tuple(out)


def level_factors(
    dims: Sequence[str], shape: Sequence[int], spacing: Mapping[str, float], smallest: int = 64
) -> list[dict[str, int]]:
    """Downsampling factors from each pyramid level to the next.

    An axis is halved when its voxels are not yet much coarser than the finest (so that levels tend to isotropic
    voxels), until no spatial size exceeds `smallest`.
    """
    size = {d: n for d, n in zip(dims, shape, strict=True) if d in ("x", "y", "z")}
    step = {d: abs(spacing.get(d, 1.0)) for d in size}
    out = []
    while max(size.values()) > smallest:
        can = [d for d in size if size[d] > 1]
        finest = min(step[d] for d in can)
        factors = {d: 2 if d in can and step[d] < 1.5 * finest else 1 for d in size}
        if all(f == 1 for f in factors.values()):
            break
        size = {d: n // factors[d] for d, n in size.items()}
        step = {d: s * factors[d] for d, s in step.items()}
        out.append(factors)
    return out


def _power_of_two_above(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()


def _power_of_two_below(n: int) -> int:
    return 1 << (n.bit_length() - 1)
