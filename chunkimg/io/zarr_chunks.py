"""Decoding every chunk of a Zarr array, and naming those that do not decode."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ..chunks import block_shape, regions
from ..errors import FormatError
from ..lazy import Region
from .format import CheckOptions, Finding, Progress
from .zarr_array import decoding
from .zarr_tree import Documents

__all__ = ["check_chunks"]

#: what one thread decodes at a time, unless a single chunk is larger
_PIECE = 16 << 20
_THREADS = 4
#: bad chunks of one array that are named
_MOST = 50
_METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")


def check_chunks(path: str, array: Any, documents: Documents, options: CheckOptions) -> Iterator[Finding]:
    """Decode all stored chunks (or shards) of an array, in threads; chunks that are not stored are counted.

    Parameters
    ----------
    path : str
        Of the array, in the store.
    array : zarr.Array
        The array, opened by its own metadata.
    documents : Documents
        The store.
    options : CheckOptions
        Budget and progress.
    """
    inner = math.prod(array.chunks) * array.dtype.itemsize
    if inner > 4 * options.budget:
        text = f"a chunk holds {inner} bytes and is not decoded within the memory budget of {options.budget}"
        yield Finding("warning", path, text)
        return
    counts = tuple(-(-n // u) for n, u in zip(array.shape, _unit(array), strict=True))
    survey = _Survey(path, array, counts)
    stored = (_Stored(path, array, documents, at) for at in survey.stored(documents))
    threads = max(1, min(_THREADS, options.budget // (4 * max(inner, _PIECE))))
    yield from _limited(_decode_all(stored, threads, options.progress), path)
    yield from survey.findings(documents.lists)


class _Survey:
    """What chunks there are, among the keys of an array."""

    def __init__(self, path: str, array: Any, counts: tuple[int, ...]) -> None:
        self.path, self.array, self.counts = path, array, counts
        self.found = 0
        self.outside: list[str] = []
        self.strange: list[str] = []

    def stored(self, documents: Documents) -> Iterator[tuple[int, ...]]:
        """Positions of the stored chunks; all, where the store cannot list them."""
        if not documents.lists:
            yield from itertools.product(*map(range, self.counts))
            return
        for key in documents.keys(self.path):
            if key in _METADATA:
                continue
            at = self._position(key)
            if at is None:
                self.strange.append(key)
            elif any(k >= n for k, n in zip(at, self.counts, strict=True)):
                self.outside.append(key)
            else:
                self.found += 1
                yield at

    def _position(self, key: str) -> tuple[int, ...] | None:
        parts = key.replace(".", "/").split("/")
        if parts[0] == "c":
            parts = parts[1:]
        if not self.counts:
            parts = []
        if len(parts) != len(self.counts) or not all(p.isascii() and p.isdigit() for p in parts):
            return None
        at = tuple(int(p) for p in parts)
        return at if self.array.metadata.encode_chunk_key(at) == key else None

    def findings(self, lists: bool) -> Iterator[Finding]:
        """What the survey showed, when all keys were seen."""
        path = self.path
        if self.outside:
            text = f"{len(self.outside)} stored chunks lie outside the array, e.g. {self.outside[0]}"
            yield Finding("warning", path, text)
        if self.strange:
            text = f"{len(self.strange)} keys are neither metadata nor chunks, e.g. {self.strange[0]}"
            yield Finding("note", path, text)
        total = math.prod(self.counts)
        if not lists or self.found == total:
            return
        if self.array.fill_value is None:
            # Zarr v2 without a fill value: every chunk holds something
            text = f"{total - self.found} of {total} chunks are missing, and nothing says what they held"
            yield Finding("error", path, text)
            return
        # writers, zarr-python among them, do not store chunks that hold nothing else
        fill = f"what is not stored is read as the fill value {self.array.fill_value}"
        if self.found == 0 and self.array.ndim > 1:
            yield Finding("warning", path, f"none of its {total} chunks is stored; {fill}")
        else:
            yield Finding("note", path, f"{total - self.found} of {total} chunks are not stored; {fill}")


def _unit(array: Any) -> tuple[int, ...]:
    """What is stored under one key."""
    return tuple(array.shards or array.chunks)


@dataclass(frozen=True)
class _Stored:
    """A chunk, or a shard, that is there."""

    path: str
    array: Any
    documents: Documents
    at: tuple[int, ...]

    @property
    def key(self) -> str:
        """Where it is stored."""
        return f"{self.path}/{self.array.metadata.encode_chunk_key(self.at)}".lstrip("/")

    @property
    def region(self) -> Region:
        """Its part of the array."""
        unit, shape = _unit(self.array), self.array.shape
        return tuple(range(k * u, min((k + 1) * u, n)) for k, u, n in zip(self.at, unit, shape, strict=True))

    @property
    def nbytes(self) -> int:
        """Bytes decoded."""
        return math.prod(map(len, self.region)) * int(self.array.dtype.itemsize)

    def check(self) -> Finding | None:
        """Decode it, a shard piece by piece."""
        problem = _cut_blosc(self.array, self.documents, self.key)
        if problem is not None:
            return Finding("error", self.key, f"the chunk cannot be decoded: {problem}")
        for part in _parts(self.array, self.region, _PIECE):
            problem = _problem(self.array, part)
            if problem is not None:
                what = "chunk" if self.array.shards is None else "shard"
                text = self._bad_inside() or f"the {what} cannot be decoded: {problem}"
                return Finding("error", self.key, text)
        return None

    def _bad_inside(self) -> str | None:
        """Which chunks of a shard are bad."""
        if self.array.shards is None:
            return None
        parts = list(_parts(self.array, self.region, 0))
        bad = [(p, problem) for p in parts if (problem := _problem(self.array, p)) is not None]
        if not bad:
            return None
        first = ", ".join(f"{r.start}:{r.stop}" for r in bad[0][0])
        return f"{len(bad)} of {len(parts)} chunks of the shard cannot be decoded, the first at [{first}]: {bad[0][1]}"


def _decode_all(stored: Iterable[_Stored], threads: int, progress: Progress | None) -> Iterator[Finding]:
    with ThreadPoolExecutor(threads, thread_name_prefix="chunkimg-check") as pool:
        waiting: deque[tuple[_Stored, Future[Finding | None]]] = deque()

        def next_done() -> Finding | None:
            chunk, future = waiting.popleft()
            finding = future.result()
            if progress is not None:
                progress(chunk.nbytes)
            return finding

        for chunk in stored:
            waiting.append((chunk, pool.submit(chunk.check)))
            if len(waiting) > 2 * threads and (finding := next_done()) is not None:
                yield finding
        while waiting:
            if (finding := next_done()) is not None:
                yield finding


def _cut_blosc(array: Any, documents: Documents, key: str) -> str | None:
    """Whether the sizes in the header of a blosc chunk are not those of the chunk, which blosc itself overlooks."""
    codecs = array.compressors
    if array.shards is not None or not codecs or type(codecs[-1]).__name__ not in ("BloscCodec", "Blosc"):
        return None
    try:
        head, size = documents.head(key, 16)
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    if not size:
        return None
    # README_CHUNK_FORMAT of c-blosc: nbytes and cbytes at bytes 4 and 12
    nbytes, cbytes = (int.from_bytes(head[k : k + 4], "little") for k in (4, 12))
    expected = math.prod(array.chunks) * array.dtype.itemsize
    if len(head) < 16 or cbytes != size:
        return f"it has {size} bytes, its blosc header says {cbytes}"
    # filters and other codecs before it may change the size
    plain = len(codecs) == 1 and not array.filters and array.dtype.kind in "biufc"
    return None if nbytes == expected or not plain else f"it holds {nbytes} bytes decoded, {expected} are expected"


def _parts(array: Any, region: Region, target: int) -> Iterator[Region]:
    """A region cut into whole chunks, of at most `target` bytes where that is possible."""
    shape = [len(r) for r in region]
    block = block_shape(shape, array.dtype.itemsize, unit=array.chunks, target=target)
    for part in regions(shape, block):
        yield tuple(range(r.start + p.start, r.start + p.stop) for r, p in zip(region, part, strict=True))


def _problem(array: Any, region: Region) -> str | None:
    try:
        with decoding(array.path):
            array[tuple(slice(r.start, r.stop) for r in region)]
    except FormatError as error:
        cause = error.__cause__
        return f"{type(cause).__name__}: {cause}" if cause is not None else str(error)
    except (OSError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _limited(findings: Iterable[Finding], path: str) -> Iterator[Finding]:
    """The first findings of many."""
    more = 0
    for count, finding in enumerate(findings):
        if count < _MOST:
            yield finding
        else:
            more += 1
    if more:
        yield Finding("error", path, f"{more} more chunks cannot be decoded")
