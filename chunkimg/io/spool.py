"""Voxels of sequential sources put into a temporary file, where a job reads them in another order than theirs."""

from __future__ import annotations

import os

import numpy as np

from ..chunks import block_shape, regions, slab_bytes
from ..lazy import LazyArray, ViewArray
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


def spooled(array: LazyArray, folder: str, budget: int, progress: Progress | None = None) -> LazyArray:
    """The same array, its voxels in a file in `folder`."""
    if isinstance(array, ViewArray) and array.file_order is None:
        # what the view shows is read front to back, not the view
        return ViewArray(spooled(array.source, folder, budget, progress), array.picks, array.axes)
    order = array.file_order or tuple(range(array.ndim))
    shape = stored_shape(array.shape, order)
    block = block_shape(array.shape, array.dtype.itemsize, order=order, front_to_back=True, target=slab_bytes(budget))
    path = os.path.join(folder, "voxels")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        writer = RunWriter(fd, 0, array.dtype, shape, order)
        writer.reserve()
        copy(array, writer, regions(array.shape, block, order), progress)
    finally:
        os.close(fd)
    axes = tuple(int(k) for k in np.argsort(order))
    return file_array(FileSource.open(path), Layout(0, array.dtype, shape, axes))
