"""Files that are written to: all bytes at a place, errors that name the file, temporary files without a name."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["OpenFile", "naming", "temporary_file"]


class OpenFile:
    """A file that is open for writing.

    Parameters
    ----------
    fd : int
        File descriptor; whoever opened it closes it.
    name : str
        What errors call it.
    what : str
        Put behind the system's words, where the name does not say all.
    """

    def __init__(self, fd: int, name: str, what: str = "") -> None:
        self.fd, self.name, self.what = fd, name, what

    def write(self, data: bytes | memoryview, position: int) -> int:
        """Write all bytes at a position; where they end."""
        view = memoryview(data)
        try:
            while len(view):
                done = os.pwrite(self.fd, view, position)
                view, position = view[done:], position + done
        except OSError as error:
            _name(error, self.name, self.what)
            raise
        return position

    def reserve(self, size: int) -> None:
        """Claim the space, so that a full disk is noticed at once."""
        with naming(self.name, self.what):
            if hasattr(os, "posix_fallocate") and size:
                try:
                    os.posix_fallocate(self.fd, 0, size)
                    return
                except OSError as error:
                    import errno

                    if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                        raise
            os.ftruncate(self.fd, size)

    def mapped(self, dtype: np.dtype[Any], start: int, shape: Sequence[int]) -> NDArray[Any]:
        """What was written from a byte on, as a read-only array of the mapped file."""
        if not math.prod(shape):
            return np.empty(shape, dtype)
        with open(os.dup(self.fd), "rb") as file:
            return np.memmap(file, dtype, "r", start, tuple(shape))


@contextmanager
def naming(name: str, what: str = "") -> Iterator[None]:
    """Let errors of the system that name no file name this one."""
    try:
        yield
    except OSError as error:
        _name(error, name, what)
        raise


def _name(error: OSError, name: str, what: str) -> None:
    # those without a number are not the system's
    if error.filename is None and error.errno is not None:
        error.filename, error.strerror = name, f"{error.strerror}{what}"


@contextmanager
def temporary_file(folder: str | os.PathLike[str] | None = None) -> Iterator[OpenFile]:
    """A file of which nothing is left, however its process ends: it has no name.

    Parameters
    ----------
    folder : path, optional
        Where it takes room; that of the system for temporary files (``TMPDIR``) by default.
    """
    what = " for a temporary file" + ("" if folder is not None else " (TMPDIR names another folder for these)")
    where = tempfile.gettempdir() if folder is None else os.fspath(folder)
    with tempfile.TemporaryFile(prefix="chunkimg-", dir=where) as file:
        yield OpenFile(file.fileno(), where, what)
