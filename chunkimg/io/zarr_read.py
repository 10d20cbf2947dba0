"""Regions of Zarr arrays in local folders: chunks read and decoded in threads, each once, straight into the result."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from ..lazy import Block, Region
from ..workers import each
from .zarr_chunk import ABSENT, BadChunkError, decode, decode_index
from .zarr_spec import ArraySpec

__all__ = ["read_region"]

Found = TypeVar("Found")

#: a pipe in the place of a chunk is not waited for
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


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
        block = _block(spec, piece)
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

    def read(fd: int, size: int) -> NDArray[np.uint64]:
        count = min(size, spec.index_bytes)
        return decode_index(spec, _pread(fd, count, 0 if spec.index_first else size - count), size)

    return _from(file, read)


def _block(spec: ArraySpec, piece: _Piece) -> Block | None:
    """The voxels of a chunk, or None if it is not stored."""

    def read(fd: int, size: int) -> Block:
        count = size if piece.size is None else piece.size
        # no codec makes a chunk much larger than it is
        if count > 2 * spec.chunk_bytes + (1 << 16):
            raise BadChunkError(f"it has {count} bytes, where {spec.chunk_bytes} bytes are compressed")
        return decode(spec, _pread(fd, count, piece.start))

    return _from(piece.file, read) if piece.file else None


def _from(file: str, read: Callable[[int, int], Found]) -> Found | None:
    """What is read of a file by its descriptor and size, or None if there is none; errors name the file."""
    try:
        fd = os.open(file, _READ)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(file):
            what = os.readlink(file)
            raise FormatError(f"{file}: a link to {what}, which is not there; fetch what it stands for") from None
        return None
    try:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode):
            raise BadChunkError("it is no file")
        return read(fd, state.st_size)
    except BadChunkError as error:
        raise FormatError(f"{file}: the chunk is damaged: {error}") from error
    except OSError as error:
        error.filename = error.filename or file
        raise
    finally:
        os.close(fd)


def _pread(fd: int, size: int, start: int) -> bytes:
    data = os.pread(fd, size, start)
    while len(data) < size and (more := os.pread(fd, size - len(data), start + len(data))):
        data += more
    if len(data) < size:
        raise BadChunkError("it was cut short while it was read")
    return data
