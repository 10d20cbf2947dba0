"""Making the index of a gzip file while it is decoded for something else, from its start to its end.

The decoder is given its data in small pieces. Where the next checkpoint is due, a block is looked for (`gzip_blocks`),
and the data is cut there: when the decoder asks for more, all content before that block is there, so that its place,
the window before it and the checksum of the interval are known. What follows is decoded from the checkpoint too and
compared, before that is taken for one.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from ..open_file import OpenFile
from .gzip_blocks import Place, find_block, first_block
from .gzip_index import WINDOW, BadIndexError, IndexWriter, packed
from .gzip_read import inflate, needed
from .source import FileSource

__all__ = ["IndexRecorder"]

#: content between checkpoints, and the most checkpoints
_SPACING = 16 << 20
_MOST = 4096
#: compressed bytes that the decoder is given at least at once
_PIECE = 16 << 10
#: content behind a checkpoint that is compared
_COMPARED = 32 << 10
#: the last interval must not be longer than so many
_REST = 8


@dataclass
class _Interval:
    """Content from a checkpoint on, as far as it has come."""

    bit: int
    start: int
    window: bytes
    crc: int = 0
    head: bytearray = field(default_factory=bytearray)


class IndexRecorder:
    """A stream of the content of a gzip file that makes an index on the way.

    What goes wrong with the index is no error of the stream: there is no index then.

    Parameters
    ----------
    source : FileSource
        The gzip file.
    length : int
        Bytes of content that the index shall cover.
    mark : bytes
        The fingerprint of the file.
    file : OpenFile
        An empty file for the index.
    spacing : int, optional
        Content between checkpoints, about; far apart by default, so that they cost the decoding little.

    Attributes
    ----------
    complete : bool
        Whether the index is there.
    failure : OSError or None
        Why it cannot be written.
    """

    def __init__(
        self, source: FileSource, length: int, mark: bytes, file: OpenFile, spacing: int | None = None
    ) -> None:
        self._source, self._length, self._mark = source, length, mark
        self._writer = IndexWriter(file)
        self.complete = False
        self.failure: OSError | None = None
        self._spacing = max(_SPACING if spacing is None else spacing, length // _MOST)
        #: where no block was found any more, the rest must not be longer
        self._rest = _REST * self._spacing
        self._sound = False

    def open(self, file: BinaryIO, reader: Callable[..., Any], buffer: int) -> IndexRecorder:
        """Begin to decode a file from where it stands.

        Parameters
        ----------
        file : binary file
            The gzip file.
        reader : callable
            Makes a decoder of a raw file and a size of buffer, with `readinto`, `tell` and `close`.
        buffer : int
            Compressed bytes that the decoder holds.
        """
        self._file, self._at = file, file.tell()
        #: where the data is cut next
        self._cut = first_block(file.fileno(), self._at)
        self._sound = self._looking = self._cut is not None
        #: the interval that the decoder is in, and one that may follow, with the checksum of the first up to there
        self._interval: _Interval | None = None
        self._next: _Interval | None = None
        self._crc = 0
        #: where content goes, where in the content that starts, what is accounted for, and what came before
        self._view = memoryview(b"")
        self._base = self._seen = 0
        self._before = b""
        #: where a block is being looked for, and that
        self._ahead: tuple[int, Future[Place | None]] | None = None
        self._searcher = ThreadPoolExecutor(1, thread_name_prefix="chunkimg-index")
        self._decoder = reader(_Raw(self._feed), buffer)
        return self

    def readinto(self, view: memoryview) -> int:
        """Decode into a buffer of bytes."""
        self._view, self._base = view, self._decoder.tell()
        count = int(self._decoder.readinto(view))
        if self._sound:
            self._account()
            self._before = self._window()
        self._view = memoryview(b"")
        return count

    def read(self, count: int) -> bytes:
        """At most `count` bytes of content."""
        out = bytearray(count)
        return bytes(out[: self.readinto(memoryview(out))])

    def close(self) -> None:
        """Stop decoding."""
        self._searcher.shutdown(cancel_futures=True)
        self._decoder.close()

    @property
    def hopeless(self) -> bool:
        """Whether no index can come of it any more."""
        last = self._interval
        return not self._sound or (not self._looking and last is not None and self._length - last.start > self._rest)

    def finish(self) -> None:
        """Complete the index, if it is one; call this when the stream was decoded to its end and was sound."""
        last = self._interval
        if last is None or self.hopeless or self._seen < self._length or self._length - last.start > self._rest:
            return
        self._write(last, last.crc)
        try:
            if self._sound:
                self._writer.finish(self._source, self._mark, self._length)
                self.complete = True
        except OSError as error:
            self.failure = error

    # ------------------------------------------------------------------------------------------ data and content

    def _feed(self, buffer: memoryview) -> int:
        """Give the decoder more data: all that it was given before is decoded now."""
        if not self._sound:
            return int(self._file.readinto(buffer))  # type: ignore[attr-defined]
        self._account()
        if self._next is not None and len(self._next.head) >= _COMPARED:
            self._decide()
        # as much as becomes a part of an interval, if what comes is compressed as much as what came
        each = max(_PIECE, self._expected(self._spacing // 4))
        if self._cut is None and self._looking:
            self._look(self._at + each)
        if self._cut is not None and self._at == self._cut.byte:
            self._reach(self._cut)
            self._cut = None
        most = each if self._cut is None else min(each, self._cut.byte - self._at)
        count = int(self._file.readinto(buffer[:most]))  # type: ignore[attr-defined]
        self._at += count
        return count

    def _expected(self, content: int) -> int:
        """Compressed bytes that may become so much content, as far as can be told."""
        return max(0, content) * (self._at - self._source.start) // self._seen if self._seen else 0

    def _look(self, upto: int) -> None:
        """Look for the next place to cut, in another thread, where it is expected to be due; take it near there."""
        settled = self._interval is not None and self._next is None
        if not settled or not self._seen or self._length - self._seen < self._spacing:
            return
        assert self._interval is not None
        fd, missing = self._file.fileno(), self._interval.start + self._spacing - self._seen
        if self._ahead is None:
            target = self._at + self._expected(missing)
            self._ahead = target, self._searcher.submit(find_block, fd, target)
        target, found = self._ahead
        if missing < -self._spacing:
            # what came was compressed more than what came before
            self._ahead, self._cut = None, find_block(fd, self._at)
            self._looking = self._cut is not None
        elif upto > target:
            self._ahead = None
            place = found.result() if missing < self._spacing // 2 else None
            if place is not None and place.byte >= self._at:
                self._cut = place

    def _account(self) -> None:
        """Take note of the content that has come since the last time."""
        from isal import isal_zlib

        upto = min(self._decoder.tell(), self._length)
        if upto <= self._seen:
            return
        piece = self._view[self._seen - self._base : upto - self._base]
        for interval in (self._interval, self._next):
            if interval is not None:
                interval.crc = isal_zlib.crc32(piece, interval.crc)
        if self._next is not None:
            self._next.head += piece[: _COMPARED - len(self._next.head)]
        self._seen = upto

    def _window(self) -> bytes:
        """The content before the place where the decoder is."""
        here = self._view[: self._decoder.tell() - self._base]
        return bytes(here[-WINDOW:]) if len(here) >= WINDOW else (self._before + bytes(here))[-WINDOW:]

    # ------------------------------------------------------------------------------------------ checkpoints

    def _reach(self, place: Place) -> None:
        """All content before a place is there."""
        found = _Interval(place.bit, self._seen, b"" if place.first else self._window().rjust(WINDOW, b"\0"))
        if self._interval is None:
            self._interval = found
        else:
            self._next, self._crc = found, self._interval.crc

    def _decide(self) -> None:
        """Whether the place that was reached last is a checkpoint: what is decoded from there tells."""
        found, self._next = self._next, None
        assert found is not None and self._interval is not None
        try:
            fd = self._file.fileno()
            if found.window:
                found.window = needed(fd, found.bit, None, found.window, self._length - found.start)
            true = b"".join(inflate(fd, found.bit, None, found.window, len(found.head))) == found.head
        except BadIndexError:
            true = False
        if true:
            self._write(self._interval, self._crc)
            self._interval = found

    def _write(self, interval: _Interval, crc: int) -> None:
        window = packed(interval.window) if interval.window else b""
        try:
            self._writer.add(interval.bit, interval.start, window, crc)
        except OSError as error:
            # no room: there is no index then
            self._sound, self.failure = False, error


class _Raw(io.RawIOBase):
    """A file that a decoder reads."""

    def __init__(self, feed: Callable[[memoryview], int]) -> None:
        self._feed = feed

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """What comes next."""
        return self._feed(buffer)
