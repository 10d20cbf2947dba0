"""Writing the chunks of a Zarr array: encoded in threads, put whole, each once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import FormatError
from ..lazy import Block, LazyArray, Lender, Region
from ..workers import Pending, start
from .zarr_chunk import encode, encode_index
from .zarr_put import Store
from .zarr_spec import ArraySpec

__all__ = ["ArrayWriter"]


@dataclass
class _Shard:
    """A shard whose chunks are being encoded."""

    key: str
    left: int
    parts: dict[int, tuple[bytes, ...]] = field(default_factory=dict)


class ArrayWriter:
    """Writes blocks of an array, whole chunks and shards.

    Parameters
    ----------
    store : Store
        Where they go.
    path : str
        Of the array in the store.
    spec : ArraySpec
        How they are stored. Where it has a fill value, chunks of nothing else are not stored.
    """

    def __init__(self, store: Store, path: str, spec: ArraySpec) -> None:
        self.store, self.path, self.spec = store, path, spec
        self._lock = threading.Lock()

    def write(self, region: Region, block: Block) -> Pending:
        """Begin to encode and put a block, which must cover whole units (or reach the array's end); do not change it.

        The result's `wait` returns when all is stored, or raises what went wrong.
        """
        self._require_whole(region)

        def store(at: tuple[int, ...], shard: _Shard | None) -> None:
            inside = zip(at, self.spec.chunks, region, strict=True)
            part = tuple(slice(k * n - r.start, min((k + 1) * n, r.stop) - r.start) for k, n, r in inside)
            self._do(block[part], at, shard)

        return start(lambda piece: store(*piece), self._pieces(region))

    def reads(self, source: LazyArray) -> bool:
        """Whether `write_from` reads a source as cheaply as larger blocks would: no chunk of it in two of ours."""
        whole = zip(self.spec.chunks, source.chunks or (), self.spec.shape, strict=False)
        return source.lends and all(ours % theirs == 0 or ours >= n for ours, theirs, n in whole)

    def write_from(
        self, lend: Lender, regions: Iterable[Region], progress: Callable[[int], Any] | None = None
    ) -> Pending:
        """Begin to read, encode and put regions, which cover whole units: each chunk from first to last in one worker.

        Nothing larger than a chunk is in memory, a shard as far as it is encoded.
        """
        telling = threading.Lock()

        def store(at: tuple[int, ...], shard: _Shard | None) -> None:
            inside = zip(at, self.spec.chunks, self.spec.shape, strict=True)
            part = tuple(range(k * n, min((k + 1) * n, size)) for k, n, size in inside)
            with lend(part) as block:
                self._do(block, at, shard)
            if progress is not None:
                with telling:
                    progress(block.nbytes)

        return start(lambda piece: store(*piece), itertools.chain.from_iterable(map(self._pieces, regions)))

    def _require_whole(self, region: Region) -> None:
        for r, unit, size in zip(region, self.spec.unit, self.spec.shape, strict=True):
            if r.start % unit or (r.stop % unit and r.stop != size):
                raise FormatError(f"{self.path}: block {region} cuts stored pieces of {self.spec.unit}")

    def _pieces(self, region: Region) -> Iterator[tuple[tuple[int, ...], _Shard | None]]:
        spec = self.spec
        if spec.shards is None:
            for at in spec.touched(region, spec.chunks):
                yield at, None
            return
        for at in spec.touched(region, spec.shards):
            inside = [
                range(k * n, k * n + min(n, -(-(size - k * unit) // chunk)))
                for k, n, size, unit, chunk in zip(
                    at, spec.per_shard, spec.shape, spec.shards, spec.chunks, strict=True
                )
            ]
            shard = _Shard(self._key(at), 0)
            chunks = list(itertools.product(*inside))
            shard.left = len(chunks)
            for chunk in chunks:
                yield chunk, shard

    def _key(self, at: tuple[int, ...]) -> str:
        key = self.spec.key(at)
        return f"{self.path}/{key}" if self.path else key

    def _do(self, part: Block, at: tuple[int, ...], shard: _Shard | None) -> None:
        spec = self.spec
        data: tuple[bytes, ...] = () if spec.fill is not None and _is_fill(part, spec.fill) else encode(spec, part)
        if shard is None:
            if data:
                self.store.put(self._key(at), *data)
            return
        place = int(np.ravel_multi_index(tuple(k % n for k, n in zip(at, spec.per_shard, strict=True)), spec.per_shard))
        with self._lock:
            shard.parts[place] = data
            shard.left -= 1
            last = not shard.left
        if last and any(shard.parts.values()):
            self.store.put(shard.key, *_joined(spec, shard.parts))


def _joined(spec: ArraySpec, parts: dict[int, tuple[bytes, ...]]) -> list[bytes]:
    """The bytes of a shard: its chunks in C order, and their index."""
    ordered = [parts.get(k, ()) for k in range(int(np.prod(spec.per_shard)))]
    index = encode_index(spec, [sum(map(len, p)) for p in ordered])
    chunks = [piece for chunk in ordered for piece in chunk]
    return [index, *chunks] if spec.index_first else [*chunks, index]


def _is_fill(part: Block, fill: complex) -> bool:
    """Whether all values are the fill value, bit for bit: a negative zero is no zero."""
    wanted = _bits(np.full(1, fill, part.dtype))
    # most that are not differ in the first or the last
    ends = np.array([part[(0,) * part.ndim], part[(-1,) * part.ndim]], part.dtype)
    if np.any(_bits(ends) != wanted):
        return False
    bits = _bits(part)
    return not np.any(bits != wanted if np.any(wanted) else bits)


def _bits(part: Block) -> Any:
    """Values as unsigned integers, one row each."""
    return np.ascontiguousarray(part).reshape(-1, 1).view(f"u{min(8, part.dtype.itemsize)}")
