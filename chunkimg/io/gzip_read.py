"""Decoding a gzip file from the checkpoints of its index, in threads, only the intervals that are needed.

Nothing here trusts an index: each interval that is decoded must have the length and the checksum that were found when
the index was made and compared with a plain decode of the whole file.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from ..workers import thread_count
from .gzip_index import WINDOW, BadIndexError, GzipIndex, opened
from .source import FileSource

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["IndexedStream", "from_bit", "inflate", "needed"]

#: compressed bytes that are read at once; a decoder copies what is left of them at the end of each member
_PIECE = 128 << 10
#: decoded bytes that are handed on at once
_OUT = 4 << 20
#: longer intervals are decoded when they are needed, piece by piece
_LONG = 16 << 20
#: bytes that are decoded ahead
_AHEAD = 64 << 20
#: behind the deflate data of a member stand its checksum and length
_TRAILER = 8


def inflate(fd: int, bit: int, stop: int | None, window: bytes, length: int) -> Iterator[bytes]:
    """The content from a checkpoint on, in pieces, `length` bytes in all.

    Parameters
    ----------
    fd : int
        The gzip file.
    bit : int
        Where a deflate block starts.
    stop : int or None
        Byte at which the compressed data of the interval ends; None for the end of the file.
    window : bytes
        Content before the checkpoint, `WINDOW` bytes, or empty.
    length : int
        Bytes of content wanted.

    Raises
    ------
    BadIndexError
        If that is not what stands there.
    """
    members = _Members(window)
    for data in _compressed(fd, bit, stop):
        while True:
            out, data = members.decode(data, min(length, _OUT))
            length -= len(out)
            if out:
                yield out
            if not length:
                return
            if not out and not data:
                break
    raise BadIndexError(f"{length} bytes of content are missing behind bit {bit}")


def _compressed(fd: int, bit: int, stop: int | None) -> Iterator[bytes]:
    at, shift = divmod(bit, 8)
    while stop is None or at < stop:
        raw = os.pread(fd, _PIECE if stop is None else min(_PIECE, stop - at), at)
        if not raw:
            return
        at += len(raw)
        yield from_bit(raw, shift)
        shift = 0


def from_bit(data: bytes, shift: int) -> bytes:
    """Compressed data from a bit of its first byte on, behind blocks that hold nothing and end at that bit.

    Shifting the data instead would break what is aligned to bytes: stored blocks and the ends of members.
    """
    if not shift:
        return data
    lead, count = _LEADS[shift]
    return (data[0] >> shift << count | lead).to_bytes(count // 8 + 1, "little") + data[1:]


def _empty_blocks(shift: int) -> tuple[int, int]:
    """Deflate blocks without content whose bits number `shift` more than a multiple of 8: the bits, their number."""
    bits, count = _EMPTY_DYNAMIC if shift % 2 else (0, 0)
    while count % 8 != shift:
        # fixed codes: not the last block, type 1, seven zeros for its end
        bits |= 0b10 << count
        count += 10
    return bits, count


def _empty_dynamic() -> tuple[int, int]:
    """An empty block with codes of its own: 95 bits, an odd number (RFC 1951, section 3.2.7).

    Byte 0 and the end of the block have codes of one bit, so have two distances.
    """
    # lengths of the codes for code lengths: one bit for 18, a run of zeros, and for 1, in the order of the RFC
    lengths = [(1 if symbol in (18, 1) else 0, 3) for symbol in _ORDER]
    # 1, zeros for 138 and 117 bytes, 1; then two distances
    codes = [(0, 1), (1, 1), (138 - 11, 7), (1, 1), (117 - 11, 7), (0, 1), (0, 1), (0, 1)]
    bits = count = 0
    for value, size in [(0b100, 3), (0, 5), (1, 5), (15, 4), *lengths, *codes, (1, 1)]:
        bits |= value << count
        count += size
    return bits, count


_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
_EMPTY_DYNAMIC = _empty_dynamic()
_LEADS = [_empty_blocks(shift) for shift in range(8)]


def needed(fd: int, bit: int, stop: int | None, window: bytes, length: int) -> bytes:
    """The window before a checkpoint with zeros where no data refers to it; empty if none refers to it at all.

    Such a window compresses well.

    Data is decoded behind windows that tell where each byte of the output comes from. Whatever later data takes from
    the window stands in the first 32 KiB of the output already, or refers to it from there.
    """
    place = np.arange(WINDOW, dtype=np.uint16)
    low, high = (place & 0xFF).astype(np.uint8), (place >> 8).astype(np.uint8)
    seen = []
    for probe in (low, ~low, high):
        pieces = inflate(fd, bit, stop, probe.tobytes(), min(length, WINDOW))
        seen.append(np.frombuffer(b"".join(pieces), np.uint8))
    used = seen[0] != seen[1]
    sources = seen[0][used].astype(np.uint16) | seen[2][used].astype(np.uint16) << 8
    keep = np.zeros(WINDOW, bool)
    keep[sources] = True
    sparse = np.where(keep, np.frombuffer(window, np.uint8), 0).astype(np.uint8)
    return sparse.tobytes() if keep.any() else b""


class _Members:
    """A decoder that starts inside of one gzip member and goes on with the members behind it."""

    def __init__(self, window: bytes) -> None:
        from isal import isal_zlib

        self._zlib = isal_zlib
        self._decoder: Any = isal_zlib.decompressobj(-15, zdict=window) if window else isal_zlib.decompressobj(-15)
        self._skip = _TRAILER

    def decode(self, data: bytes, most: int) -> tuple[bytes, bytes]:
        """Some content, and the data that is left; neither if more data is needed."""
        while True:
            if self._decoder is None:
                data = self._next_member(data)
                if self._decoder is None:
                    return b"", b""
            try:
                out = self._decoder.decompress(data, most)
            except self._zlib.error as error:  # type: ignore[misc]
                raise BadIndexError(f"the data behind a checkpoint cannot be decoded ({error})") from error
            if not self._decoder.eof:
                return out, self._decoder.unconsumed_tail
            data, self._decoder = self._decoder.unused_data, None
            if out or not data:
                return out, data

    def _next_member(self, data: bytes) -> bytes:
        """Data from the next member on; between members there may be zeros."""
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        data = data[skipped:].lstrip(b"\0")
        if data:
            # with a header of its own, this decoder takes the trailer too
            self._decoder, self._skip = self._zlib.decompressobj(31), 0
        return data


class IndexedStream:
    """The content of a gzip file at the places that were announced, front to back.

    Parameters
    ----------
    index : GzipIndex
        Its checkpoints.
    source : FileSource
        The gzip file.
    intervals : sequence of int
        Those that will be read, in order.
    """

    def __init__(self, index: GzipIndex, source: FileSource, intervals: Sequence[int]) -> None:
        self._index, self._source = index, source
        self._coming = deque(intervals)
        self._ahead: deque[tuple[int, Future[list[bytes]] | None]] = deque()
        self._stack = ExitStack()
        self._pieces: Iterator[bytes] = iter(())
        self._piece = memoryview(b"")
        self._position = 0

    def __enter__(self) -> IndexedStream:
        from concurrent.futures import ThreadPoolExecutor

        self._gzip = self._stack.enter_context(self._source.open_checked())
        try:
            self._file = self._stack.enter_context(opened(self._index.path))
        except OSError as error:
            self._stack.close()
            raise BadIndexError(f"it cannot be opened ({error.strerror})") from error
        threads = max(1, min(thread_count(), len(self._coming)))
        self._most = 2 * threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="chunkimg-gunzip")
        self._stack.callback(self._pool.shutdown, cancel_futures=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stack:
            if kind is None:
                # what was decoded in pieces is verified when its last piece has come
                for _piece in self._pieces:
                    pass

    def seek(self, position: int) -> None:
        """Go on to a later place."""
        while position >= self._position + len(self._piece):
            self._next_piece(position)
        self._piece = self._piece[position - self._position :]
        self._position = position

    def read_into(self, buffer: memoryview) -> None:
        """Fill a buffer of bytes."""
        view = buffer.cast("B")
        at = 0
        while at < len(view):
            if not len(self._piece):
                self._next_piece(self._position)
            count = min(len(view) - at, len(self._piece))
            view[at : at + count] = self._piece[:count]
            self._piece = self._piece[count:]
            at += count
            self._position += count

    def _next_piece(self, wanted: int) -> None:
        """Take the next piece, of the interval that holds `wanted` if this one ends before."""
        self._position += len(self._piece)
        self._piece = memoryview(b"")
        for piece in self._pieces:
            self._piece = memoryview(piece)
            return
        while True:
            self._submit()
            k, done = self._ahead.popleft() if self._ahead else (len(self._index), None)
            if k == len(self._index) or self._index.bounds[k + 1] > wanted:
                break
        if self._index.bounds[k] > wanted or k == len(self._index):
            raise BadIndexError(f"byte {wanted} lies in none of the announced intervals")
        self._position = int(self._index.bounds[k])
        self._pieces = self._decode(k) if done is None else iter(done.result())

    def _submit(self) -> None:
        while self._coming and len(self._ahead) <= self._most:
            k = self._coming[0]
            if self._ahead and sum(self._index.length_of(j) for j in (k, *(j for j, _ in self._ahead))) > _AHEAD:
                return
            self._coming.popleft()
            short = self._index.length_of(k) <= _LONG
            self._ahead.append((k, self._pool.submit(lambda k: list(self._decode(k)), k) if short else None))

    def _decode(self, k: int) -> Iterator[bytes]:
        from isal import isal_zlib

        index = self._index
        bit, stop = index.bits(k)
        crc = 0
        window = index.window(self._file, k)
        for piece in inflate(self._gzip, bit, stop, window, index.length_of(k)):
            crc = isal_zlib.crc32(piece, crc)
            yield piece
        if crc != index.crc(k):
            raise BadIndexError(f"interval {k} decodes to other bytes than when the index was made")
