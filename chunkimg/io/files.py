"""Arrays stored as one run of voxels in a raw file."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from ..gather import fold
from ..indexing import Indices
from ..lazy import Block, LazyArray, Reader, Region
from ..workers import each
from .source import FileSource

__all__ = ["SHORT_RUN", "FileArray", "Layout", "split_runs", "starts_of"]

#: runs shorter than this are not worth a system call each
SHORT_RUN = 64 << 10
#: bytes of a mapped file that a worker picks from at once
_MAPPED = 32 << 20


@dataclass(frozen=True)
class Layout:
    """How voxels lie in a file.

    Attributes
    ----------
    offset : int
        Bytes before the first voxel.
    dtype : numpy dtype
        With the byte order of the file.
    shape : tuple of int
        Sizes, slowest axis first, as stored.
    axes : tuple of int
        For each axis of the array, the stored axis it shows (a channel axis may be fastest in the file).
    """

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels."""
        return math.prod(self.shape) * self.dtype.itemsize


class FileArray(LazyArray):
    """Voxels of a raw file; a region costs its own bytes."""

    piecewise = True

    def __init__(self, source: FileSource, layout: Layout) -> None:
        self.source, self.layout = source, layout
        self.shape = tuple(layout.shape[a] for a in layout.axes)
        self.dtype = layout.dtype.newbyteorder("=")
        self.file_order = tuple(layout.axes.index(a) for a in range(len(layout.shape)))
        self._first = source.start + layout.offset

    def _read(self, region: Region) -> Block:
        with self.source.open_checked() as fd:
            return self._read_open(fd, region)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Reads regions through one open file."""
        with self.source.open_checked() as fd:
            yield lambda region: self._read_open(fd, region)

    @contextmanager
    def borrowed(self, region: Region) -> Iterator[Block]:
        """The mapped file, where its bytes are in the machine's order."""
        if not self.layout.dtype.isnative:
            yield self._read(region)
            return
        ranges = self._stored_ranges(region)
        with self.source.open_checked() as fd, self._mapped(fd) as whole:
            yield whole[tuple(slice(r.start, r.stop, r.step) for r in ranges)].transpose(self.layout.axes)

    def _read_open(self, fd: int, region: Region) -> Block:
        ranges = self._stored_ranges(region)
        outer, run = split_runs(self.layout.shape, ranges)
        out = np.empty([len(r) for r in ranges], self.layout.dtype)
        if out.size and (run * out.itemsize >= SHORT_RUN or run == out.size):
            flat = out.reshape(-1)
            for count, at in enumerate(starts_of(self.layout.shape, ranges, outer).tolist()):
                self._fill(fd, flat[count * run : (count + 1) * run], self._first + at * out.itemsize)
        elif out.size:
            self._copy_mapped(fd, ranges, out)
        return self._finished(out)

    def _fill(self, fd: int, part: Block, position: int) -> None:
        view = part.data.cast("B")
        while len(view):
            count = os.preadv(fd, [view], position)
            if not count:
                raise FormatError(f"{self.source.path}: truncated while it was read, at byte {position}")
            view = view[count:]
            position += count

    def _points(self, at: Mapping[int, Indices], rest: Mapping[int, range]) -> Block:
        # NumPy picks out of mapped pages: one system call, however many points
        every, shape = fold(at, rest)
        order = self.file_order
        assert order is not None
        with self.source.open_checked() as fd, self._mapped(fd) as whole:
            out: Block = whole[tuple(every[a] for a in order)]
        return out.astype(self.dtype, copy=False).reshape(shape)

    def _copy_mapped(self, fd: int, ranges: Sequence[range], out: Block) -> None:
        """Pick out of mapped pages, in the workers where there are many: what costs is mapping them."""
        row = math.prod(self.layout.shape[1:]) * out.itemsize
        deep = max(1, _MAPPED // max(1, row * ranges[0].step))
        with self._mapped(fd) as whole:
            shown = whole[tuple(slice(r.start, r.stop, r.step) for r in ranges)]

            def copy(start: int) -> None:
                part = slice(start, min(start + deep, len(out)))
                out[part] = shown[part]

            each(copy, range(0, len(out), deep))

    @contextmanager
    def _mapped(self, fd: int) -> Iterator[Block]:
        # open_checked has just compared the size, so that no page lies beyond the end of the file; what is yielded must
        # not outlive the mapping
        layout = self.layout
        with mmap.mmap(fd, self._first + layout.nbytes, access=mmap.ACCESS_READ) as mapped:
            whole: Block = np.ndarray(layout.shape, layout.dtype, mapped, self._first)
            yield whole

    def _stored_ranges(self, region: Region) -> list[range]:
        assert self.file_order is not None
        return [region[k] for k in self.file_order]

    def _finished(self, out: Block) -> Block:
        """Native byte order, in the block's own memory; axes in the order of the array."""
        if not out.dtype.isnative:
            out = out.byteswap(inplace=True).view(self.dtype)
        return out.transpose(self.layout.axes)

    def __dask_tokenize__(self) -> Any:
        layout = self.layout
        return ("chunkimg-file", self.source.token(), layout.offset, layout.dtype.str, layout.shape, layout.axes)


def _strides(shape: Sequence[int]) -> list[int]:
    return [math.prod(shape[k + 1 :]) for k in range(len(shape))]


def split_runs(shape: Sequence[int], ranges: Sequence[range]) -> tuple[int, int]:
    """How many leading axes are stepped through one by one, and the elements of the contiguous runs below them."""
    run, outer = 1, len(shape)
    for k in reversed(range(len(shape))):
        if ranges[k].step != 1 and len(ranges[k]) > 1:
            break
        run *= len(ranges[k])
        outer = k
        if len(ranges[k]) != shape[k]:
            break
    return outer, run


def starts_of(shape: Sequence[int], ranges: Sequence[range], outer: int) -> NDArray[np.int64]:
    """Elements at which runs start, front to back, if the first `outer` axes are stepped through one by one."""
    strides = _strides(shape)
    starts = np.array([sum(ranges[k].start * strides[k] for k in range(outer, len(shape)))], np.int64)
    for k in range(outer):
        starts = (starts[:, None] + np.asarray(ranges[k], np.int64) * strides[k]).reshape(-1)
    return starts
