"""Local files as sources of bytes, plain or encoded (gzip, bzip2, text)."""

from __future__ import annotations

import os
import stat as stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from ..errors import FormatError
from .decoders import Recorder, open_decoder

__all__ = ["GZIP_MAGIC", "DecodedStream", "FileSource", "reading"]

GZIP_MAGIC = b"\x1f\x8b"
#: what is decoded at once where it is not decoded into a buffer
_STEP = 1 << 20


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn what decoders raise about damaged data into `FormatError`."""
    try:
        yield
    except EOFError as error:
        raise FormatError(f"{path}: its content is cut short ({error}); the file is truncated") from error
    except MemoryError:
        raise
    except Exception as error:
        # the system's own errors carry a number; decoders report bad data as an OSError without one, as zlib.error,
        # or (ISA-L) as an exception of their own
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise FormatError(f"{path}: its content is damaged and cannot be decoded ({error})") from error


@dataclass(frozen=True)
class FileSource:
    """A local file and its identity when it was opened.

    Attributes
    ----------
    path : str
        Absolute path.
    size, mtime_ns : int
        Size in bytes as stored, time of last change.
    coding : str
        How the content is stored, see `decoders`: ``""`` for plain bytes, else ``"gzip"`` (found by its first bytes),
        ``"bzip2"``, or text.
    start : int
        Byte at which the content starts; what stands before it is a header in plain text.
    """

    path: str
    size: int
    mtime_ns: int
    coding: str = ""
    start: int = 0

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> FileSource:
        """Look at a file.

        Raises
        ------
        FileNotFoundError, IsADirectoryError
            If there is no such file.
        FormatError
            If it is empty.
        """
        full = os.path.abspath(os.fspath(path))
        if not stat.S_ISREG(os.stat(full).st_mode):
            raise FormatError(f"{full}: not a regular file; pipes and devices cannot be read by region")
        with open(full, "rb") as f:
            found = os.fstat(f.fileno())
            head = f.read(2)
        if not head:
            raise FormatError(f"{full}: the file is empty")
        return cls(full, found.st_size, found.st_mtime_ns, "gzip" if head == GZIP_MAGIC else "")

    @property
    def name(self) -> str:
        """File name without its folder."""
        return os.path.basename(self.path)

    def head(self, count: int) -> bytes:
        """The first `count` bytes of the (decompressed) content, or fewer if there are no more."""
        if not self.coding:
            with open(self.path, "rb") as f:
                f.seek(self.start)
                return f.read(count)
        with DecodedStream(self) as stream:
            return stream.read_up_to(count)

    @contextmanager
    def open_checked(self) -> Iterator[int]:
        """A file descriptor of the file, if it is still the one that was opened, and stays it until it is closed.

        A file that another takes the name of meanwhile is read to its end; one that is written into is not.
        """
        fd = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            self._require_same(fd)
            yield fd
            self._require_same(fd)
        finally:
            os.close(fd)

    def _require_same(self, fd: int) -> None:
        found = os.fstat(fd)
        if (found.st_size, found.st_mtime_ns) != (self.size, self.mtime_ns):
            raise FormatError(f"{self.path}: the file has changed since it was opened; open it again")

    def token(self) -> tuple[Any, ...]:
        """What identifies the content."""
        return (self.path, self.size, self.mtime_ns, self.coding, self.start)


class DecodedStream:
    """Forward-only decoder of an encoded file.

    Parameters
    ----------
    source : FileSource
        The file.
    recorder : Recorder, optional
        Of gzip: what looks on, and makes an index, as long as nothing is decoded twice.
    """

    def __init__(self, source: FileSource, recorder: Recorder | None = None) -> None:
        self.source = source
        self._recorder = recorder
        self.position = 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> DecodedStream:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        with self.source.open_checked(), reading(self.source.path):
            self._file = open_decoder(self.source.path, self.source.start, self.source.coding, self._recorder)
        self.position = 0

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def seek(self, position: int) -> None:
        """Decode up to `position`; start again if it lies behind."""
        if position < self.position:
            self.close()
            self._recorder = None
        if self._file is None:
            self._open()
        while self.position < position:
            if not self.read_up_to(min(position - self.position, _STEP)):
                self._cut(position)

    def read_up_to(self, count: int) -> bytes:
        """The next `count` bytes, fewer at the end."""
        assert self._file is not None
        parts = []
        while count:
            with reading(self.source.path):
                # of one decoder, fewer bytes than asked for are no end
                part = self._file.read(min(count, _STEP))
            if not part:
                break
            parts.append(part)
            count -= len(part)
            self.position += len(part)
        return b"".join(parts)

    def read_into(self, buffer: memoryview) -> None:
        """Fill a buffer of bytes, or raise `FormatError`."""
        assert self._file is not None
        view = buffer.cast("B")
        at = 0
        while at < len(view):
            with reading(self.source.path):
                count: int = self._file.readinto(view[at:])  # type: ignore[attr-defined]
            if not count:
                self._cut(self.position + len(view) - at)
            at += count
            self.position += count

    def finish(self) -> None:
        """Decode what little is left after the last voxel, so that the checksum is verified."""
        for _ in range(64):
            if not self.read_up_to(1 << 16):
                return

    def _cut(self, wanted: int) -> None:
        raise FormatError(
            f"{self.source.path}: truncated: {wanted} bytes of content are needed, it ends after {self.position}"
        )
