"""Decoders of encoded files: forward-only binary streams."""

from __future__ import annotations

from typing import IO, Any

__all__ = ["open_decoder"]


def open_decoder(path: str, start: int, coding: str) -> IO[bytes]:
    """A stream of the decoded bytes of a file from byte `start` on.

    Parameters
    ----------
    path : str
        The file.
    start : int
        Byte at which the encoded content starts.
    coding : str
        ``"gzip"`` or ``"bzip2"``.
    """
    file = open(path, "rb")  # noqa: SIM115 - the stream that is returned owns it
    try:
        file.seek(start)
        return _Owned(_decoder(file, coding), file)  # type: ignore[return-value]
    except BaseException:
        file.close()
        raise


def _decoder(file: IO[bytes], coding: str) -> Any:
    if coding == "gzip":
        from isal import igzip

        return igzip.open(file, "rb")
    if coding == "bzip2":
        import bz2

        return bz2.BZ2File(file, "rb")
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
