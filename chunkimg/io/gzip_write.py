"""Writing gzip streams in parallel: members of 1 MiB, compressed in threads, appended in order.

Any number of members is one gzip stream (RFC 1952, section 2.2); zlib, nibabel, SimpleITK and gunzip read it as one.
"""

from __future__ import annotations

import os
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import FormatError

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["GzipWriter"]

_MEMBER = 1 << 20
_HEAD = 10


def _compress(data: bytes, level: int) -> bytes:
    """One gzip member, without a time, so that the same image gives the same file."""
    from isal import isal_zlib

    # igzip.compress leaves about 30 KiB behind at each call from a thread; an object of its own does not
    compressor = isal_zlib.compressobj(level, isal_zlib.DEFLATED, 31)
    return bytes(compressor.compress(data)) + bytes(compressor.flush())


class GzipWriter:
    """Compresses what is written into a file, front to back.

    The first bytes of the stream stay zero until the context is left normally: a gzip stream without its magic number
    is of no format, so that nothing opens a file that was cut off.

    Parameters
    ----------
    fd : int
        File descriptor, open for writing, empty.
    level : int
        ISA-L's compression level, 0 (fastest) to 3.
    start : int
        Where the stream starts in the file.
    """

    def __init__(self, fd: int, level: int, start: int = 0) -> None:
        from concurrent.futures import ThreadPoolExecutor

        if not 0 <= level <= 3:
            raise FormatError(f"gzip level {level}: ISA-L has levels 0 to 3")
        self._fd, self._level = fd, level
        self._buffer = bytearray()
        self._head = b""
        self._start = self._position = start
        threads = min(8, os.cpu_count() or 1)
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

    def _submit(self, member: bytes) -> None:
        self._waiting.append(self._pool.submit(_compress, member, self._level))
        while len(self._waiting) > self._ahead:
            self._append(self._waiting.popleft().result())

    def _append(self, member: bytes) -> None:
        if not self._head:
            self._head = member[:_HEAD]
            member = bytes(len(self._head)) + member[_HEAD:]
        view = memoryview(member)
        while len(view):
            done = os.pwrite(self._fd, view, self._position)
            view, self._position = view[done:], self._position + done

    def _finish(self) -> None:
        if self._buffer or (not self._waiting and not self._head):
            self._submit(bytes(self._buffer))
        while self._waiting:
            self._append(self._waiting.popleft().result())
        os.pwrite(self._fd, self._head, self._start)
