"""Encoders of voxels into files, front to back: each takes bytes by `write` and is a context."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from ..open_file import OpenFile
from .format import WriteOptions
from .gzip_write import GzipWriter

__all__ = ["Sink", "open_encoder"]


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: memoryview) -> None:
        """Append bytes."""


def open_encoder(file: OpenFile, start: int, coding: str, options: WriteOptions) -> AbstractContextManager[Sink]:
    """An encoder that writes to a file from byte `start` on.

    Parameters
    ----------
    file : OpenFile
        The file.
    start : int
        Where the encoded content starts.
    coding : str
        As for `decoders.open_decoder`.
    options : WriteOptions
        How gzip is written.
    """
    if coding == "gzip":
        return GzipWriter(file, options.gzip_level, start, options.gzip_table)
    if coding == "bzip2":
        return _Bzip2Writer(file, start)
    if coding == "hex":
        return _HexWriter(file, start)
    return _TextWriter(file, start, np.dtype(coding.removeprefix("text:")))


class _Writer:
    """Appends to a file."""

    def __init__(self, file: OpenFile, start: int) -> None:
        self._file, self._position = file, start

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if kind is None:
            self._finish()

    def write(self, data: memoryview) -> None:
        """Append bytes."""
        raise NotImplementedError

    def _finish(self) -> None:
        pass

    def _append(self, data: bytes) -> None:
        self._position = self._file.write(data, self._position)


class _Bzip2Writer(_Writer):
    def __init__(self, file: OpenFile, start: int) -> None:
        import bz2

        super().__init__(file, start)
        self._compressor = bz2.BZ2Compressor()

    def write(self, data: memoryview) -> None:
        """Compress and append."""
        self._append(self._compressor.compress(data.cast("B")))

    def _finish(self) -> None:
        self._append(self._compressor.flush())


_LINE = 32


class _HexWriter(_Writer):
    """Two digits a byte, 32 bytes a line."""

    _rest = b""

    def write(self, data: memoryview) -> None:
        """Append as digits."""
        view = data.cast("B")
        for at in range(0, len(view), 1 << 20):
            self._rest += bytes(view[at : at + (1 << 20)])
            whole = len(self._rest) // _LINE * _LINE
            text = self._rest[:whole].hex("\n", -_LINE)
            self._append(text.encode("ascii") + b"\n" if text else b"")
            self._rest = self._rest[whole:]

    def _finish(self) -> None:
        self._append(self._rest.hex().encode("ascii") + b"\n" if self._rest else b"")


class _TextWriter(_Writer):
    """Numbers, each the shortest text that reads back as the same value, one a line."""

    def __init__(self, file: OpenFile, start: int, dtype: np.dtype[Any]) -> None:
        super().__init__(file, start)
        self._dtype = dtype

    def write(self, data: memoryview) -> None:
        """Append as text."""
        numbers = np.frombuffer(data.cast("B"), self._dtype)
        for at in range(0, len(numbers), 1 << 16):
            words = numbers[at : at + (1 << 16)].astype("U32").tolist()
            self._append(("\n".join(words) + "\n").encode("ascii"))
