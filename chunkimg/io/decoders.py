"""Decoders of encoded files: forward-only binary streams."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import IO, Any, BinaryIO, Protocol

import numpy as np

__all__ = ["Recorder", "most_decoded", "open_decoder"]

_STEP = 1 << 20
#: compressed bytes that are read at once
_GZIP_BUFFER = 512 << 10
#: longer than any number in text
_LONGEST = 64
_SEPARATORS = re.compile(rb"[\s,]+")


class Recorder(Protocol):
    """What looks on while gzip is decoded."""

    def open(self, file: BinaryIO, reader: Callable[..., Any], buffer: int) -> Any:
        """The stream of the content of a file, from where it stands, that a decoder `reader` decodes."""


def most_decoded(coding: str) -> float:
    """Bytes that one stored byte can at most become."""
    if coding == "gzip":
        # zlib's technical notes: no deflate stream expands more
        return 1032
    if coding == "bzip2":
        # a block of zeros, run-length encoded twice
        return 1_400_000
    if coding == "hex":
        return 0.5
    if coding.startswith("text:"):
        # a digit and a separator, which the last number does without
        return np.dtype(coding.removeprefix("text:")).itemsize
    raise ValueError(f"no decoder for {coding!r}")


def open_decoder(path: str, start: int, coding: str, recorder: Recorder | None = None) -> IO[bytes]:
    """A stream of the decoded bytes of a file from byte `start` on.

    Parameters
    ----------
    path : str
        The file.
    start : int
        Byte at which the encoded content starts.
    coding : str
        ``"gzip"``, ``"bzip2"``, ``"hex"`` (two digits a byte), or ``"text:"`` and a NumPy type such as ``"text:<i2"``:
        numbers in text become bytes of that type.
    recorder : Recorder, optional
        Of gzip: what makes an index on the way.
    """
    file = open(path, "rb")  # noqa: SIM115 - the stream that is returned owns it
    try:
        file.seek(start)
        return _Owned(_decoder(file, coding, recorder), file)  # type: ignore[return-value]
    except BaseException:
        file.close()
        raise


def _decoder(file: BinaryIO, coding: str, recorder: Recorder | None) -> Any:
    if coding == "gzip":
        from isal import igzip, isal_zlib

        # what igzip.open reads through; its own readinto decodes into new memory and copies
        reader = getattr(isal_zlib, "_GzipReader", None)
        if reader is None:
            return igzip.open(file, "rb")
        return reader(file, _GZIP_BUFFER) if recorder is None else recorder.open(file, reader, _GZIP_BUFFER)
    if coding == "bzip2":
        import bz2

        return bz2.BZ2File(file, "rb")
    if coding == "hex":
        return _Converted(file, _from_hex)
    if coding.startswith("text:"):
        dtype = np.dtype(coding.removeprefix("text:"))
        return _Converted(file, lambda text, last: _from_text(text, last, dtype))
    raise ValueError(f"no decoder for {coding!r}")


class _Owned:
    """A stream and the file below it, closed together."""

    def __init__(self, stream: Any, file: IO[bytes]) -> None:
        self.read, self.readinto = stream.read, stream.readinto
        self._stream, self._file = stream, file

    def close(self) -> None:
        """Close both."""
        try:
            self._stream.close()
        finally:
            self._file.close()


class _Converted:
    """Bytes that text stands for, converted piece by piece."""

    def __init__(self, file: IO[bytes], convert: Callable[[bytes, bool], tuple[bytes, bytes]]) -> None:
        self._file, self._convert = file, convert
        self._rest = b""
        self._ready = memoryview(b"")
        self._ended = False

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer as far as one piece goes; 0 at the end."""
        while not self._ready and not self._ended:
            piece = self._file.read(_STEP)
            self._ended = not piece
            done, self._rest = self._convert(self._rest + piece, self._ended)
            self._ready = memoryview(done)
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def read(self, count: int) -> bytes:
        """At most `count` bytes."""
        out = bytearray(count)
        return bytes(out[: self.readinto(memoryview(out))])

    def close(self) -> None:
        """Nothing is held."""


def _from_hex(text: bytes, last: bool) -> tuple[bytes, bytes]:
    digits = b"".join(text.split())
    even = len(digits) // 2 * 2
    if last and even != len(digits):
        raise EOFError("an odd number of hexadecimal digits")
    return bytes.fromhex(digits[:even].decode("ascii")), digits[even:]


def _from_text(text: bytes, last: bool, dtype: np.dtype[Any]) -> tuple[bytes, bytes]:
    """Numbers of a piece of text in a type; the number that the piece may have cut is left for the next one."""
    if b"_" in text:
        raise ValueError("an underscore is no part of a number")
    words = _SEPARATORS.split(text)
    rest = b"" if last else words.pop()
    words = [w for w in words if w]
    if len(rest) > _LONGEST or (words and max(map(len, words)) > _LONGEST):
        raise ValueError(f"no number is longer than {_LONGEST} characters")
    if not words:
        return b"", rest
    if dtype.kind == "f":
        # what a number too large for the type becomes is infinity, as for any reader
        with np.errstate(over="ignore"):
            return np.array(words).astype(np.float64).astype(dtype).tobytes(), rest
    numbers = np.array(words).astype(np.uint64 if dtype == np.uint64 else np.int64)
    limits = np.iinfo(dtype)
    if numbers.min() < limits.min or numbers.max() > limits.max:
        raise ValueError(f"numbers from {numbers.min()} to {numbers.max()} do not fit {dtype}")
    return numbers.astype(dtype).tobytes(), rest
