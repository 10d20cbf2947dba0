"""Writing gzip streams in parallel: members compressed in threads, appended in order, a table of them behind.

Any number of members is one gzip stream (RFC 1952, section 2.2); zlib, nibabel, SimpleITK and gunzip read it as one.
The table (`gzip_table`) makes it readable at any place.
"""

from __future__ import annotations

import os
from array import array
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import numpy as np

from ..errors import FormatError
from .gzip_read import thread_count
from .gzip_table import MEMBER_HEAD, MOST_ROWS, ROW, MemberTable, packed_table

__all__ = ["GzipWriter"]

#: bytes of content of a member: what a reader decodes at least
_MEMBER = 256 << 10
#: of ISA-L's levels the smallest file, and on recent processors the fastest
_LEVEL = 3
#: as zlib numbers it; blocks of fewer symbols, whose codes fit better: 2 % smaller at the same speed
_ISAL_MEMORY = 2


def _compress(data: bytes, level: int) -> bytes:
    """One gzip member; its header has no time, so that the same image gives the same file."""
    # igzip.compress leaves about 30 KiB behind at each call from a thread; an object of its own does not
    compressor = _compressor(level)
    out = bytes(compressor.compress(data)) + bytes(compressor.flush())
    return MEMBER_HEAD + out[len(MEMBER_HEAD) :]


def _compressor(level: int) -> Any:
    if level <= 3:
        from isal import isal_zlib

        return isal_zlib.compressobj(level, isal_zlib.DEFLATED, 31, _ISAL_MEMORY)
    try:
        from zlib_ng import zlib_ng as zlib
    except ImportError:
        import zlib
    return zlib.compressobj(level, zlib.DEFLATED, 31)


class GzipWriter:
    """Compresses what is written into a file, front to back.

    The first bytes of the stream stay zero until the context is left normally: a gzip stream without its magic number
    is of no format, so that nothing opens a file that was cut off.

    Parameters
    ----------
    fd : int
        File descriptor, open for writing, empty.
    level : int or None
        0 to 3 are ISA-L's levels, 4 to 9 those of zlib-ng, or of zlib where that is not installed; None for 3.
    start : int
        Where the stream starts in the file.
    """

    def __init__(self, fd: int, level: int | None, start: int = 0) -> None:
        self._level = _LEVEL if level is None else level
        if not 0 <= self._level <= 9:
            raise FormatError(f"gzip level {level}: levels are 0 to 3 (ISA-L, fast) and 4 to 9 (zlib, small)")
        self._fd = fd
        self._buffer = bytearray()
        self._start = self._position = start
        self._content = 0
        #: size and checksum of each member
        self._rows = array("I")
        threads = thread_count()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="chunkimg-gzip")
        self._waiting: deque[Future[bytes]] = deque()
        self._ahead = 2 * threads

    def __enter__(self) -> GzipWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def write(self, data: memoryview) -> None:
        """Append bytes."""
        view = data.cast("B")
        if self._buffer:
            take = min(len(view), _MEMBER - len(self._buffer))
            self._buffer += view[:take]
            view = view[take:]
            if len(self._buffer) < _MEMBER:
                return
            self._submit(bytes(self._buffer))
            self._buffer.clear()
        while len(view) >= _MEMBER:
            # a copy, so that what is compressed later does not keep the whole slab alive
            self._submit(bytes(view[:_MEMBER]))
            view = view[_MEMBER:]
        self._buffer += view

    def _submit(self, content: bytes) -> None:
        self._content += len(content)
        self._waiting.append(self._pool.submit(_compress, content, self._level))
        while len(self._waiting) > self._ahead:
            self._append_member(self._waiting.popleft().result())

    def _append_member(self, member: bytes) -> None:
        first = not self._rows
        self._rows.extend((len(member), int.from_bytes(member[-8:-4], "little")))
        self._append(bytes(len(MEMBER_HEAD)) + member[len(MEMBER_HEAD) :] if first else member)

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while len(view):
            done = os.pwrite(self._fd, view, self._position)
            view, self._position = view[done:], self._position + done

    def _finish(self) -> None:
        if self._buffer or not self._content:
            self._submit(bytes(self._buffer))
        while self._waiting:
            self._append_member(self._waiting.popleft().result())
        rows = np.array(self._rows, "<u4").view(ROW)
        # a single member starts where the stream starts
        if 1 < len(rows) <= MOST_ROWS:
            for part in packed_table(MemberTable(rows, self._content, _MEMBER)):
                self._append(part)
        os.pwrite(self._fd, MEMBER_HEAD, self._start)
