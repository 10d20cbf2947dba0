"""Arrays stored as one run of voxels in a file: raw, or inside a gzip stream or another encoding."""

from __future__ import annotations

import itertools
import math
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import FormatError
from ..gather import fold, points
from ..indexing import Indices
from ..lazy import Block, LazyArray, Reader, Region
from .decoders import most_decoded
from .source import DecodedStream, FileSource

__all__ = ["FileArray", "Layout", "file_array"]

#: runs shorter than this are not worth a system call each
_SHORT_RUN = 64 << 10
#: what is decoded at once where only parts of it are wanted
_WINDOW = 4 << 20


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


def file_array(source: FileSource, layout: Layout) -> FileArray:
    """The lazy array of a file, or `FormatError` if a raw file is too short to hold it."""
    needed = layout.offset + layout.nbytes
    size = source.size - source.start
    if source.coding:
        if needed > size * most_decoded(source.coding):
            raise FormatError(
                f"{source.path}: truncated: {needed} bytes of content are expected (shape {layout.shape[::-1]} of "
                f"{layout.dtype}), which {size} bytes of {source.coding.split(':')[0]} cannot hold"
            )
        return StreamArray(source, layout)
    if size < needed:
        raise FormatError(
            f"{source.path}: truncated: {layout.nbytes} bytes of voxels are expected from byte "
            f"{source.start + layout.offset} on "
            f"(shape {layout.shape[::-1]} of {layout.dtype}), the file has {source.size} bytes in all"
        )
    return FileArray(source, layout)


class FileArray(LazyArray):
    """Voxels of a raw file; a region costs its own bytes."""

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

    def _read_open(self, fd: int, region: Region) -> Block:
        ranges = self._stored_ranges(region)
        outer, run = _split_runs(self.layout.shape, ranges)
        out = np.empty([len(r) for r in ranges], self.layout.dtype)
        if out.size and (run * out.itemsize >= _SHORT_RUN or run == out.size):
            flat = out.reshape(-1)
            for count, at in enumerate(_run_starts(self.layout.shape, ranges, outer)):
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
        with self._mapped(fd) as whole:
            out[...] = whole[tuple(slice(r.start, r.stop, r.step) for r in ranges)]

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


class StreamArray(FileArray):
    """Voxels inside an encoded stream: all that stands before a region is decoded too, but never held."""

    access = "sequential"

    def _read(self, region: Region) -> Block:
        with DecodedStream(self.source) as stream:
            return self._read_stream(stream, region)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Reads regions with one decoder that goes on where the last one ended; checks the checksum at the end."""
        with DecodedStream(self.source) as stream:
            yield lambda region: self._read_stream(stream, region)
            if stream.position >= self.layout.offset + self.layout.nbytes:
                stream.finish()

    def _points(self, at: Mapping[int, Indices], rest: Mapping[int, range]) -> Block:
        return points(self, at, rest)

    def _read_stream(self, stream: DecodedStream, region: Region) -> Block:
        layout = self.layout
        ranges = self._stored_ranges(region)
        out = np.empty([len(r) for r in ranges], layout.dtype)
        if not out.size:
            return self._finished(out)
        outer, run = _split_runs(layout.shape, ranges)
        if run * out.itemsize >= _SHORT_RUN or run == out.size:
            flat = out.reshape(-1)
            for count, at in enumerate(_run_starts(layout.shape, ranges, outer)):
                stream.seek(layout.offset + at * out.itemsize)
                stream.read_into(flat[count * run : (count + 1) * run].data)
        else:
            self._read_windows(stream, ranges, out)
        return self._finished(out)

    def _read_windows(self, stream: DecodedStream, ranges: Sequence[range], out: Block) -> None:
        """Decode windows of the stored array one after the other and pick the wanted voxels out of each."""
        shape, itemsize = self.layout.shape, out.itemsize
        inner = next(k for k in range(len(shape)) if k == len(shape) - 1 or math.prod(shape[k:]) * itemsize <= _WINDOW)
        strides = _strides(shape)
        rows = ranges[inner]
        window = np.empty((rows[-1] - rows[0] + 1, *shape[inner + 1 :]), out.dtype)
        pick = (
            slice(None, None, rows.step),
            *(slice(r.start, r.stop, r.step) for r in ranges[inner + 1 :]),
        )
        for at in itertools.product(*(range(len(r)) for r in ranges[:inner])):
            start = sum(ranges[k][i] * strides[k] for k, i in enumerate(at)) + rows[0] * strides[inner]
            stream.seek(self.layout.offset + start * itemsize)
            stream.read_into(window.reshape(-1).data)
            out[at] = window[pick]


def _strides(shape: Sequence[int]) -> list[int]:
    return [math.prod(shape[k + 1 :]) for k in range(len(shape))]


def _split_runs(shape: Sequence[int], ranges: Sequence[range]) -> tuple[int, int]:
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


def _run_starts(shape: Sequence[int], ranges: Sequence[range], outer: int) -> Iterator[int]:
    strides = _strides(shape)
    base = sum(ranges[k].start * strides[k] for k in range(outer, len(shape)))
    for at in itertools.product(*ranges[:outer]):
        yield base + sum(i * s for i, s in zip(at, strides, strict=False))
