"""The table of pieces inside a gzip file, by which it is read at any place without an index file.

A stream that `gzip_write` writes consists of pieces of equal content that do not refer to each other, in one gzip
member. Behind it follow empty members, whose extra fields (RFC 1952, section 2.3.1.1) hold the compressed size and the
checksum of each piece; the last one, of fixed size, says where that table starts. To every other reader these members
are nothing. docs/gzip.md has the layout.

Nothing here trusts a table: where anything in it does not fit the stream, there is none. What is then decoded by it is
compared with its checksums.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .gzip_index import GzipIndex
from .source import FileSource

__all__ = ["HEAD", "LAST_BLOCK", "MOST_ROWS", "ROW", "PieceTable", "index_inside", "packed_table", "read_table"]

#: header of the member of content: deflate, no optional fields, no time, unknown system
HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
#: an empty deflate block, the last one
LAST_BLOCK = b"\x03\0"
#: of each piece: bytes in the file, checksum of the content
ROW = np.dtype([("size", "<u4"), ("crc", "<u4")])
#: more pieces (2 TiB of content) get no table, and none is read
MOST_ROWS = 1 << 23
#: header of a member with an extra field that has one subfield "CI": size of the field, size of the subfield
_EXTRA = struct.Struct("<10sH2sH")
_EXTRA_HEAD, _ID = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff", b"CI"
#: checksum and length of the content of a member
_TRAILER = 8
_NOTHING = LAST_BLOCK + bytes(_TRAILER)
#: rows that fit one extra field
_ROWS_EACH = (0xFFFF - 4) // ROW.itemsize
#: magic, place of the table, rows, bytes of content, bytes of content of each piece but the last, checksum of the rows;
#: behind it stands its own checksum
_FOOT = struct.Struct("<8sQQQII")
_FOOT_MAGIC = b"CITABLE1"
_OVERHEAD = _EXTRA.size + len(_NOTHING)
_FOOT_SIZE = _OVERHEAD + _FOOT.size + 4
#: bytes around the pieces
_AROUND = len(HEAD) + len(_NOTHING)
#: no piece is shorter: something, and what ends it at a byte
_LEAST = 4

Read = Callable[[int, int], bytes]


@dataclass(frozen=True)
class PieceTable:
    """The pieces of a gzip stream.

    Attributes
    ----------
    rows : ndarray of ROW
        Compressed size and checksum of each.
    content : int
        Bytes of content in all.
    step : int
        Bytes of content of each piece but the last, which has from one byte to as many.
    """

    rows: NDArray[Any]
    content: int
    step: int


def packed_table(table: PieceTable) -> Iterator[bytes]:
    """The empty members that follow the member of content."""
    raw = table.rows.tobytes()
    each = _ROWS_EACH * ROW.itemsize
    for at in range(0, len(raw), each):
        yield _empty_member(raw[at : at + each])
    place = _end(table.rows)
    foot = _FOOT.pack(_FOOT_MAGIC, place, len(table.rows), table.content, table.step, zlib.crc32(raw))
    yield _empty_member(foot + struct.pack("<I", zlib.crc32(foot)))


def read_table(read: Read, size: int) -> PieceTable | None:
    """The table of a gzip stream, if it has one that fits: two reads, one where there is none.

    Parameters
    ----------
    read : callable
        Takes a position and a number of bytes; the bytes of the stream there, fewer at its end.
    size : int
        Bytes of the stream.
    """
    if size < _FOOT_SIZE:
        return None
    last = read(size - _FOOT_SIZE, _FOOT_SIZE)
    foot, own = last[_EXTRA.size : -len(_NOTHING) - 4], last[-len(_NOTHING) - 4 : -len(_NOTHING)]
    if (
        len(last) != _FOOT_SIZE
        or last != _empty_member(foot + own)
        or zlib.crc32(foot) != int.from_bytes(own, "little")
    ):
        return None
    magic, place, count, content, step, checksum = _FOOT.unpack(foot)
    if magic != _FOOT_MAGIC or not 0 < count <= MOST_ROWS or count * _LEAST > place:
        return None
    if not (count - 1) * step < content <= count * step or place + _table_size(count) + _FOOT_SIZE != size:
        return None
    rows = _rows(read(place, _table_size(count)), count, checksum)
    if rows is None or rows["size"].min() < _LEAST or _end(rows) != place:
        return None
    return PieceTable(rows, content, step)


@lru_cache(maxsize=4)
def index_inside(source: FileSource) -> GzipIndex | None:
    """The index that a gzip file carries in itself; None if it has no table that fits."""
    with source.open_checked() as fd:
        table = read_table(lambda at, count: os.pread(fd, count, source.start + at), source.size - source.start)
    if table is None:
        return None
    sizes = table.rows["size"].astype(np.uint64)
    checkpoints = np.zeros(len(sizes), [("bit", "<u8"), ("crc", "<u4"), ("window_size", "<u4")])
    # nothing before a piece is referred to: there are no windows
    checkpoints["bit"] = 8 * (np.cumsum(sizes) - sizes + np.uint64(source.start + len(HEAD)))
    checkpoints["crc"] = table.rows["crc"]
    bounds = np.append(np.arange(len(sizes), dtype=np.int64) * table.step, table.content)
    size = _table_size(len(sizes)) + _FOOT_SIZE
    return GzipIndex(source.path, size, table.content, bounds, checkpoints, inside=True)


def _empty_member(payload: bytes) -> bytes:
    return _EXTRA.pack(_EXTRA_HEAD, len(payload) + 4, _ID, len(payload)) + payload + _NOTHING


def _end(rows: NDArray[Any]) -> int:
    """Where the member of content ends."""
    return int(rows["size"].sum(dtype=np.int64)) + _AROUND


def _table_size(count: int) -> int:
    return count * ROW.itemsize + -(-count // _ROWS_EACH) * _OVERHEAD


def _rows(raw: bytes, count: int, checksum: int) -> NDArray[Any] | None:
    """The rows in the members of a table, if these are just what is written."""
    each = _ROWS_EACH * ROW.itemsize
    parts = []
    for at in range(0, len(raw), each + _OVERHEAD):
        part = raw[at : at + each + _OVERHEAD]
        parts.append(part[_EXTRA.size : -len(_NOTHING)])
        if part != _empty_member(parts[-1]):
            return None
    payload = b"".join(parts)
    if len(payload) != count * ROW.itemsize or zlib.crc32(payload) != checksum:
        return None
    return np.frombuffer(payload, ROW)
