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

    def place(piece: _Piece) -> None:
        here, there = _parts(region, piece.at, spec.chunks)
        block = _block(spec, piece, there)
        result[here] = (0 if spec.fill is None else spec.fill) if block is None else block[there]

    each(place, _pieces(folder, spec, region))
    return out


def _parts(region: Region, at: tuple[int, ...], chunks: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a chunk's part of a region lies in the result, and in the chunk."""
    here, there = [], []
    for r, k, n in zip(region, at, chunks, strict=True):
        first = max(0, -(-(k * n - r.start) // r.step))
        stop = min(len(r), -(-((k + 1) * n - r.start) // r.step))
        start = r.start + first * r.step - k * n
        here.append(slice(first, stop))
        there.append(slice(start, start + (stop - first - 1) * r.step + 1, r.step))
    return tuple(here), tuple(there)


def _pieces(folder: str, spec: ArraySpec, region: Region) -> Iterator[_Piece]:
    if spec.shards is None:
        for at in spec.touched(region, spec.chunks):
            yield _Piece(at, f"{folder}/{spec.key(at)}")
        return
    for shard in spec.touched(region, spec.shards):
        file = f"{folder}/{spec.key(shard)}"
        index = _index(spec, file)
        inside = tuple(_within(r, k, n) for r, k, n in zip(region, shard, spec.shards, strict=True))
        for at in spec.touched(inside, spec.chunks):
            local = tuple(k % n for k, n in zip(at, spec.per_shard, strict=True))
            row = None if index is None else index[np.ravel_multi_index(local, spec.per_shard)]
            stored = row is not None and int(row[0]) != ABSENT
            yield _Piece(at, file, int(row[0]), int(row[1])) if stored and row is not None else _Piece(at, "")


def _within(r: range, at: int, size: int) -> range:
    """The part of a range that lies in a piece of `size`."""
    (here,), _ = _parts((r,), (at,), (size,))
    return r[here]


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
