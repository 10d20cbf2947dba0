"""Streaming voxels into a file, raw or encoded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..chunks import block_shape, regions, slab_bytes
from ..lazy import Block, LazyArray, Region
from ..open_file import OpenFile, temporary_file
from .copy import copy
from .encoders import Sink, open_encoder
from .format import WriteOptions
from .raw import RunWriter, stored_shape
from .spool import against_the_grain, spooled

__all__ = ["Stored", "write_voxels"]

#: bytes of a temporary file that are encoded at a time
_PIECE = 4 << 20


@dataclass(frozen=True)
class Stored:
    """How voxels are stored in a file.

    Attributes
    ----------
    dtype : numpy dtype
        With byte order.
    order : tuple of int
        Axes of the array from slowest to fastest in the file.
    coding : str
        ``""`` for plain bytes, or as for `decoders.open_decoder`.
    """

    dtype: np.dtype[Any]
    order: tuple[int, ...]
    coding: str = ""


def write_voxels(
    data: LazyArray,
    file: OpenFile,
    stored: Stored,
    options: WriteOptions,
    dest: Path,
    *,
    head: bytes = b"",
    lead: bytes = b"",
) -> None:
    """Write an array, slab by slab.

    Parameters
    ----------
    data : LazyArray
        What is written.
    file : OpenFile
        An empty file.
    stored : Stored
        How.
    options : WriteOptions
        Budget, progress, and how gzip is written.
    dest : Path
        What is written; temporary files lie beside it.
    head : bytes
        Written before the voxels as it is, and last: until then the file is of no format.
    lead : bytes
        Written before the voxels as part of the encoded content.
    """
    if options.progress is not None:
        options.progress.start(data.nbytes)
    if against_the_grain(data):
        with spooled(data, options.budget, dest.parent) as array:
            _write(array, file, stored, options, dest.parent, head, lead)
    else:
        _write(data, file, stored, options, dest.parent, head, lead)


def _write(
    data: LazyArray, file: OpenFile, stored: Stored, options: WriteOptions, folder: Path, head: bytes, lead: bytes
) -> None:
    if stored.coding:
        with open_encoder(file, len(head), stored.coding, options) as sink:
            sink.write(memoryview(lead))
            if _reads_again(data, stored.order, options.budget):
                _spool(data, sink, stored, options, folder)
            else:
                slabs = _slabs(data, stored.order, True, options.budget)
                copy(data, _appender(sink, stored), slabs, options.progress)
    else:
        writer = RunWriter(file, len(head), stored.dtype, stored_shape(data.shape, stored.order), stored.order)
        writer.reserve()
        copy(data, writer, _slabs(data, stored.order, False, options.budget), options.progress)
    file.write(head, 0)


def _slabs(data: LazyArray, order: Sequence[int], appending: bool, budget: int) -> Iterator[Region]:
    """Slabs in the order of the destination; if it can be written anywhere, in that of a sequential source."""
    if data.front_to_back and not appending and data.file_order is not None:
        order = data.file_order
    block = block_shape(
        data.shape,
        data.dtype.itemsize,
        unit=data.chunks,
        order=order,
        front_to_back=appending or data.front_to_back,
        target=slab_bytes(budget, data),
    )
    return regions(data.shape, block, order)


def _reads_again(data: LazyArray, order: Sequence[int], budget: int) -> bool:
    """Whether slabs within the budget, appended one after the other, would read parts of the source again and again.

    They do where they are thinner than its chunks, or where a sequential source has its axes in another order.
    """
    if data.front_to_back and data.file_order is not None:
        there, here = ([a for a in axes if data.shape[a] > 1] for axes in (data.file_order, order))
        if there != here and data.nbytes > slab_bytes(budget, data):
            return True
    if data.chunks is None:
        return False
    block = block_shape(
        data.shape,
        data.dtype.itemsize,
        unit=data.chunks,
        order=order,
        front_to_back=True,
        target=slab_bytes(budget, data),
    )
    return any(b < min(c, n) for b, c, n in zip(block, data.chunks, data.shape, strict=True))


def _spool(data: LazyArray, sink: Sink, stored: Stored, options: WriteOptions, folder: Path) -> None:
    """Put the voxels in order in a temporary file first: each chunk is decoded once, however large a plane is."""
    with temporary_file(folder) as spool:
        writer = RunWriter(spool, 0, stored.dtype, stored_shape(data.shape, stored.order), stored.order)
        copy(data, writer, _slabs(data, stored.order, False, options.budget), options.progress)
        at = 0
        while piece := os.pread(spool.fd, _PIECE, at):
            sink.write(memoryview(piece))
            at += len(piece)


def _appender(sink: Sink, stored: Stored) -> Callable[[Region, Block], None]:
    def append(region: Region, block: Block) -> None:
        run = np.ascontiguousarray(block.transpose(stored.order), dtype=stored.dtype)
        sink.write(run.reshape(-1).data)

    return append
