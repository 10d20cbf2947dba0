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

    def read(fd: int, size: int) -> NDArray[np.uint64]:
        count = min(size, spec.index_bytes)
        return decode_index(spec, _pread(fd, count, 0 if spec.index_first else size - count), size)

    return _from(file, read)


def _block(spec: ArraySpec, piece: _Piece, wanted: tuple[slice, ...]) -> Block | None:
    """The voxels of a chunk, of which a part is wanted, or None if it is not stored."""

    def read(fd: int, size: int) -> Block:
        count = size if piece.size is None else piece.size
        # no codec makes a chunk much larger than it is
        if count > 2 * spec.chunk_bytes + (1 << 16):
            raise BadChunkError(f"it has {count} bytes, where {spec.chunk_bytes} bytes are compressed")
        return decode(spec, _pread(fd, count, piece.start), wanted)

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
