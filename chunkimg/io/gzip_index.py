"""The index of a gzip file: checkpoints from which it can be decoded, and the file that keeps them.

A checkpoint is a bit of the compressed file at which a deflate block starts, the byte of the content that it decodes
to, and the window: the 32 KiB of content before it, as far as later data refers to them. Between one checkpoint and
the next lies an interval, whose content has a checksum here; what is decoded is compared with it, always.

Layout, little-endian: header, windows (raw deflate, one behind the other), table of checkpoints. Header and table
share a checksum, each window has its own, so that a reader takes the table and the windows that it needs.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..open_file import OpenFile
from .source import FileSource

__all__ = ["MAGIC", "WINDOW", "BadIndexError", "GzipIndex", "IndexWriter", "fingerprint", "load", "unpacked"]

MAGIC = b"\x93CIGZIX\n"
_VERSION = 1
#: magic, version, checksum; size and start of the gzip stream, its fingerprint; bytes of content; table: place, rows
_HEADER = struct.Struct("<8sII QQ32s Q QQ")
#: deflate refers to at most this many bytes back
WINDOW = 32 << 10
#: bytes at the head and at the tail of the compressed data that identify a file
_SAMPLE = 16 << 10
_ROW = np.dtype(
    [
        ("bit", "<u8"),
        ("content", "<u8"),
        ("window_at", "<u8"),
        ("window_size", "<u4"),
        ("window_crc", "<u4"),
        ("crc", "<u4"),
    ]
)


class BadIndexError(Exception):
    """An index that is of another file, damaged, or proven wrong; never shown to users, who see a warning."""


@dataclass(frozen=True)
class GzipIndex:
    """Checkpoints of a gzip stream.

    Attributes
    ----------
    path : str
        File that keeps it.
    size : int
        Bytes that it takes.
    length : int
        Bytes of content that it covers.
    bounds : ndarray of int64
        Where intervals start in the content, and where the last one ends.
    inside : bool
        Whether that file is the gzip file itself, see `gzip_table`.
    """

    path: str
    size: int
    length: int
    bounds: NDArray[np.int64]
    _table: NDArray[Any] = field(repr=False)
    inside: bool = False

    def __len__(self) -> int:
        return len(self._table)

    def bits(self, k: int) -> tuple[int, int | None]:
        """Bit of the file where an interval starts, and the byte where its compressed data ends, if that is known."""
        stop = -(-int(self._table["bit"][k + 1]) // 8) if k + 1 < len(self) else None
        return int(self._table["bit"][k]), stop

    def cost(self) -> str:
        """What a region costs, for people."""
        steps = np.diff(self.bounds) / 2**20
        most = f", at most {steps.max():.1f} MiB" if steps.max() > 2 * steps.mean() else ""
        return (
            f"a region costs decoding the pieces of the stream that it touches, of {steps.mean():.1f} MiB each{most}; "
            f"index: {'in the file itself' if self.inside else self.path} ({self.size / 2**20:.2f} MiB)"
        )

    def length_of(self, k: int) -> int:
        """Bytes of content of an interval."""
        return int(self.bounds[k + 1] - self.bounds[k])

    def crc(self, k: int) -> int:
        """Checksum of the content of an interval."""
        return int(self._table["crc"][k])

    def touched(self, starts: NDArray[np.int64], size: int) -> list[int]:
        """Intervals that hold any of the spans of `size` bytes from `starts` on, in order."""
        first = np.searchsorted(self.bounds, starts, "right") - 1
        last = np.searchsorted(self.bounds, starts + (size - 1), "right") - 1
        marks = np.zeros(len(self) + 1, np.int64)
        np.add.at(marks, first, 1)
        np.add.at(marks, last + 1, -1)
        found: list[int] = np.flatnonzero(np.cumsum(marks[:-1])).tolist()
        return found

    def window(self, fd: int, k: int) -> bytes:
        """The window of a checkpoint, from the open index file; empty where nothing refers back.

        Raises
        ------
        BadIndexError
            If it is damaged.
        """
        row = self._table[k]
        size = int(row["window_size"])
        if not size:
            return b""
        packed = os.pread(fd, size, int(row["window_at"]))
        if len(packed) != size or zlib.crc32(packed) != int(row["window_crc"]):
            raise BadIndexError(f"window {k} is damaged")
        return unpacked(packed)


def fingerprint(fd: int, size: int, start: int) -> bytes:
    """What identifies a gzip stream, wherever the file lies and whenever it was copied there.

    The tail of a gzip member is the checksum of its content. A change between head and tail that keeps size and both
    of them is seen by the checksum of the interval when that is decoded.
    """
    import hashlib

    head = os.pread(fd, _SAMPLE, start)
    tail = os.pread(fd, _SAMPLE, max(start, size - _SAMPLE))
    return hashlib.blake2b(b"%d %d " % (size, start) + head + tail, digest_size=32).digest()


def load(path: str, source: FileSource, found: bytes) -> GzipIndex | None:
    """Read an index; None if there is no such file.

    Parameters
    ----------
    path : str
        File of the index.
    source : FileSource
        The gzip file.
    found : bytes
        Its fingerprint now.

    Raises
    ------
    BadIndexError
        If it is of another file, or damaged.
    """
    try:
        with opened(path) as fd:
            header, table = _read(fd)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BadIndexError(f"it cannot be read ({error.strerror})") from error
    size, start, mark, length, table_at = header[3:8]
    if (size, start, mark) != (source.size, source.start, found):
        raise BadIndexError("it is stale: the gzip file is not the one that it was made of")
    bounds = np.append(table["content"], np.uint64(length)).astype(np.int64)
    if not len(table) or bounds[0] != 0 or np.any(np.diff(bounds) <= 0):
        raise BadIndexError("its checkpoints are out of order")
    return GzipIndex(path, table_at + table.nbytes, length, bounds, table)


def _read(fd: int) -> tuple[Any, NDArray[Any]]:
    raw = os.pread(fd, _HEADER.size, 0)
    if len(raw) < _HEADER.size or raw[:8] != MAGIC:
        raise BadIndexError("it is no index of chunkimg, or damaged")
    header = _HEADER.unpack(raw)
    version, checksum, table_at, rows = header[1], header[2], header[7], header[8]
    if version != _VERSION:
        raise BadIndexError(f"it has version {version}, this is version {_VERSION}")
    size = os.fstat(fd).st_size
    if table_at + rows * _ROW.itemsize != size:
        raise BadIndexError(f"it is damaged: {size} bytes, its header says {table_at + rows * _ROW.itemsize}")
    packed = os.pread(fd, rows * _ROW.itemsize, table_at)
    if len(packed) != rows * _ROW.itemsize or _checksum(raw, packed) != checksum:
        raise BadIndexError("it is damaged: its checksum is wrong")
    return header, np.frombuffer(packed, _ROW)


def _checksum(header: bytes, table: bytes) -> int:
    return zlib.crc32(table, zlib.crc32(header[16:], zlib.crc32(header[:12])))


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A file descriptor to read an index through."""
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        yield fd
    finally:
        os.close(fd)


class IndexWriter:
    """Writes an index into an empty file, checkpoint by checkpoint.

    Parameters
    ----------
    file : OpenFile
        The file.
    """

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self._at = _HEADER.size
        self._rows: list[tuple[int, ...]] = []

    def add(self, bit: int, content: int, window: bytes, crc: int) -> None:
        """Append a checkpoint; the window is what `packed_window` makes of it, or empty."""
        self._rows.append((bit, content, self._at, len(window), zlib.crc32(window), crc))
        self._file.write(window, self._at)
        self._at += len(window)

    def finish(self, source: FileSource, mark: bytes, length: int) -> None:
        """Write table and header; until then the file is no index."""
        table = np.array(self._rows, _ROW).tobytes()
        self._file.write(table, self._at)
        fields = (source.size, source.start, mark, length, self._at, len(self._rows))
        bare = _HEADER.pack(MAGIC, _VERSION, 0, *fields)
        self._file.write(_HEADER.pack(MAGIC, _VERSION, _checksum(bare, table), *fields), 0)


def packed(window: bytes) -> bytes:
    """A window as it is stored."""
    from isal import isal_zlib

    compressor = isal_zlib.compressobj(2, isal_zlib.DEFLATED, -15)
    return bytes(compressor.compress(window)) + bytes(compressor.flush())


def unpacked(data: bytes) -> bytes:
    """The window that `packed` stored."""
    from isal import isal_zlib

    try:
        window = bytes(isal_zlib.decompressobj(-15).decompress(data, WINDOW + 1))
    except isal_zlib.error as error:  # type: ignore[misc]
        raise BadIndexError(f"a window cannot be decoded ({error})") from error
    if len(window) != WINDOW:
        raise BadIndexError(f"a window has {len(window)} bytes")
    return window
