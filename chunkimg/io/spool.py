"""Voxels of sequential sources put into a temporary file, where a job reads them in another order than theirs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..chunks import block_shape, regions, slab_bytes
from ..lazy import LazyArray, ViewArray
from ..open_file import OpenFile, temporary_file
from .copy import copy
from .file_array import file_array
from .files import Layout
from .format import Progress
from .raw import RunWriter, stored_shape
from .source import FileSource

__all__ = ["against_the_grain", "spooled"]


def against_the_grain(array: LazyArray) -> bool:
    """Whether most of a sequential source is shown in an order in which it cannot be read front to back."""
    return (
        isinstance(array, ViewArray)
        and array.front_to_back
        and array.file_order is None
        and 2 * array.nbytes > array.source.nbytes
    )


@contextmanager
def spooled(
    array: LazyArray, budget: int, folder: Path | None = None, progress: Progress | None = None
) -> Iterator[LazyArray]:
    """The same array, its voxels in a temporary file, for this process and as long as the context lasts.

    Parameters
    ----------
    array : LazyArray
        What is read front to back.
    budget : int
        Bytes of memory.
    folder : Path, optional
        Where the file takes room; that of the system for temporary files by default.
    progress : Progress, optional
        Counts bytes.
    """
    if isinstance(array, ViewArray) and array.file_order is None:
        # what the view shows is read front to back, not the view
        with spooled(array.source, budget, folder, progress) as source:
            yield ViewArray(source, array.picks, array.axes)
        return
    order = array.file_order or tuple(range(array.ndim))
    shape = stored_shape(array.shape, order)
    block = block_shape(array.shape, array.dtype.itemsize, order=order, front_to_back=True, target=slab_bytes(budget))
    with temporary_file(folder) as file:
        writer = RunWriter(file, 0, array.dtype, shape, order)
        writer.reserve()
        copy(array, writer, regions(array.shape, block, order), progress)
        axes = tuple(int(k) for k in np.argsort(order))
        yield file_array(_Held.of(file), Layout(0, array.dtype, shape, axes))


@dataclass(frozen=True)
class _Held(FileSource):
    """A file without a name.

    Attributes
    ----------
    fd : int
        File descriptor, which another holds.
    """

    fd: int = -1

    @classmethod
    def of(cls, file: OpenFile) -> _Held:
        """The file as it is now."""
        found = os.fstat(file.fd)
        return cls(f"a temporary file in {file.name}", found.st_size, found.st_mtime_ns, fd=file.fd)

    @contextmanager
    def open_checked(self) -> Iterator[int]:
        """Its file descriptor: nobody else can write into it."""
        yield self.fd
