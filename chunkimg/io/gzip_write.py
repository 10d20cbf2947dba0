"""Writing gzip streams in parallel: pieces compressed in threads, appended in order, a table of them behind.

All pieces are one gzip member: not every reader goes on to the next one (pynrrd does not). The table (`gzip_table`)
makes it readable at any place.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FormatError
from ..open_file import OpenFile
from ..workers import pool, thread_count
from .gzip_table import HEAD, LAST_BLOCK, MOST_ROWS, ROW, PieceTable, packed_table

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["GzipWriter"]

#: bytes of content of a piece: what a reader decodes at least
_PIECE = 256 << 10
#: of ISA-L's levels the smallest file, and on recent processors the fastest
_LEVEL = 3
#: as zlib numbers it; blocks of fewer symbols, whose codes fit better: 2 % smaller at the same speed
_ISAL_MEMORY = 2


def _compress(data: bytes, level: int) -> tuple[bytes, int]:
    """Deflate blocks of a piece, ended at a byte without being the last ones; and the checksum of its content."""
    from isal import isal_zlib

    # igzip.compress leaves about 30 KiB behind at each call from a thread; an object of its own does not
    compressor = _compressor(level)
    out = bytes(compressor.compress(data)) + bytes(compressor.flush(zlib.Z_FULL_FLUSH))
    return out, isal_zlib.crc32(data)


def _compressor(level: int) -> Any:
    if level <= 3:
        from isal import isal_zlib

        return isal_zlib.compressobj(level, isal_zlib.DEFLATED, -15, _ISAL_MEMORY)
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        return zlib.compressobj(level, zlib.DEFLATED, -15)
    return zlib_ng.compressobj(level, zlib_ng.DEFLATED, -15)


class GzipWriter:
    """Compresses what is written into a file, front to back.

    The first bytes of the stream stay zero until the context is left normally: a gzip stream without its magic number
    is of no format, so that nothing opens a file that was cut off.

    Parameters
    ----------
    file : OpenFile
        The file, empty from `start` on.
    level : int or None
        0 to 3 are ISA-L's levels, 4 to 9 those of zlib-ng, or of zlib where that is not installed; None for 3.
    start : int
        Where the stream starts in the file.
    table : bool
        Whether a table of the pieces stands behind them.
    """

    def __init__(self, file: OpenFile, level: int | None, start: int = 0, table: bool = True) -> None:
        self._level = _LEVEL if level is None else level
        if not 0 <= self._level <= 9:
            raise FormatError(f"gzip level {level}: levels are 0 to 3 (ISA-L, fast) and 4 to 9 (zlib, small)")
        self._file, self._table = file, table
        self._buffer = bytearray()
        self._start, self._position = start, start + len(HEAD)
        self._content = self._crc = 0
        #: size and checksum of each piece
        self._rows = array("I")
        self._waiting: deque[tuple[int, Future[tuple[bytes, int]]]] = deque()
        self._ahead = 2 * thread_count()

    def __enter__(self) -> GzipWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            for _size, done in self._waiting:
                done.cancel()

    def write(self, data: memoryview) -> None:
        """Append bytes."""
        view = data.cast("B")
        if self._buffer:
            take = min(len(view), _PIECE - len(self._buffer))
            self._buffer += view[:take]
            view = view[take:]
            if len(self._buffer) < _PIECE:
                return
            self._submit(bytes(self._buffer))
            self._buffer.clear()
        while len(view) >= _PIECE:
            # a copy, so that what is compressed later does not keep the whole slab alive
            self._submit(bytes(view[:_PIECE]))
            view = view[_PIECE:]
        self._buffer += view

    def _submit(self, content: bytes) -> None:
        self._content += len(content)
        self._waiting.append((len(content), pool().submit(_compress, content, self._level)))
        while len(self._waiting) > self._ahead:
            self._append_piece()

    def _append_piece(self) -> None:
        from isal import isal_zlib

        size, done = self._waiting.popleft()
        piece, crc = done.result()
        self._crc = isal_zlib.crc32_combine(self._crc, crc, size)
        self._rows.extend((len(piece), crc))
        self._append(piece)

    def _append(self, data: bytes) -> None:
        self._position = self._file.write(data, self._position)

    def _finish(self) -> None:
        if self._buffer:
            self._submit(bytes(self._buffer))
        while self._waiting:
            self._append_piece()
        self._append(LAST_BLOCK + struct.pack("<II", self._crc, self._content % 2**32))
        rows = np.array(self._rows, "<u4").view(ROW)
        # a single piece is where the stream starts
        if self._table and 1 < len(rows) <= MOST_ROWS:
            for part in packed_table(PieceTable(rows, self._content, _PIECE)):
                self._append(part)
        self._file.write(HEAD, self._start)
