"""Making the index of a gzip file.

The file is decoded once, with an `IndexRecorder` looking on. Where that finds too few blocks (they are stored, or have
fixed codes), `indexed_gzip` finds them; that is all it is asked for. The file is then decoded as every other reader
decodes it, which gives windows and checksums, and each interval is decoded from its checkpoint and compared with that
before it is written down.
"""

from __future__ import annotations

import errno
import io
import os
import struct
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from ..open_file import OpenFile, temporary_file
from ..workers import thread_count
from .format import Progress
from .gzip_along import IndexRecorder
from .gzip_index import WINDOW, BadIndexError, IndexWriter, packed
from .gzip_read import inflate, needed
from .source import DecodedStream, FileSource, reading

__all__ = ["write_index"]

#: content between checkpoints, and the most checkpoints of a single member: each takes 32 KiB of memory for a while
_SPACING = 1 << 20
_MOST = 4096
#: content that is decoded between two signs of life
_STEP = 32 << 20
#: GZIDX, the format of indexed_gzip: 35 bytes, the last four the number of points, then the points
_GZIDX_HEADER = 35
_POINT = np.dtype([("byte", "<u8"), ("content", "<u8"), ("bits", "u1"), ("windowed", "u1")])


def write_index(source: FileSource, length: int, mark: bytes, file: OpenFile, progress: Progress | None = None) -> None:
    """Index the first `length` bytes of content of a gzip file.

    Parameters
    ----------
    source : FileSource
        The gzip file.
    length : int
        Bytes of content.
    mark : bytes
        The fingerprint of the file.
    file : OpenFile
        Where the index is written.
    progress : Progress, optional
        Counts bytes of content; where indexed_gzip is needed all of them once more, twice.

    Raises
    ------
    FormatError
        If the file is truncated or damaged.
    ImportError
        If indexed_gzip is needed and not installed.
    """
    if _recorded(source, length, mark, file, progress):
        return
    os.ftruncate(file.fd, 0)
    if progress is not None:
        progress.start(2 * length)
    points = _thinned(_blocks(source, length, progress), length)
    if not len(points) or points["content"][0]:
        raise FormatError(f"{source.path}: no index can be made: no deflate block was found where the content starts")
    writer = IndexWriter(file)
    _verify(source, points, length, writer, progress)
    writer.finish(source, mark, length)


def _recorded(source: FileSource, length: int, mark: bytes, file: OpenFile, progress: Progress | None) -> bool:
    """Make it in one plain decode, if enough blocks are found on the way."""
    recorder = IndexRecorder(source, length, mark, file, spacing=_SPACING)
    if progress is not None:
        progress.start(length)
    buffer = memoryview(bytearray(min(length, _STEP)))
    with DecodedStream(source, recorder) as stream:
        while stream.position < length:
            count = min(len(buffer), length - stream.position)
            stream.read_into(buffer[:count])
            if progress is not None:
                progress(count)
            if recorder.hopeless:
                break
        else:
            stream.finish()
            recorder.finish()
    if recorder.failure is not None:
        raise recorder.failure
    return recorder.complete


class _From(io.RawIOBase):
    """A file that seems to start at a later byte."""

    mode = "rb"

    def __init__(self, file: IO[bytes], start: int) -> None:
        self._file, self._start = file, start
        file.seek(start)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Bytes from the current position on."""
        return int(self._file.readinto(buffer))  # type: ignore[attr-defined]

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Move."""
        return self._file.seek(position + (self._start if whence == os.SEEK_SET else 0), whence) - self._start

    def tell(self) -> int:
        """Current position."""
        return self._file.tell() - self._start


def _blocks(source: FileSource, length: int, progress: Progress | None) -> NDArray[Any]:
    """Places where deflate blocks start, as indexed_gzip finds them."""
    import indexed_gzip

    spacing = max(_SPACING, length // _MOST)
    with source.open_checked() as fd, open(os.dup(fd), "rb") as file:
        opened: Any = _From(file, source.start) if source.start else file
        options = {"fileobj": opened, "spacing": spacing, "skip_crc_check": True}
        with reading(source.path), indexed_gzip._IndexedGzipFile(**options) as decoder:
            for at in range(0, length, _STEP):
                decoder.seek(min(at + _STEP, length))
                if progress is not None:
                    progress(min(_STEP, length - at))
            points = _exported(decoder)
    points["byte"] += np.uint64(source.start)
    return points


def _exported(decoder: Any) -> NDArray[Any]:
    from indexed_gzip import ZranError

    # through a file: it holds all windows, which are not wanted
    with temporary_file() as file:
        try:
            with open(os.dup(file.fd), "wb") as sink:
                decoder.export_index(fileobj=sink)
        except ZranError as error:
            # it says no more
            raise OSError(errno.EIO, f"The decoder's index cannot be written{file.what}", file.name) from error
        (count,) = struct.unpack("<I", os.pread(file.fd, _GZIDX_HEADER, 0)[-4:])
        return np.frombuffer(bytearray(os.pread(file.fd, count * _POINT.itemsize, _GZIDX_HEADER)), _POINT)


def _thinned(points: NDArray[Any], length: int) -> NDArray[Any]:
    """Points to keep, about one per spacing: there is also one at the start of each member, however small."""
    points = points[points["content"] < length]
    content = points["content"].astype(np.int64)
    kept = []
    at = 0
    while at < len(points):
        kept.append(at)
        at = int(np.searchsorted(content, content[at] + _SPACING // 2))
    return points[kept]


def _verify(
    source: FileSource, points: NDArray[Any], length: int, writer: IndexWriter, progress: Progress | None
) -> None:
    """Decode plainly and from each checkpoint, compare, and write down what agrees."""
    bits = points["byte"].astype(np.int64) * 8 - points["bits"]
    bounds = np.append(points["content"].astype(np.int64), length)
    waiting: deque[Future[tuple[int, int, bytes, int]]] = deque()
    threads = thread_count()
    with source.open_checked() as fd, ThreadPoolExecutor(threads, thread_name_prefix="chunkimg-index") as pool:
        try:
            for k, (window, crc) in enumerate(_plain(source, bounds, progress)):
                stop = -(-int(bits[k + 1]) // 8) if k + 1 < len(points) else None
                waiting.append(
                    pool.submit(_checked, fd, int(bits[k]), stop, window, int(bounds[k]), int(bounds[k + 1]), crc)
                )
                while len(waiting) > 2 * threads:
                    writer.add(*waiting.popleft().result())
            while waiting:
                writer.add(*waiting.popleft().result())
        except BadIndexError as error:
            raise FormatError(f"{source.path}: no index can be made: {error}") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _plain(source: FileSource, bounds: NDArray[np.int64], progress: Progress | None) -> Iterator[tuple[bytes, int]]:
    """Of each interval the window before it and the checksum, from a plain decode that verifies those of gzip."""
    from isal import isal_zlib

    tail = b""
    with DecodedStream(source) as stream:
        for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            window, crc = tail, 0
            while stream.position < stop:
                piece = stream.read_up_to(min(stop - stream.position, _SPACING))
                if not piece:
                    raise FormatError(f"{source.path}: truncated: {stop} bytes of content are needed")
                crc = isal_zlib.crc32(piece, crc)
                tail = (tail + piece)[-WINDOW:] if len(piece) < WINDOW else piece[-WINDOW:]
            if progress is not None:
                progress(stop - start)
            yield window, crc
        stream.finish()


def _checked(
    fd: int, bit: int, stop: int | None, window: bytes, start: int, end: int, crc: int
) -> tuple[int, int, bytes, int]:
    """A row of the index, if decoding from its checkpoint gives the right bytes."""
    from isal import isal_zlib

    sparse = needed(fd, bit, stop, window.rjust(WINDOW, b"\0"), end - start)
    found = 0
    for piece in inflate(fd, bit, stop, sparse, end - start):
        found = isal_zlib.crc32(piece, found)
    if found != crc:
        raise BadIndexError(f"decoding from bit {bit} gives other bytes than decoding from the start")
    return bit, start, packed(sparse) if sparse else b"", crc
