"""Regions of Zarr arrays in local folders: chunks read and decoded in threads, each once, straight into the result."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from ..lazy import Block, Region
from ..workers import each
from .zarr_chunk import ABSENT, BadChunkError, decode, decode_index
from .zarr_spec import ArraySpec

__all__ = ["read_region"]

_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class _Piece:
    """A stored chunk: its position, its file, and where in that it lies (None: all of it)."""

    at: tuple[int, ...]
    file: str
    start: int = 0
    size: int | None = None


def read_region(folder: str, spec: ArraySpec, region: Region, out: Block | None = None) -> Block:
    """Voxels of a region, in native byte order.

    Parameters
    ----------
    folder : str
        Of the array.
    spec : ArraySpec
        How it is stored.
    region : tuple of range
        With positive steps. Chunks that a step passes over are not read.
    out : ndarray, optional
        Where to put them, of the region's shape, in the array's type.

    Raises
    ------
    FormatError
        If a chunk is damaged; the message names its file.
    """
    if out is None:
        out = np.empty([len(r) for r in region], spec.dtype.newbyteorder("="))
    result = out

    parts = [{k: _part(r, k, n) for (k,) in spec.touched((r,), (n,))} for r, n in zip(region, spec.chunks, strict=True)]

    def place(piece: _Piece) -> None:
        cuts = [along[k] for along, k in zip(parts, piece.at, strict=True)]
        here, there = tuple([here for here, _ in cuts]), tuple([there for _, there in cuts])
        block = _block(spec, piece, there)
        result[here] = (0 if spec.fill is None else spec.fill) if block is None else block[there]

    each(place, _pieces(folder, spec, region))
    return out


def _part(r: range, k: int, n: int) -> tuple[slice, slice]:
    """Where the part of a range that is in the k-th chunk of size n lies in the result, and in the chunk."""
    first = max(0, -(-(k * n - r.start) // r.step))
    stop = min(len(r), -(-((k + 1) * n - r.start) // r.step))
    start = r.start + first * r.step - k * n
    return slice(first, stop), slice(start, start + (stop - first - 1) * r.step + 1, r.step)


def _pieces(folder: str, spec: ArraySpec, region: Region) -> Iterator[_Piece]:
    if spec.shards is None:
        for at in spec.touched(region, spec.chunks):
            yield _Piece(at, f"{folder}/{spec.key(at)}")
        return
    per_shard = spec.per_shard
    for shard in spec.touched(region, spec.shards):
        file = f"{folder}/{spec.key(shard)}"
        index = _index(spec, file)
        inside = tuple(r[_part(r, k, n)[0]] for r, k, n in zip(region, shard, spec.shards, strict=True))
        for at in spec.touched(inside, spec.chunks):
            place = 0
            for k, n in zip(at, per_shard, strict=True):
                place = place * n + k % n
            start, size = (ABSENT, 0) if index is None else index[place].tolist()
            yield _Piece(at, "") if start == ABSENT else _Piece(at, file, start, size)


def _index(spec: ArraySpec, file: str) -> NDArray[np.uint64] | None:
    """The index of a shard, or None if the shard is not stored."""
    try:
        fd = os.open(file, _READ)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        size = os.fstat(fd).st_size
        count = spec.index_bytes
        data = _pread(fd, min(count, size), 0 if spec.index_first else max(0, size - count))
        with _Named(file):
            return decode_index(spec, data, size)
    finally:
        os.close(fd)


def _block(spec: ArraySpec, piece: _Piece, wanted: tuple[slice, ...]) -> Block | None:
    """The voxels of a chunk, of which a part is wanted, or None if it is not stored."""
    data = _bytes(spec, piece) if piece.file else None
    if data is None:
        return None
    with _Named(piece.file):
        return decode(spec, data, wanted)


def _bytes(spec: ArraySpec, piece: _Piece) -> bytes | None:
    try:
        fd = os.open(piece.file, _READ)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        size = os.fstat(fd).st_size if piece.size is None else piece.size
        # no codec makes a chunk much larger than it is
        if size > 2 * spec.chunk_bytes + (1 << 16):
            raise FormatError(f"{piece.file}: a chunk of {size} bytes, where {spec.chunk_bytes} bytes are compressed")
        data = _pread(fd, size, piece.start)
    finally:
        os.close(fd)
    if len(data) < size:
        raise FormatError(f"{piece.file}: cut short while it was read")
    return data


def _pread(fd: int, size: int, start: int) -> bytes:
    data = os.pread(fd, size, start)
    while len(data) < size and (more := os.pread(fd, size - len(data), start + len(data))):
        data += more
    return data


class _Named:
    """Says which file a bad chunk is in."""

    def __init__(self, file: str) -> None:
        self._file = file

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, BadChunkError):
            raise FormatError(f"{self._file}: the chunk is damaged: {error}") from error
